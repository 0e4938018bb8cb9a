"""What is known of one shard: its index and, stage by stage, the columns computed so far."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from imagecurate.columns import KEY, SAMPLE_ID, SHARD, SOURCE
from imagecurate.plan.plan import Plan
from imagecurate.plan.steps import MaskStep, StageStep, Step, Stored, WithColumnStep
from imagecurate.plan.threads import computing
from imagecurate.remote import local_path
from imagecurate.shards import ByteSource, InputSchema, Shard, index_shard, open_shard, provisional_index
from imagecurate.shards.differences import between_sources
from imagecurate.shards.types import converted
from imagecurate.store import ERROR, POSITION, BlockValues, StageValues, Store, StorePath, digest
from imagecurate.store.index_file import IndexFile

__all__ = ["BlockState", "ShardState", "Work", "sample_id_prefix"]


@dataclass(frozen=True)
class Work:
    """All that a worker needs beside the shard: small, picklable, and the same for every shard."""

    plan: Plan
    #: How the shards of each source are read.
    schemas: Mapping[str, InputSchema]
    store: Store
    storage_options: Mapping[str, Any] | None = field(default=None, repr=False, compare=False)
    #: Library of the frames that users see.
    backend: str = "pandas"

    def __dask_tokenize__(self) -> tuple[str, ...]:
        # Dask takes expressions of one token for one and the same, so the place belongs to it, and what the frames are
        # made of.  No fingerprint has these.
        return self.plan.fingerprint, str(self.store.root), digest(dict(self.storage_options or {})), self.backend

    @property
    def differences(self) -> list[str]:
        """What was not the same in all shards when the columns were found out, a sentence each."""
        found = [sentence for schema in self.schemas.values() for sentence in schema.differences]
        found += between_sources({source: schema.fields for source, schema in self.schemas.items()})
        return list(dict.fromkeys(found))

    def view(self, shard: Shard, steps: Iterable[Step], columns: Iterable[str] = ()) -> Shard:
        """The shard or, where that is enough and nobody has read the tar, what the parquet beside it tells.

        Only of a remote shard, whose tar would have to be fetched, and only for what no stage is needed.

        Parameters
        ----------
        shard : Shard
        steps : iterable of Step
            Steps of the plan that must be answered for.
        columns : iterable of str
            Further columns that are asked for.
        """
        steps = list(steps)
        asked = set(columns).union(*(step.reads for step in steps)) - self.plan.producers.keys()
        known = {SOURCE, SHARD, *self.schemas[shard.source].in_parquet}
        if (
            shard.parquet_url is None
            or local_path(shard.url) is not None
            or any(isinstance(step, StageStep | MaskStep) for step in steps)
            or not asked <= known
            or self.store.has_index(self._fingerprints[shard.source], shard)
        ):
            return shard
        return replace(shard, provisional=True)

    def index(self, shard: Shard) -> StorePath:
        """File of a shard's index: how incoming columns are read decides what is in it."""
        return self.store.index(self._fingerprints[shard.source], shard)

    def open_index(self, shard: Shard) -> IndexFile:
        """Open a shard's index; FileNotFoundError where there is none, ArrowInvalid where a power loss cut it off."""
        return self.store.open_index(self._fingerprints[shard.source], shard)

    @cached_property
    def _fingerprints(self) -> dict[str, str]:
        return {source: digest(schema.identity()) for source, schema in self.schemas.items()}


def sample_id_prefix(shard: Shard, images: str) -> str:
    """What stands in front of a row's position in its ``sample_id``.

    Where each image is a row, the same position is another row than where each sample is one, and has another id.
    """
    return f"{shard.source}/{shard.name}#{'img' if images == 'all' else ''}"


class ShardState:
    """The rows of one shard, every column of them on demand."""

    def __init__(self, work: Work, shard: Shard) -> None:
        self.work = work
        self.plan = work.plan.resolved
        self.shard = shard
        self.tables = work.store.tables
        self._bytes: ByteSource | None = None
        self._lock = threading.Lock()
        self._index = self._open_index()
        self._index_columns = {ERROR: self._index.column(ERROR)}
        self.count = len(self._index_columns[ERROR])
        self._stages: dict[int, StageValues] = {}

    def close(self) -> None:
        """Close the shard's bytes, if they were opened."""
        if self._bytes is not None:
            self._bytes.close()
            self._bytes = None

    def bytes(self, wanted: int = 0) -> ByteSource:
        """The bytes of the shard, opened once; the one stream that indexed a remote shard serves its pixels too.

        Parameters
        ----------
        wanted : int
            How many of them will be read, as far as is known: a remote shard of which it is most is streamed whole.
        """
        with self._lock:
            if self._bytes is None:
                most = wanted > self.shard.size / 2
                self._bytes = open_shard(self.shard, storage_options=self.work.storage_options, stream=most)
            return self._bytes

    def stage(self, number: int) -> StageValues:
        """Columns of the stage at a step of the plan."""
        with self._lock:
            if number not in self._stages:
                self._stages[number] = self._open_stage(number)
            return self._stages[number]

    def column(self, name: str, positions: NDArray[np.int64]) -> pa.Array:
        """Values of a column at some positions, null where it is not computed."""
        return _column(self, name, positions, self.incoming)

    def columns(self, names: Collection[str], positions: NDArray[np.int64]) -> dict[str, pa.Array]:
        """Values of several columns; those of one stage are read in one go."""
        by_stage: dict[int, list[str]] = {}
        for name in names:
            number = self.plan.producers.get(name)
            if number is not None and not isinstance(self.plan.steps[number], WithColumnStep):
                by_stage.setdefault(number, []).append(name)
        for number, together in by_stage.items():
            self.stage(number).read(together)
        return {name: self.column(name, positions) for name in names}

    def mask(self, step: MaskStep) -> NDArray[np.bool_]:
        """True at the positions that a raw mask keeps."""
        kept = np.zeros(self.count, np.bool_)
        kept[np.load(io.BytesIO(self.work.store.mask(step.token, self.shard).read_bytes()))] = True
        return kept

    def index_counts(self) -> dict[str, int]:
        """What was noticed while the shard was indexed, as captions that differ."""
        metadata = self._index.schema.metadata or {}
        counts: dict[str, int] = json.loads(metadata.get(b"imagecurate.counts", b"{}"))
        return counts

    def stages(self) -> list[StageValues]:
        """Stages that were asked for so far."""
        return list(self._stages.values())

    def block(self, positions: NDArray[np.int64]) -> BlockState:
        """The same state for one block of rows, to add to without regard to other blocks."""
        return BlockState(self, positions)

    def _open_stage(self, number: int) -> StageValues:
        step = self.plan.steps[number]
        if not isinstance(step, Stored) or step.fingerprint is None:
            raise TypeError(f"step {number} of the plan is not resolved, or keeps nothing in the store")
        self.work.store.describe(step.fingerprint, step.record)
        files = self.work.store.stage(step.fingerprint, reads_metadata=step.reads_metadata)
        return StageValues(files, self.shard, self.count, step.stored())

    def _open_index(self) -> IndexFile:
        with suppress(FileNotFoundError, pa.ArrowInvalid):  # not there yet, or cut off by a power loss
            return self.work.open_index(self.shard)
        computing()
        options = self.work.storage_options
        schema = self.work.schemas[self.shard.source]
        if self.shard.provisional:
            table = provisional_index(self.shard, schema, storage_options=options)
            if table is None:  # the parquet is damaged
                self.shard = replace(self.shard, provisional=False)
                return self._open_index()
        else:
            self._bytes = open_shard(self.shard, storage_options=options, stream=True)
            table = index_shard(self._bytes, self.shard, schema, storage_options=options)
        return IndexFile.write(self.work.index(self.shard), table)

    def incoming(self, name: str, positions: NDArray[np.int64]) -> pa.Array:
        """Values of a column that came with the data, or that follows from where the rows lie."""
        if name == POSITION:
            return pa.array(positions)
        if name == SAMPLE_ID:
            prefix = sample_id_prefix(self.shard, self.plan.images)
            return pa.array([f"{prefix}{position}" for position in positions.tolist()], pa.string())
        if name in (SOURCE, SHARD):
            value = self.shard.source if name == SOURCE else self.shard.name
            return pa.repeat(pa.scalar(value, pa.string()), len(positions))
        with self._lock:
            if name not in self._index_columns:
                self._index_columns[name] = self._read_index(name)
        values = self._index_columns[name]
        everything = len(positions) == self.count and bool((np.diff(positions) == 1).all())
        return values if everything else values.take(pa.array(positions))

    def _read_index(self, name: str) -> pa.Array:
        """Read a column of the index; sources that were concatenated may lack it, or have it with another type."""
        kind = self.plan.schema.get(name)
        if kind is not None and name not in self._index.schema.names:
            return pa.nulls(self.count, kind)
        column = self._index.column(name)
        return column if kind is None else converted(column, kind)[0]


class BlockState:
    """The state of a shard for a block of its rows: what the block adds stays with it until the block is done."""

    def __init__(self, shared: ShardState, positions: NDArray[np.int64]) -> None:
        self.plan = shared.plan
        self.tables = shared.tables
        self._shared = shared
        self._positions = positions
        self._stages: dict[int, BlockValues] = {}

    def bytes(self) -> ByteSource:
        """The bytes of the shard."""
        return self._shared.bytes()

    def stage(self, number: int) -> BlockValues:
        """Columns of the stage at a step of the plan."""
        if number not in self._stages:
            self._stages[number] = BlockValues(self._shared.stage(number), self._positions)
        return self._stages[number]

    def column(self, name: str, positions: NDArray[np.int64]) -> pa.Array:
        """Values of a column at some positions of the block, null where it is not computed."""
        return _column(self, name, positions, self._shared.incoming)

    def columns(self, names: Collection[str], positions: NDArray[np.int64]) -> dict[str, pa.Array]:
        """Values of several columns."""
        return {name: self.column(name, positions) for name in names}

    def mask(self, step: MaskStep) -> NDArray[np.bool_]:
        """True at the positions that a raw mask keeps."""
        return self._shared.mask(step)

    def save(self) -> dict[int, pa.Table]:
        """Put what the block added into the store; give it by the number of the step."""
        for values in self._stages.values():
            values.save()
        return {number: values.fresh for number, values in self._stages.items() if len(values.fresh)}


def _column(
    state: ShardState | BlockState,
    name: str,
    positions: NDArray[np.int64],
    incoming: Callable[[str, NDArray[np.int64]], pa.Array],
) -> pa.Array:
    number = state.plan.producers.get(name)
    if number is None:
        return incoming(name, positions)
    step = state.plan.steps[number]
    if isinstance(step, WithColumnStep):
        # a constant expression names no column, but its length must be known
        columns = {read: state.column(read, positions) for read in step.expression.columns or (KEY,)}
        return step.expression.values(columns)
    return state.stage(number).column(name, positions)
