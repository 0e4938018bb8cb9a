"""Compare hashes by the tables of a plan: sorted, in runs of eight, thousands of runs at a time.

A pair costs three NumPy operations on one machine word, half a nanosecond.  Runs begin where keys begin and are filled
up with the rows that follow: comparing those is wasted, never wrong.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from imagecurate.neighbours.hamming_plan import RUN, WINDOW, HammingPlan, Table, unpacked

__all__ = ["close_pairs", "in_ring_order", "plain_pairs"]

Rows: TypeAlias = NDArray[np.int64]
Words: TypeAlias = NDArray[np.uint64]

#: Pairs of runs compared at a time: what they need, 0.9 MB, stays in the processor's cache.
BLOCK = 4096
#: Rows compared plainly with so many others at a time.
PLAIN_ROWS = 32, 2048
#: Hashes whose bits are put in order at a time.
UNPACKED_ROWS = 16_384
#: Bits of a row number beside its key in one word.
ROW_BITS = 40


def in_ring_order(words: Words, order: NDArray[np.intp]) -> Words:
    """Put the bits of hashes, shape (n, bits / 64), in the order of a plan, the first bit of it the highest.

    The result is of shape (bits / 64, n).
    """
    ordered = np.empty(words.shape[::-1], np.uint64)
    for begin in range(0, len(words), UNPACKED_ROWS):
        block = slice(begin, begin + UNPACKED_ROWS)
        bits = np.packbits(unpacked(words[block]).take(order, axis=1), axis=1)
        ordered[:, block] = bits.view(">u8").T
    return ordered


def close_pairs(
    ring: Words, plan: HammingPlan, table: Table, distance: int, queries: Rows, references: Rows | None
) -> Iterator[tuple[Rows, Rows]]:
    """Pairs within the distance that one table of the plan meets.

    Parameters
    ----------
    ring : array of shape (bits / 64, n), uint64
        All hashes as `in_ring_order` gives them.
    plan, table : HammingPlan, Table
        One of the tables of the plan.
    distance : int
        Largest number of different bits.
    queries, references : array of int64
        Rows to compare with which; ``references`` is None for all pairs of the queries.

    Yields
    ------
    later, earlier : arrays of int64
        Rows with ``later > earlier``, a block at a time; with references the later one is the query.  A pair may come
        again; those that the first table of the plan meets come from no other.
    """
    asked = _Runs.of(ring, table, queries)
    held = asked if references is None else _Runs.of(ring, table, references)
    for one, other in _candidates(asked, held, table):
        if references is None:
            later, earlier = np.maximum(one, other), np.minimum(one, other)
        else:
            later, earlier = one, other
        wanted = later > earlier
        later, earlier = later[wanted], earlier[wanted]
        different = ring.take(later, axis=1) ^ ring.take(earlier, axis=1)
        close = np.bitwise_count(different).sum(axis=0, dtype=np.uint16) <= distance
        if table is not plan.tables[0]:
            close &= ~_meets(plan.tables[0], different)
        yield later[close], earlier[close]


def plain_pairs(words: Words, distance: int, queries: Rows, references: Rows) -> Iterator[tuple[Rows, Rows]]:
    """Pairs of queries with earlier references within the distance, each once, from comparing all.

    ``words`` are all hashes, shape (n, bits / 64), in any order of the bits; the rows ascend.
    """
    for begin in range(0, len(queries), PLAIN_ROWS[0]):
        asked = queries[begin : begin + PLAIN_ROWS[0]]
        end = np.searchsorted(references, asked[-1])
        for start in range(0, end, PLAIN_ROWS[1]):
            held = references[start : min(start + PLAIN_ROWS[1], end)]
            differences = np.zeros((len(asked), len(held)), np.uint16)
            for one, other in zip(words[asked].T, words[held].T, strict=True):
                differences += np.bitwise_count(one[:, np.newaxis] ^ other)
            row, column = np.divmod(np.flatnonzero(differences <= distance), len(held))
            later, earlier = asked[row], held[column]
            right = later > earlier
            yield later[right], earlier[right]


def _meets(first: Table, different: Words) -> NDArray[np.bool_]:
    """Whether the table at the beginning of the ring meets pairs with these differences."""
    window = _window(different, first)
    keys = np.bitwise_count(_keys(window, first)) <= first.radius
    return np.asarray(keys & (np.bitwise_count(window) <= first.limit))


def _window(ring: Words, table: Table) -> Words:
    """The bits of the window, from the highest bit of a word on."""
    word, shift = divmod(table.offset, WINDOW)
    window = ring[word] << np.uint64(shift)
    if shift:
        window |= ring[(word + 1) % len(ring)] >> np.uint64(WINDOW - shift)
    unused = np.uint64(WINDOW - table.window_bits)
    return np.asarray(window >> unused << unused)


def _keys(windows: Words, table: Table) -> Words:
    """The first bits of windows, as numbers below ``2**table.key_bits``."""
    if table.key_bits == 0:
        return np.zeros_like(windows)
    return windows >> np.uint64(WINDOW - table.key_bits)


@dataclass(frozen=True, slots=True)
class _Runs:
    """Hashes sorted by key, each key in runs of its own."""

    #: Windows and row numbers, shape (RUN, runs).
    words: Words
    rows: Rows
    #: The key of each run; and of each key its first run, and how many it has.
    keys: Rows
    first: Rows
    count: Rows

    @classmethod
    def of(cls, ring: Words, table: Table, rows: Rows) -> _Runs:
        """Sort some rows into the runs of a table."""
        windows = _window(ring, table)[rows]
        packed = _keys(windows, table) << np.uint64(ROW_BITS) | np.arange(len(rows), dtype=np.uint64)
        packed.sort()
        held = np.bincount((packed >> np.uint64(ROW_BITS)).astype(np.int64), minlength=2**table.key_bits)
        sorted_rows = (packed & np.uint64(2**ROW_BITS - 1)).astype(np.int64)
        count = -(-held // RUN)
        first = np.cumsum(count) - count
        keys = np.repeat(np.arange(len(count)), count)
        begin = (np.cumsum(held) - held - first * RUN)[keys] + np.arange(len(keys)) * RUN
        chosen = sorted_rows[np.minimum(begin + np.arange(RUN)[:, np.newaxis], len(rows) - 1)]
        return cls(windows[chosen], rows[chosen], keys, first, count)


def _candidates(asked: _Runs, held: _Runs, table: Table) -> Iterator[tuple[Rows, Rows]]:
    """Rows with keys within the radius and windows within the limit; each pair, or each unordered pair of one side."""
    buffers = _Buffers()
    for weight in range(min(table.radius, table.key_bits) + 1):
        for places in combinations(range(table.key_bits), weight):
            difference = sum(1 << place for place in places)
            partners = asked.keys ^ difference
            first, count = held.first[partners], held.count[partners]
            if asked is held and difference == 0:
                own = np.arange(len(partners))
                first, count = own, count - (own - first)
            elif asked is held:
                count = np.where(asked.keys >> places[-1] & 1, 0, count)
            ends = np.cumsum(count)
            for begin in range(0, int(ends[-1]) if len(ends) else 0, BLOCK):
                one, other = _block(ends, count, first, begin)
                place = buffers.close(asked.words, held.words, one, other, table.limit)
                if len(place):
                    which, pair = np.divmod(place, len(one))
                    yield asked.rows[which // RUN, one[pair]], held.rows[which % RUN, other[pair]]


def _block(ends: Rows, count: Rows, first: Rows, begin: int) -> tuple[Rows, Rows]:
    """Pairs of runs number ``begin`` and following, where run i has ``count[i]`` partners from ``first[i]`` on."""
    end = min(begin + BLOCK, int(ends[-1]))
    low, high = np.searchsorted(ends, begin, side="right"), np.searchsorted(ends, end) + 1
    starts = ends[low:high] - count[low:high]
    taken = np.minimum(ends[low:high], end) - np.maximum(starts, begin)
    one = np.repeat(np.arange(low, high), taken)
    return one, np.arange(begin, end) + np.repeat(first[low:high] - starts, taken)


class _Buffers:
    """Memory for the comparison of one block, used again for the next."""

    def __init__(self) -> None:
        self.one, self.other, self.different = (np.empty(RUN * BLOCK, np.uint64) for _ in range(3))
        self.counts = np.empty(RUN * RUN * BLOCK, np.uint8)
        self.is_close = np.empty(RUN * RUN * BLOCK, np.bool_)

    def close(self, asked: Words, held: Words, one: Rows, other: Rows, limit: int) -> Rows:
        """Numbers ``(i * RUN + j) * len(one) + k`` of close rows: i-th of run ``one[k]``, j-th of ``other[k]``."""
        size = len(one)
        left = asked.take(one, axis=1, out=self.one[: RUN * size].reshape(RUN, size), mode="clip")
        right = held.take(other, axis=1, out=self.other[: RUN * size].reshape(RUN, size), mode="clip")
        different = self.different[: RUN * size].reshape(RUN, size)
        counts = self.counts[: RUN * RUN * size].reshape(RUN, RUN, size)
        for row, count in zip(left, counts, strict=True):
            np.bitwise_xor(row, right, out=different)
            np.bitwise_count(different, out=count)
        is_close = np.less_equal(counts, limit, out=self.is_close[: RUN * RUN * size].reshape(counts.shape))
        return np.flatnonzero(is_close)
