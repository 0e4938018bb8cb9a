"""All pairs of binary hashes within a Hamming distance: exact, far fewer than n² comparisons, bounded in memory."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from imagecurate.errors import ParameterError
from imagecurate.neighbours.files import save_array
from imagecurate.neighbours.hamming_join import plain_pairs
from imagecurate.neighbours.hamming_search import HammingSearch, differing_bits
from imagecurate.neighbours.resolve import PAIR, StoredPairs, keepers

__all__ = [
    "HammingMatches",
    "HammingPairs",
    "check_hashes",
    "collapse",
    "hamming_matches",
    "hamming_neighbours",
    "order_of",
]

Rows: TypeAlias = NDArray[np.int64]
Words: TypeAlias = NDArray[np.uint64]
Hashes: TypeAlias = NDArray[np.uint8]
Distances: TypeAlias = NDArray[np.uint16]


@dataclass(frozen=True, slots=True)
class HammingMatches:
    """For each row another that is near it."""

    #: The other row; -1 where there is none.  Shape (n,).
    row: Rows
    #: In how many bits the two differ; 0 where there is none.  Shape (n,).
    distance: Distances


@dataclass(frozen=True, slots=True)
class HammingPairs:
    """Pairs of rows within a distance; in each, one row is earlier in the order of the ranks.

    Pairs are sorted by the rank of the later row, then by that of the earlier one.
    """

    #: Rows of each pair, shape (pairs,), and in how many bits they differ.
    later: Rows
    earlier: Rows
    distance: Distances
    #: True where a row may have earlier neighbours, beyond those stored, that come after them; shape (n,).
    more: NDArray[np.bool_]
    #: The best-ranked row with the very same hash, where a row is not that itself, else -1; shape (n,).  Such a copy
    #: is in no pair: whatever its original is near, it is near.
    copy_of: Rows
    #: Largest distance looked for, and pairs stored of each row at most.
    max_distance: int
    max_pairs_per_row: int
    #: The rows that are no copies, in the order of the ranks, and their hashes; shapes (m,) and (m, bits / 64).
    originals: Rows
    words: Words

    def resolve(self, distance: int | None = None) -> HammingMatches:
        """Keep each row that is near no better-ranked row that is kept.

        Parameters
        ----------
        distance : int, optional
            At most that which pairs were looked for with, which is the default.

        Returns
        -------
        HammingMatches
            For each row that is not kept, the best-ranked kept row near it.  Where a crowd's stored pairs do not tell,
            rows are compared again.

        Raises
        ------
        ParameterError
            If the distance is greater than that of the pairs.

        Examples
        --------
        >>> hashes = np.zeros((3, 8), np.uint8)
        >>> hashes[1, 0], hashes[2, 0] = 0b11, 0b1111
        >>> hamming_neighbours(hashes, 2).resolve().row  # row 2 is near row 1, which is not kept
        array([-1,  0, -1])
        """
        distance = self.max_distance if distance is None else distance
        if not 0 <= distance <= self.max_distance:
            raise ParameterError.because(
                f"pairs were looked for within a distance of {self.max_distance}, and do not say who is within "
                f"{distance!r}",
                f"look for them with distance={distance!r}",
            )
        place = np.empty(len(self.copy_of), np.int64)
        place[self.originals] = np.arange(len(self.originals))
        pairs = np.empty(len(self.later), PAIR)
        pairs["later"], pairs["earlier"], pairs["nearness"] = place[self.later], place[self.earlier], self.distance

        def near(some: NDArray[Any]) -> NDArray[np.bool_]:
            return np.asarray(some["nearness"] <= distance)

        def again(places: Rows, among: Rows, most: int) -> tuple[Rows, Rows]:
            found = [(places[:0], places[:0]), *plain_pairs(self.words, distance, places, among)]
            later, earlier = (np.concatenate(side) for side in zip(*found, strict=True))
            sorting = np.lexsort((earlier, later))
            later, earlier = later[sorting], earlier[sorting]
            first = np.arange(len(later)) - np.searchsorted(later, later) < most
            return later[first], earlier[first]

        with tempfile.TemporaryDirectory(prefix="hamming-") as scratch:
            file = Path(scratch) / "pairs.npy"
            save_array(file, pairs)
            stored = StoredPairs([file], self.more[self.originals], self.max_pairs_per_row)
            keeper = keepers(stored, near, again, other_order=False)
        row = np.full(len(self.copy_of), -1, np.int64)
        row[self.originals] = np.where(keeper >= 0, self.originals[keeper], -1)
        copies = np.flatnonzero(self.copy_of >= 0)
        original = self.copy_of[copies]
        row[copies] = np.where(row[original] >= 0, row[original], original)
        place[copies] = place[original]
        return HammingMatches(row, _distances(self.words, place, np.where(row >= 0, place[row], -1)))


def hamming_neighbours(
    hashes: Hashes,
    distance: int,
    *,
    ranks: Rows | None = None,
    max_pairs_per_row: int = 64,
    threads: int = 1,
) -> HammingPairs:
    """Find every pair of hashes that differ in at most ``distance`` bits.

    Parameters
    ----------
    hashes : array of shape (n, bits / 8), uint8
        One hash a row; ``bits`` is a multiple of 64.
    distance : int
        Largest number of different bits, from 0 to ``bits - 1``.
    ranks : array of shape (n,), int64, optional
        A permutation, 0 for the row to prefer over all others; by default the order of the rows.
    max_pairs_per_row : int, default=64
        For each row its best-ranked earlier neighbours are stored, at most so many; it is marked where there may be
        more.
    threads : int, default=1
        Threads to use.  The result does not depend on them.

    Returns
    -------
    HammingPairs
        The same for the same input, whatever the plan and the threads.

    Raises
    ------
    ParameterError
        If an argument has the wrong type or lies outside its range.

    Notes
    -----
    The number of comparisons depends on the data: with a million independent hashes of 256 bits and distance 31 it is
    0.4 % of all pairs.  Memory is about 200 bytes a row for 256 bits, 100 more for each thread, and 24 bytes a pair.
    Rows of a crowd are compared in the order of the ranks until they have pairs enough, and no further.

    Examples
    --------
    >>> hashes = np.zeros((4, 8), np.uint8)
    >>> hashes[1, 0], hashes[3] = 0b111, 255
    >>> pairs = hamming_neighbours(hashes, 3)
    >>> pairs.later, pairs.earlier, pairs.distance
    (array([1]), array([0]), array([3], dtype=uint16))
    >>> pairs.copy_of
    array([-1, -1,  0, -1])
    """
    check_hashes(hashes, distance)
    for name, value in (("max_pairs_per_row", max_pairs_per_row), ("threads", threads)):
        if value < 1:
            raise ParameterError.because(f"{name} must be at least 1, found {value!r}")
    order = order_of(ranks, len(hashes))
    words = np.ascontiguousarray(hashes[order]).view(np.uint64)
    first, copies = collapse(words)
    originals = order[first]
    copy_of = np.full(len(hashes), -1, np.int64)
    copy_of[order] = np.where(copies >= 0, order[copies], -1)
    search = HammingSearch(words[first], distance, max_pairs_per_row, threads)
    search.run()
    later, earlier = search.pairs()
    more = np.zeros(len(hashes), np.bool_)
    more[originals] = search.more
    return HammingPairs(
        originals[later],
        originals[earlier],
        differing_bits(search.words, later, earlier),
        more,
        copy_of,
        distance,
        max_pairs_per_row,
        originals,
        search.words,
    )


def hamming_matches(hashes: Hashes, reference: Hashes, distance: int, *, threads: int = 1) -> HammingMatches:
    """Find for each hash another, of a reference, that differs from it in at most ``distance`` bits.

    Parameters
    ----------
    hashes : array of shape (n, bits / 8), uint8
        One hash a row; ``bits`` is a multiple of 64.
    reference : array of shape (m, bits / 8), uint8
        What to look for them in: an evaluation set, a list of blocked pictures, an older collection.
    distance : int
        Largest number of different bits, from 0 to ``bits - 1``.
    threads : int, default=1
        Threads to use.  The result does not depend on them.

    Returns
    -------
    HammingMatches
        The first row of the reference with the very same hash; where there is none, the first that is near.

    Raises
    ------
    ParameterError
        If an argument has the wrong type or lies outside its range.

    Examples
    --------
    >>> reference = np.zeros((2, 8), np.uint8)
    >>> hashes = np.array([[0, 0, 0, 0, 0, 0, 0, 7], [255] * 8], np.uint8)
    >>> matches = hamming_matches(hashes, reference, 3)
    >>> matches.row, matches.distance
    (array([ 0, -1]), array([3, 0], dtype=uint16))
    """
    check_hashes(hashes, distance)
    check_hashes(reference, distance)
    if hashes.shape[1] != reference.shape[1]:
        raise ParameterError.because(
            f"hashes have {8 * hashes.shape[1]} bits, but those of the reference have {8 * reference.shape[1]}"
        )
    words = np.concatenate([reference, hashes]).view(np.uint64)
    originals, copies = collapse(words)
    known = int(np.searchsorted(originals, len(reference)))  # what of the reference is no copy
    search = HammingSearch(words[originals], distance, 1, threads)
    search.join(np.arange(known, len(originals)), np.arange(known))
    search.merge()
    match = np.full(len(words), -1, np.int64)
    later, earlier = search.pairs()
    match[originals[later]] = originals[earlier]
    copy = np.flatnonzero(copies >= 0)
    match[copy] = np.where(copies[copy] < len(reference), copies[copy], match[copies[copy]])
    row = match[len(reference) :]
    return HammingMatches(row, _distances(words, np.arange(len(reference), len(words)), row))


def _distances(words: Words, rows: Rows, others: Rows) -> Distances:
    """In how many bits rows differ from others; 0 where the other is -1."""
    found = np.zeros(len(rows), np.uint16)
    there = np.flatnonzero(others >= 0)
    found[there] = differing_bits(words, rows[there], others[there])
    return found


def check_hashes(hashes: Hashes, distance: int) -> None:
    """Raise what the caller is to be told of hashes and distance."""
    if hashes.ndim != 2 or hashes.dtype != np.uint8 or hashes.shape[1] % 8 or hashes.shape[1] == 0:
        raise ParameterError.because(
            f"hashes must be an array of shape (n, bits / 8) and type uint8 with bits a multiple of 64, "
            f"found {hashes.dtype} of shape {hashes.shape}"
        )
    bits = 8 * hashes.shape[1]
    if not 0 <= distance < bits:
        raise ParameterError.because(f"distance must lie from 0 to {bits - 1} for {bits} bits, found {distance!r}")


def order_of(ranks: Rows | None, n: int) -> Rows:
    """Rows in the order of their ranks."""
    if ranks is None:
        return np.arange(n)
    order = np.argsort(ranks, kind="stable")
    if ranks.shape != (n,) or not np.array_equal(ranks[order], np.arange(n)):
        raise ParameterError.because(f"ranks must be a permutation of 0 to {n - 1}, one for each of the {n} hashes")
    return order


def collapse(words: Words) -> tuple[Rows, Rows]:
    """Rows that equal no row before them; and of each row the first that it equals, -1 if it is that itself."""
    n, size = words.shape
    binary = pa.FixedSizeBinaryArray.from_buffers(pa.binary(8 * size), n, [None, pa.py_buffer(words)])
    # Arrow numbers values in the order in which it meets them, so a number is new exactly where a value is.
    numbers = np.from_dlpack(binary.dictionary_encode().indices).astype(np.int64)
    is_new = np.diff(np.maximum.accumulate(numbers), prepend=-1) > 0
    originals = np.flatnonzero(is_new)
    return originals, np.where(is_new, -1, originals[numbers])
