"""Which rows are looked at (all, a share drawn at random, or what needs no decoding), and the tasks that do it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa

from imagecurate.columns import Columns
from imagecurate.explore.picked import PLACE, SHARD_NUMBER
from imagecurate.plan.outcome import Outcome, PassStats, Positions
from imagecurate.plan.shard_pass import ShardPass
from imagecurate.plan.shard_state import Work
from imagecurate.plan.walk import walk
from imagecurate.shards import Shard

__all__ = ["ALL", "FirstOf", "Look", "OfShard", "Seen", "Survey", "TheseOf"]

Result = TypeVar("Result")
Merged = TypeVar("Merged")
Task = Callable[["Seen"], Any]

#: Of each source so many shards are looked into, if it has them: neighbours in a shard are often alike.
_SHARDS_OF_A_SOURCE = 64


@dataclass(frozen=True)
class Look:
    """Which rows of a dataset are looked at.

    Parameters
    ----------
    share : float, default=1.0
        Of the input rows, drawn at random; above 0.
    known : bool, default=False
        Only what is known without decoding a picture.
    seed : int, default=0
        The same seed draws the same rows, and a larger share the same rows and more.
    """

    share: float = 1.0
    known: bool = False
    seed: int = 0

    def shards(self, shards: Sequence[Shard]) -> list[tuple[int, float]]:
        """Numbers of the shards to look into, in order, and the share of each."""
        if self.share >= 1:
            return [(number, 1.0) for number in range(len(shards))]
        by_source: dict[str, list[int]] = {}
        for number, shard in enumerate(shards):
            by_source.setdefault(shard.source, []).append(number)
        chosen = []
        for place, numbers in enumerate(by_source.values()):
            count = min(len(numbers), max(_SHARDS_OF_A_SOURCE, int(np.ceil(self.share * len(numbers)))))
            drawn = np.random.default_rng((self.seed, place)).permutation(numbers)[:count]
            share = self.share * len(numbers) / count
            chosen += [(int(number), share) for number in drawn]
        return sorted(chosen)


#: Every row, computed where it is not known.
ALL = Look()


class Seen(NamedTuple):
    """The rows of one shard that are looked at, and some columns of them."""

    number: int
    source: str
    #: They pass every filter; those that are known to have failed are left out.
    positions: Positions
    columns: Columns
    #: Rows that passed every filter before they failed.
    failed: int


class Survey(NamedTuple, Generic[Merged]):
    """What results come to, and what they are of."""

    merged: Merged
    look: Look
    #: Rows that were looked at, whatever became of them.
    rows: int
    #: Whether that is every row.
    complete: bool


@dataclass(frozen=True)
class OnShard:
    """Base of tasks over one shard; gives a result and what it took."""

    work: Work
    names: tuple[str, ...]
    on_block: Callable[[PassStats, float], None] | None = field(default=None, compare=False, kw_only=True)

    def pass_over(self, shard: Shard) -> ShardPass:
        return ShardPass(self.work, shard, self.work.plan.needed(self.names), self.on_block)


@dataclass(frozen=True)
class OfShard(OnShard):
    """Hands the rows of a shard to a task."""

    task: Task
    look: Look

    def __call__(self, item: tuple[int, Shard, float]) -> tuple[tuple[Any, int, int], PassStats]:
        number, shard, share = item
        stats = PassStats()
        with self.pass_over(shard) as shard_pass:
            count = shard_pass.state.count
            rows = np.arange(count) if share >= 1 else _drawn(count, share, (self.look.seed, number))
            outcome = self._known(shard_pass, rows)
            if self.look.known or not outcome.pending.any():
                return self._given(shard_pass, outcome, number), shard_pass.stats
        # What has to be decoded is decoded for all stages of the plan, so that the full run need not do it again.
        with ShardPass(self.work, shard, self.work.plan.needed((), everything=True), self.on_block) as shard_pass:
            shard_pass.run(outcome.positions[outcome.pending])
            stats.add(shard_pass.stats)
        with self.pass_over(shard) as shard_pass:
            given = self._given(shard_pass, shard_pass.run(rows), number)
            stats.decoded += shard_pass.stats.decoded
            return given, stats

    def _known(self, shard_pass: ShardPass, rows: Positions) -> Outcome:
        state = shard_pass.state
        outcome = walk(state, self.work.plan.needed(self.names), rows, shard_pass.stats)
        for values in state.stages():
            values.save()  # column stages computed what they found the inputs of
        return outcome

    def _given(self, shard_pass: ShardPass, outcome: Outcome, number: int) -> tuple[Any, int, int]:
        positions = outcome.survivors[~outcome.pending[outcome.alive & ~outcome.failed]]
        columns = shard_pass.columns(self.names, positions)
        seen = Seen(number, shard_pass.state.shard.source, positions, columns, int(outcome.failed.sum()))
        unknown = int((outcome.pending & ~outcome.failed).sum())
        return self.task(seen), len(outcome.positions), unknown


@dataclass(frozen=True)
class FirstOf(OnShard):
    """Reads the first surviving rows of a shard, or some at random."""

    seed: int | None

    def __call__(self, item: tuple[int, Shard, int]) -> tuple[pa.Table, PassStats]:
        number, shard, limit = item
        with self.pass_over(shard) as shard_pass:
            order = None
            if self.seed is not None:
                order = np.random.default_rng((self.seed, number)).permutation(shard_pass.state.count)
            chosen = shard_pass.first(limit, order)
            return _read(shard_pass, self.names, number, chosen), shard_pass.stats


@dataclass(frozen=True)
class TheseOf(OnShard):
    """Reads rows of a shard that are known to survive."""

    def __call__(self, item: tuple[int, Shard, Positions]) -> tuple[pa.Table, PassStats]:
        number, shard, positions = item
        with self.pass_over(shard) as shard_pass:
            shard_pass.first(len(positions), positions)
            return _read(shard_pass, self.names, number, positions), shard_pass.stats


def _read(shard_pass: ShardPass, names: Sequence[str], number: int, positions: Positions) -> pa.Table:
    """Read rows in the order of some positions; a pass takes as many as a shard has for all of them in their order."""
    columns = shard_pass.columns([*names, *PLACE[1:]], np.sort(positions))
    columns[SHARD_NUMBER] = pa.repeat(pa.scalar(number, pa.int64()), len(positions))
    table = pa.table({name: columns[name] for name in (*names, *PLACE)})
    return table.take(pa.array(np.argsort(np.argsort(positions))))


def _drawn(count: int, share: float, seed: tuple[int, int]) -> Positions:
    """Positions of a share of the rows of a shard, drawn so that fractions of a row count on average."""
    random = np.random.default_rng(seed)
    wanted = int(share * count + random.random())
    return np.sort(random.permutation(count)[:wanted])
