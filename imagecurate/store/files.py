"""Where the columns of a stage lie.

One flat file for each stage and shard, named by the shard's place and identity; while a shard is in work, parts of
fixed row positions beside it.  Every file appears whole or not at all, and its bytes depend only on the rows in it: any
number of runs and machines may share a store without a lock.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from imagecurate.remote import RemotePath, StorageOptions, is_on_own_disk
from imagecurate.store.packs import packs_of
from imagecurate.store.writing import PART_ROWS, StorePath, write_atomically, write_table

__all__ = [
    "ERROR",
    "PART_ROWS",
    "POSITION",
    "StageFiles",
    "StoredShard",
    "all_null",
    "merge",
    "open_finished",
    "write_atomically",
]

#: Internal columns of a stage's files: the row's position in its shard, and why its sample failed there (or null).
POSITION = "_position"
ERROR = "_error"

#: Parts that are fetched at a time.
_REQUESTS = 8


class StoredShard(Protocol):
    """What the store must know of a shard."""

    @property
    def source(self) -> str:
        """Name of the group of shards that it belongs to."""

    @property
    def name(self) -> str:
        """Its place among these."""

    @property
    def token(self) -> str:
        """Changes with the tar."""

    @property
    def metadata_token(self) -> str:
        """Changes with the tar and with the parquet beside it."""


#: Opens the finished file of a shard; None where there is none.
_Finished: TypeAlias = Callable[[], "pq.ParquetFile | None"]


@dataclass(frozen=True)
class StageFiles:
    """The files of one stage."""

    folder: StorePath
    #: True where a change to the parquet beside the tar may change what the stage computes.
    reads_metadata: bool

    def path(self, shard: StoredShard) -> StorePath:
        """File of a finished shard."""
        return self._at(f"{self.folder}/{self._name(shard)}")

    def has(self, shard: StoredShard) -> bool:
        """True if the shard's file is there and whole."""
        file = open_finished(self.folder, self._name(shard))
        if file is not None:
            file.close()
        return file is not None

    def part_path(self, shard: StoredShard, number: int) -> StorePath:
        """File of rows ``[number * PART_ROWS, (number + 1) * PART_ROWS)`` of a shard in work."""
        return self._at(f"{self._stem(shard)}.part-{number:05d}.parquet")

    def open(self, shard: StoredShard, count: int) -> tuple[pq.ParquetFile | None, list[pa.Table]]:
        """Give the finished file of a shard, open, and the rows of its parts; they repeat or extend the file's.

        Where every row is in the file, and none of them failed, parts have nothing to add, and are not looked for: that
        a process was killed before it removed them is rare, and ``imagecurate store gc`` removes them.
        """
        if isinstance(self.folder, Path):
            finished = open_finished(self.folder, self._name(shard))
            if finished is not None:
                if finished.metadata.num_rows == count and all_null(finished, ERROR):
                    return finished, []
                finished.close()
        finished, parts, _ = self._look(shard, count)
        return finished, parts

    def write_part(self, shard: StoredShard, number: int, table: pa.Table) -> None:
        """Add rows to a part."""
        path = self.part_path(shard, number)
        if len(table) < PART_ROWS:
            with suppress(FileNotFoundError):
                earlier = _read(path)
                if earlier is not None:
                    table = merge([earlier, table])
        write_table(path, table)

    def finish(self, shard: StoredShard, tables: list[pa.Table], count: int, *, durable: bool = False) -> None:
        """Write the rows of some tables, and all that the store has of the shard by now, as one file.

        Parts that were taken in are removed.
        """
        finished, stored, parts = self._look(shard, count, _whole_parts(tables, count))
        if finished is not None:
            stored.insert(0, finished.read())
        write_table(self.path(shard), merge([*stored, *tables]), durable=durable)
        for path in parts:
            if isinstance(path, Path):
                path.unlink(missing_ok=True)
        RemotePath.remove(path for path in parts if isinstance(path, RemotePath))

    def _look(
        self, shard: StoredShard, count: int, without: Collection[int] = ()
    ) -> tuple[pq.ParquetFile | None, list[pa.Table], list[StorePath]]:
        """The finished file of a shard, the rows of its parts ``without`` some, and where all of these lie."""
        while True:
            # Parts are looked for before the finished file is opened: whoever finishes a shard writes that first.
            finish, paths = self._listed(shard) if isinstance(self.folder, RemotePath) else self._found(shard, count)
            finished = finish()
            with suppress(FileNotFoundError):  # a part went while we looked, so the finished file is new: look again
                wanted = [path for path in paths if _number(path) not in without]
                return finished, [rows for rows in _read_all(wanted) if rows is not None], paths

    def _found(self, shard: StoredShard, count: int) -> tuple[_Finished, list[StorePath]]:
        # Asked for by name: listing the folder would cost each shard a look at all others.
        stem = self._stem(shard)
        names = (f"{stem}.part-{number:05d}.parquet" for number in range(-(-count // PART_ROWS)))
        # os.path.exists takes a tenth of the time of making a Path, and is asked very often
        parts: list[StorePath] = [Path(name) for name in names if os.path.exists(name)]  # noqa: PTH110
        return lambda: open_finished(self.folder, self._name(shard)), parts

    def _listed(self, shard: StoredShard) -> tuple[_Finished, list[StorePath]]:
        # One request for all names that begin like this shard's, and none for a file that is not there.
        there = RemotePath(self._stem(shard), self._options).beginning()
        finished = self.path(shard)
        parts: list[StorePath] = sorted((path for path in there if ".part-" in path.name), key=str)
        if not isinstance(finished, RemotePath) or finished not in there:
            return lambda: None, parts
        return lambda: _open(finished, there[finished]), parts

    def _name(self, shard: StoredShard) -> str:
        token = shard.metadata_token if self.reads_metadata else shard.token
        return f"{shard.source}/{shard.name}-{token}.parquet"

    def _stem(self, shard: StoredShard) -> str:
        return f"{self.folder}/{self._name(shard)}".removesuffix(".parquet")

    def _at(self, name: str) -> StorePath:
        return RemotePath(name, self._options) if isinstance(self.folder, RemotePath) else Path(name)

    @property
    def _options(self) -> StorageOptions:
        return self.folder.storage_options if isinstance(self.folder, RemotePath) else None


def open_finished(folder: StorePath, name: str) -> pq.ParquetFile | None:
    """Open a finished file of a shard, a loose one or one in a pack; None where none is there and whole.

    Parameters
    ----------
    folder : Path or RemotePath
        Of the stage.
    name : str
        Path of the file below it.
    """
    if isinstance(folder, RemotePath):
        return _open(folder / name)
    # in this order: a file that goes into a pack is in its index before it goes
    path = f"{folder}/{name}"
    file = None
    if os.path.exists(path):  # noqa: PTH110  # a tenth of a failing attempt's time
        # Fetched ahead by threads of Arrow's, in few requests, two columns of 10,000 numbers take 136 µs, else 58 µs.
        file = _open(Path(path), ahead=not is_on_own_disk(folder))
    if file is None and (packed := packs_of(folder).open(name)) is not None:
        file = pq.ParquetFile(packed)
    return file


def all_null(file: pq.ParquetFile, name: str) -> bool:
    """True if the footer says that a column holds nothing but nulls, which spares reading it."""
    # ``_error`` stands before the stage's columns, so its place in the Arrow schema is its place in the file
    place = file.schema_arrow.get_field_index(name)
    groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
    chunks = [(group.column(place).statistics, group.num_rows) for group in groups]
    return all(statistics is not None and statistics.null_count == rows for statistics, rows in chunks)


def merge(tables: list[pa.Table]) -> pa.Table:
    """Unite rows by position, sorted; where a position repeats the last of its rows is kept.

    They are equal, but where a decode that had taken too long was tried again with more time.
    """
    # parquet gives the items of a list another field name than Arrow does, so all are cast to one of them
    table = pa.concat_tables([each.select(tables[-1].schema.names).cast(tables[-1].schema) for each in tables])
    _, from_end = np.unique(table[POSITION].to_numpy()[::-1], return_index=True)
    return table.take(pa.array(len(table) - 1 - from_end))


def _number(part: StorePath) -> int:
    return int(part.name[-len("00000.parquet") : -len(".parquet")])


def _whole_parts(tables: Sequence[pa.Table], count: int) -> set[int]:
    """Numbers of the parts all of whose rows are in some tables."""
    positions = [table[POSITION].to_numpy() for table in tables]
    numbers, rows = np.unique(np.unique(np.concatenate(positions or [[]])) // PART_ROWS, return_counts=True)
    return {int(number) for number in numbers[rows == np.minimum(PART_ROWS, count - numbers * PART_ROWS)]}


def _open(path: StorePath, size: int | None = None, *, ahead: bool = True) -> pq.ParquetFile | None:
    try:
        source = path.open_ranges(size) if isinstance(path, RemotePath) else path
        return pq.ParquetFile(source, pre_buffer=ahead)
    except (FileNotFoundError, pa.ArrowInvalid):  # not there, or without a footer: written during a power loss
        return None


def _read(path: StorePath) -> pa.Table | None:
    """The rows of a part, and the file closed: a long shard has more of them than a process may have open files.

    Raises
    ------
    FileNotFoundError
        It went since it was seen.
    """
    try:
        with pq.ParquetFile(path if isinstance(path, Path) else pa.BufferReader(path.read_bytes())) as file:
            return file.read()
    except pa.ArrowInvalid:
        return None


def _read_all(paths: Sequence[StorePath]) -> list[pa.Table | None]:
    if len(paths) < 2 or isinstance(paths[0], Path):
        return [_read(path) for path in paths]
    with ThreadPoolExecutor(_REQUESTS) as threads:
        return list(threads.map(_read, paths))
