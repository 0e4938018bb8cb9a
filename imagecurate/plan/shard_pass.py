"""One pass over one shard: what is in the store is read, what is missing is computed, every row has an outcome.

A first walk over the plan knows only what is stored: a row whose next image stage has no value yet is pending.  Pending
rows are then worked on block by block, side by side: their pictures are decoded once, for all stages that may want
them, and the plan is walked again for the block with the pixels at hand, so that a filter between two image stages
spares the second one.  A last walk over the whole shard finds nothing pending.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterable
from concurrent.futures import wait

import numpy as np
import pyarrow as pa

from imagecurate.plan.blocks import Block
from imagecurate.plan.outcome import Outcome, PassStats, Positions
from imagecurate.plan.shard_state import ShardState, Work
from imagecurate.plan.threads import pool
from imagecurate.plan.walk import walk
from imagecurate.shards import Shard
from imagecurate.store import PART_ROWS

__all__ = ["ShardPass"]


class ShardPass:
    """The plan applied to one shard.

    Use it as a context manager: inside, no other thread of this process works on the shard, so that nothing is computed
    twice; who waited finds in the store what the other one did.

    Parameters
    ----------
    work : Work
    shard : Shard
    needed : frozenset of int
        Steps that count; see ``Plan.needed``.
    on_block : callable, optional
        Called with the ``PassStats`` of each finished block and its share of the shard, from the thread that worked on
        it.
    """

    def __init__(
        self,
        work: Work,
        shard: Shard,
        needed: frozenset[int],
        on_block: Callable[[PassStats, float], None] | None = None,
    ) -> None:
        self.stats = PassStats()
        self._work = work
        self._shard = shard
        self._needed = needed
        self._on_block = on_block
        self._lock = _shard_lock(str(work.store.root), shard.token)

    def __enter__(self) -> ShardPass:
        self._lock.acquire()
        try:
            self.state = ShardState(self._work, self._shard)
        except BaseException:
            self._lock.release()
            raise
        self.stats.samples = self.state.count
        return self

    def __exit__(self, *error: object) -> None:
        self.state.close()
        self._lock.release()

    def run(self, start: Positions | None = None, after: int = 0) -> Outcome:
        """Compute whatever is missing and give every row's outcome.

        Parameters
        ----------
        start : array of int, optional
            Positions of rows known to have passed the filters before step ``after``; all rows by default.
        after : int, default=0
        """
        positions = np.arange(self.state.count) if start is None else start
        outcome = self._complete(positions, after)
        for values in self.state.untidy():
            values.finish()
        return outcome

    def first(self, limit: int, start: Positions | None = None, after: int = 0) -> Positions:
        """Positions of the first rows that pass every filter, looking at no more pictures than that takes."""
        positions = np.arange(self.state.count) if start is None else start
        found = [positions[:0]]
        candidates = positions[self._walk(positions, after).alive]
        while limit > 0 and len(candidates):
            outcome = self._complete(candidates[:limit], after)
            candidates = candidates[limit:]
            found.append(outcome.positions[outcome.alive])
            limit -= len(found[-1])
        for values in self.state.untidy():
            values.write_parts()
        return np.concatenate(found)

    def columns(self, names: Iterable[str], positions: Positions) -> dict[str, pa.Array]:
        """Columns of some rows."""
        return {name: self.state.column(name, positions) for name in names}

    def _walk(self, positions: Positions, after: int) -> Outcome:
        return walk(self.state, self._needed, positions, self.stats, after)

    def _complete(self, positions: Positions, after: int) -> Outcome:
        outcome = self._walk(positions, after)
        if not outcome.pending.any():
            return outcome
        for values in self.state.untidy():
            values.write_parts()  # column stages of rows that needed no pixels: not lost if a block dies
        self.state.bytes()  # opened here, shared by all blocks
        blocks = outcome.positions // PART_ROWS
        tasks = [
            pool().submit(self._work_on, outcome, np.flatnonzero(outcome.pending & (blocks == number)), after)
            for number in np.unique(blocks[outcome.pending])
        ]
        try:
            results = [task.result() for task in tasks]
        finally:
            for task in tasks:
                task.cancel()
            wait(tasks)
        for branch, stats in results:
            self.state.take_in(branch)
            self.stats.add(stats)
        return self._walk(positions, after)

    def _work_on(self, outcome: Outcome, rows: Positions, after: int) -> tuple[ShardState, PassStats]:
        """Decode and compute one block; what it found is safe in the store when this returns."""
        state = self.state.branch()
        positions = outcome.positions[rows]
        wanted = {number: flags[rows] for number, flags in outcome.wanted.items() if flags[rows].any()}
        block = Block(state, positions, wanted)
        stats = PassStats(decoded=block.decoded)
        result = walk(state, self._needed, positions, stats, after, block)
        stats.failed = int(result.failed.sum())
        for values in state.untidy():
            values.write_parts()
        if self._on_block is not None:
            self._on_block(stats, len(rows) / self.state.count)
        return state, stats


_locks: weakref.WeakValueDictionary[tuple[str, str], threading.Lock] = weakref.WeakValueDictionary()
_locks_guard = threading.Lock()


def _shard_lock(store: str, token: str) -> threading.Lock:
    """One task at a time computes a shard's missing rows in this process; who waited looks again."""
    with _locks_guard:
        return _locks.setdefault((store, token), threading.Lock())
