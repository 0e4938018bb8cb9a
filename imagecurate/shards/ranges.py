"""Which requests to make for some ranges of a remote object."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["MAX_GAP", "MAX_JOINED", "join_ranges"]

#: Ranges closer than this are fetched as one: at 100 MB/s as long as the latency of a request, some 10 ms.
MAX_GAP = 1 << 20
#: A fetch of joined ranges ends here.
MAX_JOINED = 32 << 20


def join_ranges(spans: Sequence[tuple[int, int]]) -> list[tuple[int, int, list[int]]]:
    """Plan the requests for some ranges: those less than ``MAX_GAP`` apart become one, up to ``MAX_JOINED`` bytes.

    Parameters
    ----------
    spans : sequence of (start, end)
        In any order; they may overlap.  Empty ones are left out.

    Returns
    -------
    list of (start, end, numbers)
        What to fetch, and which of the spans lie in it.

    Examples
    --------
    >>> join_ranges([(90, 100), (0, 10), (10**9, 10**9 + 5)])
    [(0, 100, [1, 0]), (1000000000, 1000000005, [2])]
    """
    blocks: list[tuple[int, int, list[int]]] = []
    for number in sorted(range(len(spans)), key=spans.__getitem__):
        start, end = spans[number]
        if start == end:
            continue
        if blocks:
            first, last, numbers = blocks[-1]
            if start - last <= MAX_GAP and max(end, last) - first <= MAX_JOINED:
                numbers.append(number)
                blocks[-1] = (first, max(end, last), numbers)
                continue
        blocks.append((start, end, [number]))
    return blocks
