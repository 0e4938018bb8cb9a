"""Who is kept, from pairs of neighbours: in the order of ranks, whoever is near nobody who was kept.

Pairs stream by in the order of the later of the two; a byte for each node remembers who was kept.  What is decided
looks only at earlier nodes, so one pass is enough, whatever the chains.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from imagecurate.neighbours.files import save_array

__all__ = ["PAIR", "Again", "Outcome", "StoredPairs", "keepers"]

#: A pair, by places in the order of ranks; and how near the two are, in what the kind of pairs measures.
PAIR = np.dtype([("later", "<i8"), ("earlier", "<i8"), ("nearness", "<f4")])

#: Nodes whose pairs are read at a time, and nodes decided at a time.
READ, WINDOW = 65_536, 1024


@dataclass(frozen=True)
class Outcome:
    """What became of each row.

    Parameters
    ----------
    keeper : array of shape (n,), int64
        The row that it duplicates; -1 where it is kept.
    similarity : array of shape (n,), float32
        How similar the two are; NaN where it is kept.
    """

    keeper: NDArray[np.int64]
    similarity: NDArray[np.float32]

    @property
    def kept(self) -> NDArray[np.bool_]:
        """Which rows are kept; shape (n,)."""
        return self.keeper < 0

    @property
    def dropped(self) -> int:
        """Number of rows that are not."""
        return int(np.count_nonzero(self.keeper >= 0))


class Again(Protocol):
    """Compares nodes anew."""

    def __call__(
        self, places: NDArray[np.int64], among: NDArray[np.int64], most: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Find for each of some places the first ``most`` near ones before it among others.

        All ascend; the pairs are sorted by both.
        """
        ...


@dataclass(frozen=True)
class StoredPairs:
    """Pairs in files, each sorted by both places."""

    files: Sequence[Path]
    #: For each place, whether pairs of which it is the later one were left out; shape (nodes,).
    more: NDArray[np.bool_]
    #: So many pairs, the best-ranked, are there in any case.
    most: int

    def reordered(self, places: NDArray[np.int64], folder: Path) -> StoredPairs:
        """Write the pairs by other places; ``places[i]`` is the new one of what was at ``i``.

        Which pairs were left out is still told by those who were the later ones before.
        """
        files = []
        for number, file in enumerate(self.files):
            pairs = np.load(file)
            one, two = places[pairs["later"]], places[pairs["earlier"]]
            pairs["later"], pairs["earlier"] = np.maximum(one, two), np.minimum(one, two)
            files.append(folder / f"{number:06d}.npy")
            save_array(files[-1], pairs[np.lexsort((pairs["earlier"], pairs["later"]))])
        more = np.empty_like(self.more)
        more[places] = self.more
        return StoredPairs(files, more, self.most)

    def stretches(self) -> Iterator[tuple[int, NDArray[Any]]]:
        """Give the pairs of ``READ`` places after the others: the first place, and its and their pairs, sorted."""
        count = len(self.more)
        firsts = np.arange(0, count, READ)
        mapped = [np.load(file, mmap_mode="r") for file in self.files]
        cuts = [np.searchsorted(np.ascontiguousarray(each["later"]), [*firsts, count]) for each in mapped]
        for i, first in enumerate(firsts):
            pieces = [each[cut[i] : cut[i + 1]] for each, cut in zip(mapped, cuts, strict=True)]
            pairs = np.concatenate([np.empty(0, PAIR), *pieces])
            yield int(first), pairs[np.lexsort((pairs["earlier"], pairs["later"]))]


def keepers(pairs: StoredPairs, near: Any, again: Again, *, other_order: bool) -> NDArray[np.int64]:
    """Decide for each place in the order of ranks.

    Parameters
    ----------
    pairs : StoredPairs
    near : callable
        Tells which of some pairs are near enough.
    again : Again
        Finds what was left out of the pairs, where it matters.
    other_order : bool
        Whether pairs were found, and left out, in another order than that of the places now.

    Returns
    -------
    array of shape (nodes,), int64
        The first place that was kept and is near; -1 for those that are kept.
    """
    count = len(pairs.more)
    keeper = np.full(count, -1, np.int64)
    kept = np.ones(count, bool)
    unknown = other_order and bool(pairs.more.any())
    for start, stretch in pairs.stretches():
        end = min(start + READ, count)
        # up to this place all near ones are stored
        complete = np.full(end - start, count)
        if other_order:
            complete[:] = -1 if unknown else count
        else:
            starts = np.searchsorted(stretch["later"], np.arange(start, end))
            cut = pairs.more[start:end]
            last = starts[cut] + pairs.most - 1
            complete[cut] = stretch["earlier"][last]
            stretch = stretch[stretch["earlier"] <= complete[stretch["later"] - start]]
        stretch = stretch[near(stretch)]
        for first in range(start, end, WINDOW):
            window = slice(first, min(first + WINDOW, end))
            low, high = np.searchsorted(stretch["later"], (window.start, window.stop))
            _window(
                window,
                stretch["later"][low:high],
                stretch["earlier"][low:high],
                complete[first - start : window.stop - start],
                pairs.more if unknown else None,
                again,
                keeper,
                kept,
            )
    return keeper


def _window(
    window: slice,
    later: NDArray[np.int64],
    earlier: NDArray[np.int64],
    complete: NDArray[np.int64],
    cut: NDArray[np.bool_] | None,
    again: Again,
    keeper: NDArray[np.int64],
    kept: NDArray[np.bool_],
) -> None:
    """Decide places that follow each other; ``cut`` tells who may lack pairs, where the order is another."""
    first, size = window.start, window.stop - window.start
    places = np.arange(first, window.stop)
    mine = keeper[window]

    before = earlier < first
    hit = np.flatnonzero(before & kept[earlier])
    found, at = np.unique(later[hit], return_index=True)
    mine[found - first] = earlier[hit[at]]

    def look(rows: NDArray[np.bool_], among: NDArray[np.int64]) -> None:
        x, y = again(places[rows], among, 1)
        closer = (mine[x - first] < 0) | (y < mine[x - first])
        mine[x[closer] - first] = y[closer]

    # who has a keeper among those that are complete needs no look; nor does it before the window if they reach into it
    open_ = ((mine < 0) | (mine > complete)) & (complete < first)
    if open_.any():
        among = np.flatnonzero(kept[:first])
        if cut is None:
            look(open_, among)
        else:
            look(cut[window], among)
            look(~cut[window], among[cut[among]])

    adjacent = np.zeros((size, size), bool)
    adjacent[later[~before] - first, earlier[~before] - first] = True
    open_ = (mine < 0) & (complete < window.stop)
    if open_.any() and (cut is None or cut[window].any()):
        x, y = again(places[open_], places, size)
        adjacent[x - first, y - first] = True
    alive = mine < 0
    for row in np.flatnonzero(alive & adjacent.any(axis=1)):
        matches = adjacent[row, :row] & alive[:row]
        match = int(matches.argmax()) if row else 0
        if row and matches[match]:
            mine[row] = first + match
            alive[row] = False
    kept[window] = alive
