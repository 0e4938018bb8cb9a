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

from imagecurate.errors import OutputError

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


def write_atomically(path: Path, write: Callable[[Path], Any], *, durable: bool = False) -> None:
    """Call ``write`` with a temporary path in the folder of ``path`` and rename the result.

    A reader sees the old file or the whole new one.  A file that is not durable may have lost its end after a power
    loss: it counts as missing and is computed again, so that only what is not computed row by row needs to be durable.

    Raises
    ------
    OutputError
        No room, no permission, a disk that fails.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(temporary)
        if durable:
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise OutputError.because(
            f"the store cannot be written at {str(path.parent)!r}: {error}",
            "make room or get permission there, or name another folder by workdir=; what is finished is not lost",
        ) from error
    finally:
        with suppress(OSError):  # a read-only disk says so, and the first error is the one to tell
            temporary.unlink(missing_ok=True)


def write_table(path: Path, table: pa.Table, *, durable: bool = False) -> None:
    """Write a table as parquet, atomically and the same bytes for the same rows."""
    vectors = any(pa.types.is_list(field.type) for field in table.schema)
    # Row groups let a block of vectors be read alone; a column of scores reads fastest as one.
    row_group = PART_ROWS if vectors else max(len(table), 1)
    # One chunk, or the pages would follow the history of the rows; no metadata, as pandas would choke on list columns.
    plain = table.combine_chunks().replace_schema_metadata(None)
    write_atomically(
        path, lambda temporary: pq.write_table(plain, temporary, row_group_size=row_group), durable=durable
    )


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

    def has(self, shard: StoredShard) -> bool:
        """True if the shard's file is there and whole."""
        file = _open(self.path(shard))
        if file is not None:
            file.close()
        return file is not None

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

    def open(self, shard: StoredShard, count: int) -> tuple[pq.ParquetFile | None, list[pa.Table]]:
        """Give the finished file of a shard, open, and the rows of its parts; they repeat or extend the file's."""
        while True:
            parts = list(self.parts(shard, count))  # before the finished file: whoever finishes writes it first
            finished = _open(self.path(shard))
            with suppress(FileNotFoundError):  # a part went while we looked, so the finished file is new: look again
                return finished, [rows for path in parts if (rows := _read(path)) is not None]

    def write_part(self, shard: StoredShard, number: int, table: pa.Table) -> None:
        """Add rows to a part."""
        path = self.part_path(shard, number)
        with suppress(FileNotFoundError):
            earlier = _read(path)
            if earlier is not None:
                table = merge([earlier, table])
        write_table(path, table)

    def finish(self, shard: StoredShard, tables: list[pa.Table], count: int, *, durable: bool = False) -> None:
        """Write the rows of some tables, and all that the store has of the shard by now, as one file.

        Parts that were taken in are removed.
        """
        parts = list(self.parts(shard, count))
        finished, stored = self.open(shard, count)
        if finished is not None:
            stored.insert(0, finished.read())
        write_table(self.path(shard), merge([*stored, *tables]), durable=durable)
        for path in parts:
            path.unlink(missing_ok=True)


def merge(tables: list[pa.Table]) -> pa.Table:
    """Unite rows by position, sorted; where a position repeats the last of its rows is kept.

    They are equal, but where a decode that had taken too long was tried again with more time.
    """
    # parquet gives the items of a list another field name than Arrow does, so all are cast to one of them
    table = pa.concat_tables([each.select(tables[-1].schema.names).cast(tables[-1].schema) for each in tables])
    _, from_end = np.unique(table[POSITION].to_numpy()[::-1], return_index=True)
    return table.take(pa.array(len(table) - 1 - from_end))


def _open(path: Path) -> pq.ParquetFile | None:
    try:
        return pq.ParquetFile(path)
    except (FileNotFoundError, pa.ArrowInvalid):  # not there, or without a footer: written during a power loss
        return None


def _read(path: Path) -> pa.Table | None:
    """The rows of a part, and the file closed: a long shard has more of them than a process may have open files.

    Raises
    ------
    FileNotFoundError
        It went since it was seen.
    """
    try:
        with pq.ParquetFile(path) as file:
            return file.read()
    except pa.ArrowInvalid:
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

    def scratch(self, fingerprint: str) -> Path:
        """Folder of what a dataset stage keeps between its tasks."""
        return self.root / "stages" / fingerprint

    @property
    def tables(self) -> Path:
        """Folder of what was made of tables elsewhere, to look ids up in."""
        return self.root / "tables"

    def index(self, fingerprint: str, shard: StoredShard) -> Path:
        """File with the index of a shard: its samples, where their members lie, the incoming columns."""
        return Path(f"{self.root}/index/{fingerprint}/{shard.source}/{shard.name}-{shard.metadata_token}.arrow")

    def mask(self, token: str, shard: StoredShard) -> Path:
        """File with the positions that a raw mask keeps of a shard."""
        return self.root / "masks" / token / shard.source / f"{shard.name}-{shard.metadata_token}.npy"
