"""The search for pairs of hashes within a distance, bounded where many agree.

Rows are in the order of their ranks.  Where a sample says that some have more neighbours than are stored, all are first
compared with the best-ranked rows only, and those that then have enough are compared no further: a crowd costs no more
than its size.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from imagecurate.neighbours.hamming_join import close_pairs, in_ring_order, plain_pairs
from imagecurate.neighbours.hamming_plan import evenly, plan_tables

__all__ = ["HammingSearch", "differing_bits"]

Rows: TypeAlias = NDArray[np.int64]
Words: TypeAlias = NDArray[np.uint64]

#: Rows from which crowds are told; any number gives the same pairs.
SAMPLED_ROWS = 1024
#: Pairs a row, on average, from which on it pays to look for rows that have enough; and how many times enough
#: neighbours the crowded rows should then meet, so that nearly all of them do have enough.
CROWDED, ENOUGH = 4, 1.5
#: Rows that a task compares plainly.
PLAIN_ROWS = 1024
#: Pairs found after which they are sorted and those beyond ``max_pairs_per_row`` let go.
BUFFERED_PAIRS = 4_000_000


def differing_bits(words: Words, one: Rows, other: Rows) -> NDArray[np.uint16]:
    """In how many bits the hashes of pairs of rows differ."""
    found = np.empty(len(one), np.uint16)
    for begin in range(0, len(one), BUFFERED_PAIRS):
        block = slice(begin, begin + BUFFERED_PAIRS)
        found[block] = np.bitwise_count(words[one[block]] ^ words[other[block]]).sum(axis=1, dtype=np.uint16)
    return found


class HammingSearch:
    """The search for pairs of different hashes, which are sorted by rank: row 0 is the best."""

    def __init__(self, words: Words, distance: int, max_pairs: int, threads: int) -> None:
        self.words = words
        self.distance = distance
        self.max_pairs = max_pairs
        self.threads = threads
        self.n = len(words)
        #: Rows that have more pairs than are stored, or had enough before they had met every earlier row.
        self.more = np.zeros(self.n, np.bool_)
        #: Rows that are compared with no further earlier ones.
        self._has_enough = np.zeros(self.n, np.bool_)
        #: Each pair as ``later * n + earlier``, sorted; and those found since.
        self._stored = np.empty(0, np.uint64)
        self._found: list[Words] = []
        self._pending = 0
        self._lock = threading.Lock()

    def run(self) -> None:
        """Find the pairs: with the best-ranked of crowds first, after which the others of them have enough."""
        done = 0
        active = np.arange(self.n)
        while (end := self._end_of_crowd(active, done)) is not None:
            self.join(active, np.arange(done, end))
            self.merge()
            done = end
            self._has_enough[done:] = np.bincount(self._later(), minlength=self.n)[done:] >= self.max_pairs
            active = done + np.flatnonzero(~self._has_enough[done:])
        self.join(active, None)
        self.join(active, done + np.flatnonzero(self._has_enough[done:]))
        self.merge()
        self.more |= self._has_enough

    def pairs(self) -> tuple[Rows, Rows]:
        """Later and earlier row of each pair, sorted."""
        later = self._later()
        return later, (self._stored - later.astype(np.uint64) * np.uint64(self.n)).astype(np.int64)

    def _end_of_crowd(self, active: Rows, done: int) -> int | None:
        """The row before which crowded rows probably have enough neighbours; None where it does not pay to stop there.

        Told from a sample, so whatever the order of the ranks: where all that resemble each other come last, they are
        met last.
        """
        queries = evenly(active, SAMPLED_ROWS)
        references = evenly(np.arange(done, self.n), SAMPLED_ROWS)
        if not len(queries) or not len(references):
            return None
        close = np.empty((len(queries), len(references)), np.bool_)
        for row, query in enumerate(queries):
            differences = np.bitwise_count(self.words[references] ^ self.words[query]).sum(axis=1, dtype=np.uint16)
            close[row] = (differences <= self.distance) & (references < query)
        stands_for = (self.n - done) / len(references)
        crowded = np.count_nonzero(close.sum(axis=1) > max(1.0, self.max_pairs / stands_for))
        wanted = ENOUGH * self.max_pairs * crowded / stands_for
        met = np.cumsum(close.sum(axis=0))
        pairs = met[-1] * stands_for * len(active) / len(queries)
        if pairs <= CROWDED * self.n or not 0 < wanted < met[-1] / 2:
            return None
        last = int(np.searchsorted(met, wanted))
        before = int(references[last - 1]) + 1 if last else done
        missing = (wanted - met[last - 1] if last else wanted) / (met[last] - (met[last - 1] if last else 0))
        end = before + int(missing * (references[last] + 1 - before))
        return min(max(end, done + 2 * self.max_pairs), self.n)

    def join(self, queries: Rows, references: Rows | None) -> None:
        """Find the pairs of queries with earlier references, or of the queries among themselves."""
        if not len(queries) or (references is not None and not len(references)):
            return
        plan = plan_tables(self.words, queries, references, self.distance)
        if plan.tables:
            ring = in_ring_order(self.words, plan.order)
            tasks = [close_pairs(ring, plan, table, self.distance, queries, references) for table in plan.tables]
        else:
            held = queries if references is None else references
            blocks = [queries[begin : begin + PLAIN_ROWS] for begin in range(0, len(queries), PLAIN_ROWS)]
            tasks = [plain_pairs(self.words, self.distance, block, held) for block in blocks]
        with ThreadPoolExecutor(self.threads) as pool:
            for _ in pool.map(self._take, tasks):
                pass

    def _take(self, pairs: Iterator[tuple[Rows, Rows]]) -> None:
        """Take the pairs that one thread finds."""
        for later, earlier in pairs:
            self._add(later, earlier)

    def _add(self, later: Rows, earlier: Rows) -> None:
        """Take pairs, and let go of those that are too many when that is due."""
        pairs = later.astype(np.uint64) * np.uint64(self.n) + earlier.astype(np.uint64)
        with self._lock:
            self._found.append(pairs)
            self._pending += len(pairs)
            if self._pending > max(BUFFERED_PAIRS, len(self._stored)):
                self.merge()

    def merge(self) -> None:
        """Sort what was found into what is stored; of each row keep the best-ranked earlier neighbours."""
        pairs = np.concatenate([self._stored, *self._found])
        self._found, self._pending = [], 0
        pairs.sort()
        pairs = pairs[np.diff(pairs, prepend=~pairs[:1]) != 0]
        later = pairs // np.uint64(self.n)
        is_beyond = np.zeros(len(pairs), np.bool_)
        is_beyond[self.max_pairs :] = later[self.max_pairs :] == later[: -self.max_pairs]
        self.more[later[is_beyond].astype(np.int64)] = True
        self._stored = pairs[~is_beyond]

    def _later(self) -> Rows:
        """The later row of each stored pair."""
        return (self._stored // np.uint64(self.n)).astype(np.int64)
