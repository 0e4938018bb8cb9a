"""One pass over one shard: what is in the store is read, what is missing is computed, every row has an outcome.

A first walk over the plan knows only what is stored: a row whose next image stage has no value yet is pending.  Pending
rows are then worked on block by block, side by side: their pictures are decoded once, for all stages that may want
them, and the plan is walked again for the block with the pixels at hand, so that a filter between two image stages
spares the second one.  A last walk over the whole shard finds nothing pending.
"""

from __future__ import annotations

import math
import os
import threading
import weakref
from collections.abc import Callable, Iterable
from concurrent.futures import CancelledError, wait

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from imagecurate.plan.at_work import NOTES, at_work_on
from imagecurate.plan.blocks import Block, image_stage
from imagecurate.plan.outcome import Outcome, PassStats, Positions
from imagecurate.plan.shard_state import ShardState, Work
from imagecurate.plan.threads import computing, cores, pool, stop_of_this_run
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
        if not self._lock.acquire(blocking=False):
            computing()
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

    def run(self, positions: Positions | None = None, passed: int = 0, *, tidy: bool = False) -> Outcome:
        """Compute whatever is missing and give every row's outcome.

        Parameters
        ----------
        positions : array of int, optional
            Rows to look at; all by default.
        passed : int, default=0
            These rows are known to have passed the filters before this step.
        tidy : bool, default=False
            Also make one file of parts that an earlier run left.
        """
        outcome = self._complete(self._all() if positions is None else positions, passed)
        for values in self.state.stages():
            if values.has_fresh or (tidy and values.has_parts):
                computing()
                values.finish()
        return outcome

    def first(self, limit: int, positions: Positions | None = None) -> Positions:
        """Positions of the first rows that pass every filter, looking at little more than that takes.

        First at as many as are wanted, then at ever more: a filter that lets few rows pass still feeds whole blocks.

        Parameters
        ----------
        limit : int
            Rows wanted.
        positions : array of int, optional
            Rows to look at, in this order; all by default.
        """
        waiting = self._all() if positions is None else positions
        found = [waiting[:0]]
        size = limit
        while limit > 0 and len(waiting):
            outcome = self._complete(waiting[:size])
            alive = outcome.positions[outcome.alive][:limit]
            found.append(alive)
            limit -= len(alive)
            waiting = waiting[size:]
            size = max(2 * size, PART_ROWS * cores())
        for values in self.state.stages():
            values.save()
        return np.concatenate(found)

    def columns(self, names: Iterable[str], positions: Positions) -> dict[str, pa.Array]:
        """Columns of some rows."""
        return self.state.columns(list(names), positions)

    def _all(self) -> Positions:
        return np.arange(self.state.count)

    def _walk(self, positions: Positions, passed: int) -> Outcome:
        return walk(self.state, self._needed, positions, self.stats, passed)

    def _complete(self, positions: Positions, passed: int = 0) -> Outcome:
        outcome = self._walk(positions, passed)
        if not outcome.pending.any():
            return outcome
        computing()
        for values in self.state.stages():
            values.save()  # column stages of rows that needed no pixels: not lost if a block dies
        sizes = self.state.column("_image_size", outcome.positions[outcome.pending])
        self.state.bytes(pc.sum(sizes).as_py() or 0)  # opened here, shared by all blocks
        stop = stop_of_this_run()
        stages = [image_stage(self.state.plan, number) for number, rows in outcome.wanted.items() if rows.any()]
        # Whole parts, so that no two blocks write the same one, and whole batches of each stage that has fixed ones.
        blocks = outcome.positions // math.lcm(PART_ROWS, *(stage.batch_rows or 1 for stage in stages))
        threads = pool(max(stage.decode_threads for stage in stages))
        tasks = [
            threads.submit(self._work_on, outcome, np.flatnonzero(outcome.pending & (blocks == number)), passed, stop)
            for number in np.unique(blocks[outcome.pending])
        ]
        try:
            results = [task.result() for task in tasks]
        finally:
            for task in tasks:
                task.cancel()
            wait(tasks)
        for tables, stats in results:
            for number, rows in tables.items():
                self.state.stage(number).add(rows, saved=True)
            self.stats.add(stats)
        return self._walk(positions, passed)

    def _work_on(
        self, outcome: Outcome, rows: Positions, passed: int, stop: threading.Event
    ) -> tuple[dict[int, pa.Table], PassStats]:
        """Decode and compute one block; what it found is safe in the store when this returns."""
        if stop.is_set():
            raise CancelledError
        positions = outcome.positions[rows]
        ordered = np.sort(positions)
        state = self.state.block(ordered)
        wanted = {number: flags[rows] for number, flags in outcome.wanted.items() if flags[rows].any()}
        with at_work_on(self._work.store.local / NOTES, self._shard.token, ordered):
            block = Block(state, positions, wanted)
            stats = PassStats(decoded=block.decoded)
            result = walk(state, self._needed, positions, stats, passed, block)
            tables = state.save()
        stats.failed = int(result.failed.sum())
        if self._on_block is not None:
            self._on_block(stats, len(rows) / self.state.count)
        return tables, stats


_locks: weakref.WeakValueDictionary[tuple[str, str], threading.Lock] = weakref.WeakValueDictionary()
_locks_guard = threading.Lock()


def _shard_lock(store: str, token: str) -> threading.Lock:
    """One task at a time computes a shard's missing rows in this process; who waited looks again."""
    with _locks_guard:
        return _locks.setdefault((store, token), threading.Lock())


def _forget_locks() -> None:
    _locks.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_locks)  # a lock that another thread held would never be released
