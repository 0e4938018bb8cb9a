"""Where the files of the store lie, and how they are written.

One flat file for each stage and shard, named by the shard's place and identity; while a shard is in work, parts of
fixed row positions beside it.  Every file is written under another name and renamed, and its bytes depend only on the
rows in it: any number of runs and machines may share a store without a lock.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

__all__ = ["ERROR", "PART_ROWS", "POSITION", "StageFiles", "Store", "StoredShard", "write_atomically"]

#: Rows a part: what a killed run can lose of each shard in work.  Small enough for a model at one image a second,
#: large enough that writing parts costs under 1 % beside the lightest image stage.
PART_ROWS = 64

#: Internal columns of a stage's files: the row's position in its shard, and why its sample failed there (or null).
POSITION = "_position"
ERROR = "_error"


class StoredShard(Protocol):
    """What the store must know of a shard."""

    @property
    def source(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def token(self) -> str: ...
    @property
    def metadata_token(self) -> str: ...


def write_atomically(path: Path, write: Callable[[Path], Any]) -> None:
    """Call ``write`` with a temporary path in the folder of ``path`` and rename the result.

    A reader sees the old file or the whole new one.  There is no fsync: after a power loss a file without a footer
    counts as missing and is computed again.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        write(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_table(path: Path, table: pa.Table) -> None:
    """Write a table as parquet, atomically and the same bytes for the same rows."""
    vectors = any(pa.types.is_list(field.type) for field in table.schema)
    # Row groups let a block of vectors be read alone; a column of scores reads fastest as one.
    row_group = PART_ROWS if vectors else max(len(table), 1)
    # One chunk, or the pages would follow the history of the rows; no metadata, as pandas would choke on list columns.
    plain = table.combine_chunks().replace_schema_metadata(None)
    write_atomically(path, lambda temporary: pq.write_table(plain, temporary, row_group_size=row_group))


@dataclass(frozen=True)
class StageFiles:
    """The files of one stage."""

    folder: Path
    #: True where a change to the parquet beside the tar may change what the stage computes.
    reads_metadata: bool

    def path(self, shard: StoredShard) -> Path:
        """File of a finished shard."""
        return Path(f"{self._stem(shard)}.parquet")

    def _stem(self, shard: StoredShard) -> str:
        token = shard.metadata_token if self.reads_metadata else shard.token
        return f"{self.folder}/{shard.source}/{shard.name}-{token}"

    def part_path(self, shard: StoredShard, number: int) -> Path:
        """File of rows ``[number * PART_ROWS, (number + 1) * PART_ROWS)`` of a shard in work."""
        return Path(f"{self._stem(shard)}.part-{number:05d}.parquet")

    def parts(self, shard: StoredShard, count: int) -> Iterator[Path]:
        """Parts that exist, for a shard of ``count`` rows."""
        # Asked for by name: listing the folder would cost each shard a look at all others.
        stem = self._stem(shard)
        for number in range(-(-count // PART_ROWS)):
            path = f"{stem}.part-{number:05d}.parquet"
            if os.path.exists(path):  # noqa: PTH110 - a tenth of the time of making a Path, and asked very often
                yield Path(path)

    def open(self, shard: StoredShard, count: int) -> tuple[list[pq.ParquetFile], bool]:
        """Open what is there of a shard, and say whether all of it is in the one finished file."""
        while True:
            parts = list(self.parts(shard, count))  # before the finished file: whoever finishes writes it first
            with suppress(FileNotFoundError):  # a part went while we looked, so the finished file is new: look again
                found = [_open(self.path(shard), required=False), *(_open(path, required=True) for path in parts)]
                return [file for file in found if file is not None], not parts

    def write_part(self, shard: StoredShard, number: int, table: pa.Table) -> None:
        """Add rows to a part."""
        path = self.part_path(shard, number)
        with suppress(FileNotFoundError):
            earlier = _open(path, required=True)
            if earlier is not None:
                # parquet gives the items of a list another field name than Arrow does, and writes it back
                table = merge([earlier.read().cast(table.schema), table])
        write_table(path, table)

    def finish(self, shard: StoredShard, table: pa.Table, count: int) -> None:
        """Write all known rows of a shard as one file and remove its parts."""
        write_table(self.path(shard), table)
        for path in list(self.parts(shard, count)):
            path.unlink(missing_ok=True)


def merge(tables: list[pa.Table]) -> pa.Table:
    """Unite rows by position, sorted; where a position repeats its rows are equal and one is kept."""
    table = pa.concat_tables(tables)
    _, first = np.unique(table[POSITION].to_numpy(), return_index=True)
    return table.take(pa.array(first))


def _open(path: Path, required: bool) -> pq.ParquetFile | None:
    try:
        return pq.ParquetFile(path)
    except FileNotFoundError:
        if required:
            raise
        return None
    except pa.ArrowInvalid:  # no footer: written during a power loss
        return None


@dataclass(frozen=True)
class Store:
    """A folder of computed columns."""

    root: Path

    def stage(self, fingerprint: str, *, reads_metadata: bool) -> StageFiles:
        """Files of the stage with this fingerprint."""
        return StageFiles(self.root / "columns" / fingerprint, reads_metadata)

    def describe(self, fingerprint: str, record: Callable[[], Mapping[str, Any]]) -> None:
        """Keep a readable record of what a stage's columns are beside them."""
        path = self.root / "columns" / fingerprint / "stage.json"
        if not path.exists():
            text = json.dumps(record(), indent=2, sort_keys=True, default=str) + "\n"
            write_atomically(path, lambda temporary: temporary.write_text(text))

    def index(self, fingerprint: str, shard: StoredShard) -> Path:
        """File with the index of a shard: its samples, where their members lie, the incoming columns."""
        return self.root / "index" / fingerprint / shard.source / f"{shard.name}-{shard.metadata_token}.parquet"

    def mask(self, token: str, shard: StoredShard) -> Path:
        """File with the positions that a raw mask keeps of a shard."""
        return self.root / "masks" / token / shard.source / f"{shard.name}-{shard.metadata_token}.npy"

    def __fspath__(self) -> str:
        return os.fspath(self.root)
