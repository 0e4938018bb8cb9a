"""Finished files of many shards, one behind the other in one file: a pack.

A folder of columns, or of indices, may have a folder ``.packs`` in it.  Each ``<pack>.pack`` there holds the bytes of
files as they were, and ``<pack>.index``, an Arrow table written after it, says which and where.  A pack is there once
both are, and neither is ever changed: packs are added, and those that others stand in for are removed, index first.

Of several copies of a file the one with most rows counts; of those the newest; of those the one in the pack with the
greatest name, which begins with a number that grows with every copying.  All processes see the same order, so that
whoever removes what another copy stands in for never removes the last one.
"""

from __future__ import annotations

import functools
import os
import threading
import uuid
from bisect import bisect_left
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from imagecurate.remote.ranges import RangeFile

__all__ = ["FOLDER", "INDEX", "PACK", "Packed", "Packs", "new_name", "packs_of"]

#: Folder of the packs, in that of the files.
FOLDER = ".packs"
PACK, INDEX = ".pack", ".index"

#: A packed file up to here is read at once when it is opened; of a larger one, what is asked for.
_WHOLE_BYTES = 256 << 10

#: What an index says of each file: its path below the folder, where its bytes are, its rows, and when it was written.
SCHEMA = pa.schema([
    ("name", pa.string()), ("offset", pa.int64()), ("size", pa.int64()), ("rows", pa.int64()), ("modified", pa.int64()),
])  # fmt: skip


class Packed(NamedTuple):
    """A file in a pack.

    Attributes
    ----------
    name : str
        Path below the folder, with ``/``.
    pack : str
        Name of the pack.
    offset, size : int
        Bytes.
    rows : int
        0 for a file that is no parquet.
    modified : int
        When the file was written, in nanoseconds since 1970.
    """

    name: str
    pack: str
    offset: int
    size: int
    rows: int
    modified: int


class _Known(NamedTuple):
    """What some packs hold, each file once, sorted by name.  Arrow, as there may be many: 50 bytes a file."""

    #: The folder's listing that this was read after.
    listing: list[str]
    packs: list[str]
    names: pa.StringArray
    #: In which of the packs, and where in it.
    numbers: pa.Int32Array
    offsets: pa.Int64Array
    sizes: pa.Int64Array


class Packs:
    """The packs of a folder, as they are at each call: others add and remove some meanwhile.

    Parameters
    ----------
    folder : Path
        The folder of the files.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / FOLDER
        self._path = str(self.folder)
        self._lock = threading.Lock()
        self._known = _merged({})

    def names(self) -> pa.StringArray:
        """Names of the files in packs, sorted."""
        return self._current().names

    def __contains__(self, name: str) -> bool:
        known = self._current()
        return _place(known.names, name) is not None

    def open(self, name: str) -> pa.NativeFile | None:
        """Open a file that lies in a pack; None where none has it."""
        known = self._current()
        while (place := _place(known.names, name)) is not None:
            pack = known.packs[known.numbers[place].as_py()]
            try:
                return _opened(f"{self._path}/{pack}{PACK}", known.offsets[place].as_py(), known.sizes[place].as_py())
            except FileNotFoundError:  # its files were copied into another pack meanwhile
                before, known = known, self._current()
                if known.packs == before.packs:  # or a network file system shows what was
                    break
        return None

    def all(self) -> list[Packed]:
        """Every file in every pack, the copies of one behind each other; the last of them counts."""
        files = [
            Packed(pack=pack, **row)
            for pack in _packs_in(_listing(self._path))
            for row in (_read(f"{self._path}/{pack}{INDEX}") or SCHEMA.empty_table()).to_pylist()
        ]
        return sorted(files, key=lambda file: (file.name, file.rows, file.modified, file.pack))

    def _current(self) -> _Known:
        # A folder is listed at a tenth of the cost of opening a file, and says more than its time does: two changes
        # within a tick of the clock leave one time.
        listing = _listing(self._path)
        if listing == self._known.listing:
            return self._known
        with self._lock:
            # Again until a listing confirms what was read: one that is made while a pack takes another's place may
            # have neither.
            while (packs := _packs_in(listing)) != self._known.packs:
                self._known = _merged({pack: _read(f"{self._path}/{pack}{INDEX}") for pack in packs})
                listing = _listing(self._path)
                pa.default_memory_pool().release_unused()  # sorting takes several times what is kept
            self._known = self._known._replace(listing=listing)  # files that are being written come and go
            return self._known


@functools.lru_cache(maxsize=256)
def packs_of(folder: Path) -> Packs:
    """Give the packs of a folder, whose indices are read once a process."""
    return Packs(folder)


def new_name(copied_from: Iterable[str] = ()) -> str:
    """Name a pack, greater than those that it is copied from."""
    generation = max((int(name.partition("-")[0]) + 1 for name in copied_from), default=0)
    return f"{generation:06d}-{uuid.uuid4().hex}"


def _listing(folder: str) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208  # asked for every file that is not loose, and a tenth of pathlib's time
    except FileNotFoundError:
        return []


def _packs_in(listing: Iterable[str]) -> list[str]:
    """Names of the packs, sorted, that have both their files in the listing of a folder."""
    files = set(listing)
    names = (file.removesuffix(INDEX) for file in files if file.endswith(INDEX))
    return sorted(name for name in names if f"{name}{PACK}" in files)


def _merged(tables: dict[str, pa.Table | None]) -> _Known:
    empty = SCHEMA.empty_table().append_column("pack", pa.array([], pa.int32()))
    numbered = [
        table.append_column("pack", pa.repeat(pa.scalar(number, pa.int32()), len(table)))
        for number, table in enumerate(tables.values())
        if table is not None
    ]
    every = pa.concat_tables([empty, *numbered])
    every = every.sort_by([(name, "ascending") for name in ("name", "rows", "modified", "pack")]).combine_chunks()
    names = every["name"].combine_chunks()
    last = np.ones(len(names), np.bool_)
    if len(names) > 1:
        last[:-1] = pc.not_equal(names[:-1], names[1:]).to_numpy(zero_copy_only=False)
    kept = every.filter(pa.array(last))
    columns = (kept[name].combine_chunks() for name in ("name", "pack", "offset", "size"))
    return _Known([], list(tables), *columns)


def _read(path: str) -> pa.Table | None:
    """The table of an index; None where it went, or was cut off by a power loss."""
    try:
        with pa.OSFile(path) as file:
            return pa.ipc.open_file(file).read_all()
    except (FileNotFoundError, pa.ArrowInvalid):
        return None


def _place(names: pa.StringArray, name: str) -> int | None:
    place = bisect_left(range(len(names)), name, key=lambda number: names[number].as_py())
    return place if place < len(names) and names[place].as_py() == name else None


def _opened(path: str, offset: int, size: int) -> pa.NativeFile:
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    if size > _WHOLE_BYTES:
        part = RangeFile(
            lambda start, end: os.pread(file, end - start, offset + start), size, functools.partial(os.close, file)
        )
        return pa.PythonFile(part, mode="r")  # which closes it
    try:
        return pa.BufferReader(os.pread(file, size, offset))
    finally:
        os.close(file)
