"""What a dataset stage works with: the rows that reach it, shard by shard."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from imagecurate.columns import SAMPLE_ID
from imagecurate.plan.execute import in_order
from imagecurate.plan.shard_pass import ShardPass
from imagecurate.plan.shard_state import Work, sample_id_prefix
from imagecurate.plan.stage import Stage
from imagecurate.plan.steps import StageStep
from imagecurate.shards.shard import Shard, identities
from imagecurate.store import POSITION, digest

__all__ = ["AliveRows"]

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class AliveRows:
    """The rows that reach a dataset stage, shard by shard, and ways to work on them with and without a cluster.

    Iterate over it, as often as needed, for the columns that the stage reads, ``sample_id`` among them; it reads one
    shard at a time.  Small and picklable: a task may take it along, and read on the worker.

    Attributes
    ----------
    reads : tuple of str
        The columns that the stage reads.
    folder : Path
        A folder of the stage's own, in the store: what it writes there, atomically, outlasts a kill.
    """

    work: Work
    shards: Sequence[Shard]
    reads: tuple[str, ...]
    folder: Path

    def __len__(self) -> int:
        """Number of shards."""
        return len(self.shards)

    def __getitem__(self, number: int) -> Mapping[str, pa.Array]:
        """Columns of the rows of one shard."""
        return self.columns(number, (SAMPLE_ID, *self.reads))

    def __iter__(self) -> Iterator[Mapping[str, pa.Array]]:
        return (self[number] for number in range(len(self)))

    def columns(self, number: int, names: Iterable[str]) -> dict[str, pa.Array]:
        """Some columns of the rows of one shard; none of others is read."""
        return _read(self.work, self.shards[number], tuple(names))

    def map(self, task: Callable[[dict[str, pa.Array]], Result], names: Iterable[str]) -> Iterator[Result]:
        """Call ``task`` with some columns of each shard, several shards at a time, and give the results in order.

        With a Dask client connected it runs on the workers, and must be picklable, as must its result.
        """
        return in_order(_OfShard(self.work, tuple(names), task), self.shards)

    def column(self, name: str) -> pa.ChunkedArray:
        """One column of all rows, a chunk a shard: only for what the client can hold."""
        return pa.chunked_array(self.map(_One(name), (name,)))

    @functools.cached_property
    def sizes(self) -> tuple[int, ...]:
        """Rows of each shard."""
        return tuple(self.map(_count, (POSITION,)))

    def run(self, task: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Call ``task`` for each item in the same way."""
        return in_order(task, items)

    def producer(self, column: str) -> Stage | None:
        """The stage that makes a column; None where it came with the data."""
        return self.work.plan.stage_of(column)

    def origin(self, column: str) -> str | None:
        """Fingerprint of the stage that makes a column; None where it came with the data."""
        plan = self.work.plan.resolved
        step = plan.steps[plan.producers[column]] if column in plan.producers else None
        return step.fingerprint if isinstance(step, StageStep) else None

    def shared_folder(self, name: str, identity: object) -> Path:
        """A folder for what these rows give, whatever other parameters the stage has; by name and identity."""
        made_of = [self.work.plan.fingerprint, identities(self.shards), identity]
        return self.work.store.scratch(f"{name}-{digest(made_of)}")

    def sample_ids(self) -> SampleIds:
        """The ids of all rows by their number, counted over all shards: 8 bytes a row."""
        positions = [chunk.to_numpy() for chunk in self.map(_One(POSITION), (POSITION,))]
        return SampleIds(self.shards, positions, self.work.plan.images)


class SampleIds:
    """Sample ids by the number of a row.

    Attributes
    ----------
    starts : array of int64
        Rows in front of each shard, and all in the end.
    """

    def __init__(self, shards: Sequence[Shard], positions: Sequence[np.ndarray], images: str) -> None:
        self._shards = shards
        self._images = images
        self._positions = np.concatenate([np.zeros(0, np.int64), *positions])
        self.starts = np.cumsum([0, *map(len, positions)])

    def __len__(self) -> int:
        return len(self._positions)

    def of(self, rows: np.ndarray) -> list[str | None]:
        """Ids of some rows; None where a number is negative."""
        owners = np.searchsorted(self.starts, rows, side="right") - 1
        return [
            None if row < 0 else f"{sample_id_prefix(self._shards[owner], self._images)}{self._positions[row]}"
            for row, owner in zip(rows.tolist(), owners.tolist(), strict=True)
        ]


@dataclass(frozen=True)
class _OfShard:
    """Reads columns of a shard and hands them to a task."""

    work: Work
    names: tuple[str, ...]
    task: Callable[[dict[str, pa.Array]], Any]

    def __call__(self, shard: Shard) -> Any:
        return self.task(_read(self.work, shard, self.names))


def _read(work: Work, shard: Shard, names: tuple[str, ...]) -> dict[str, pa.Array]:
    with ShardPass(work, shard, work.plan.needed((), everything=True)) as shard_pass:
        return shard_pass.columns(names, shard_pass.run().survivors)


@dataclass(frozen=True)
class _One:
    """Takes one column of a shard."""

    name: str

    def __call__(self, columns: dict[str, pa.Array]) -> pa.Array:
        return columns[self.name]


def _count(columns: dict[str, pa.Array]) -> int:
    return len(columns[POSITION])
