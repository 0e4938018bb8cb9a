"""Greedy deduplication of things that have several hashes: a whole, and parts of it.

Two things are near each other if the whole of one is near the whole or a part of the other.  Two parts never count:
parts of a silhouette on a white ground are alike in every picture of one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from imagecurate.errors import ParameterError
from imagecurate.neighbours.hamming import HammingMatches, check_hashes, collapse, order_of
from imagecurate.neighbours.hamming_search import HammingSearch

__all__ = ["hamming_duplicates"]

Rows: TypeAlias = NDArray[np.int64]
Words: TypeAlias = NDArray[np.uint64]

#: Rows compared at a time when a row is compared again.
BLOCK_ROWS = 65_536


def hamming_duplicates(
    hashes: NDArray[np.uint8],
    distance: int,
    *,
    ranks: Rows | None = None,
    max_pairs_per_row: int = 64,
    threads: int = 1,
) -> HammingMatches:
    """Keep each row that is near no better-ranked row that is kept.

    Parameters
    ----------
    hashes : array of shape (n, 1 + parts, bits / 8), uint8
        For each row the hash of the whole, and of its parts; ``bits`` is a multiple of 64.
    distance : int
        Largest number of different bits at which two hashes are near.
    ranks : array of shape (n,), int64, optional
        A permutation, 0 for the row to prefer over all others; by default the order of the rows.
    max_pairs_per_row : int, default=64
        Of each hash the best-ranked neighbours are held, at most so many; what is beyond is compared again where the
        outcome depends on it.
    threads : int, default=1
        Threads to use.  The result does not depend on them.

    Returns
    -------
    HammingMatches
        For each row that is not kept, the best-ranked kept row near it, and in how many bits the nearest two of their
        hashes differ.

    Raises
    ------
    ParameterError
        If an argument has the wrong type or lies outside its range.

    Examples
    --------
    >>> hashes = np.zeros((3, 2, 8), np.uint8)
    >>> hashes[1, 0], hashes[1, 1], hashes[2] = 255, 15, 0b111  # the part of row 1 is near nothing, nor is its whole
    >>> hamming_duplicates(hashes, 31).row
    array([-1, -1,  0])
    """
    if hashes.ndim != 3 or hashes.shape[1] == 0:
        raise ParameterError.because(f"hashes must be an array of shape (n, 1 + parts, bits / 8), found {hashes.shape}")
    n, views, width = hashes.shape
    check_hashes(hashes.reshape(n * views, width), distance)
    order = order_of(ranks, n)
    words = np.ascontiguousarray(hashes[order]).view(np.uint64)  # (n, views, width / 8)
    originals, copy_of = collapse(words.reshape(n, views * width // 8))
    if len(originals) < n:
        words = words[originals]  # most of what is held: never twice
    search = _ViewSearch(words.reshape(-1, width // 8), distance, max_pairs_per_row, threads, views)
    search.run()
    found = _keepers(words, distance, *_owned(search, views))
    keeper = np.full(n, -1, np.int64)
    keeper[originals] = np.where(found >= 0, originals[found], -1)
    copies = np.flatnonzero(copy_of >= 0)
    original = copy_of[copies]
    keeper[copies] = np.where(keeper[original] >= 0, keeper[original], original)
    row, apart = np.full(n, -1, np.int64), np.zeros(n, np.uint16)
    named = np.flatnonzero(keeper >= 0)
    row[order[named]] = order[keeper[named]]
    for start in range(0, len(named), BLOCK_ROWS):
        some = order[named[start : start + BLOCK_ROWS]]
        one, other = (np.ascontiguousarray(hashes[rows]).view(np.uint64) for rows in (some, row[some]))
        apart[some] = _apart(one, other)
    return HammingMatches(row, apart)


class _ViewSearch(HammingSearch):
    """Rows are hashes, those of one thing side by side, the whole first; parts are not compared with each other."""

    def __init__(self, words: Words, distance: int, max_pairs: int, threads: int, views: int) -> None:
        super().__init__(words, distance, max_pairs, threads)
        self._views = views

    def join(self, queries: Rows, references: Rows | None) -> None:
        """Find the pairs of queries with earlier references, of which one at least is a whole."""
        wholes, parts = self._split(queries)
        if references is None:
            super().join(wholes, None)
            super().join(wholes, parts)
            super().join(parts, wholes)
        else:
            super().join(wholes, references)
            super().join(parts, self._split(references)[0])

    def _split(self, rows: Rows) -> tuple[Rows, Rows]:
        is_whole = rows % self._views == 0
        return rows[is_whole], rows[~is_whole]


def _owned(search: HammingSearch, views: int) -> tuple[Rows, Rows, Rows]:
    """Give pairs of things, sorted by both; and for each thing up to which one all its earlier neighbours are known."""
    later, earlier = search.pairs()
    count = search.n // views
    complete = np.full(count, count, np.int64)
    last = np.full(search.n, -1, np.int64)
    last[later] = earlier // views  # sorted, so the last of each row is what remains
    cut = np.flatnonzero(search.more)
    np.minimum.at(complete, cut // views, last[cut])
    pairs = np.unique(later // views * count + earlier // views) if len(later) else np.zeros(0, np.int64)
    later, earlier = np.divmod(pairs, max(count, 1))
    other = (later != earlier) & (earlier <= complete[later])
    return later[other], earlier[other], complete


def _keepers(words: Words, distance: int, later: Rows, earlier: Rows, complete: Rows) -> Rows:
    """Decide for each thing, best-ranked first: the first that was kept and is near; -1 for those that are kept."""
    count = len(words)
    keeper = np.full(count, -1, np.int64)
    kept = np.ones(count, np.bool_)
    asked = np.union1d(later, np.flatnonzero(complete < count))
    bounds = np.searchsorted(later, [asked, asked + 1]).T.tolist()
    near = earlier.tolist()
    for row, (start, end) in zip(asked.tolist(), bounds, strict=True):
        found = next((other for other in near[start:end] if kept[other]), -1)
        if found < 0 and complete[row] < row:
            found = next(
                _again(words, distance, row, complete[row] + 1 + np.flatnonzero(kept[complete[row] + 1 : row])), -1
            )
        if found >= 0:
            keeper[row] = found
            kept[row] = False
    return keeper


def _again(words: Words, distance: int, row: int, among: Rows) -> Iterator[int]:
    """Compare a thing with others anew; those that are near, in order."""
    for start in range(0, len(among), BLOCK_ROWS):
        some = among[start : start + BLOCK_ROWS]
        yield from some[_apart(words[row][None], words[some]) <= distance].tolist()


def _apart(one: Words, other: Words) -> NDArray[np.uint16]:
    """In how many bits the nearest hashes of things differ, of which one is a whole; shapes (n, views, words)."""
    forth = np.bitwise_count(one[:, :1] ^ other).sum(axis=2, dtype=np.uint16).min(axis=1)
    back = np.bitwise_count(one ^ other[:, :1]).sum(axis=2, dtype=np.uint16).min(axis=1)
    nearest: NDArray[np.uint16] = np.minimum(forth, back)
    return nearest
