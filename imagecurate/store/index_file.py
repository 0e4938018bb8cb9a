"""The index of a shard as a file of the store."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import Self

import pyarrow as pa

from imagecurate.remote import RemotePath
from imagecurate.store.writing import StorePath, write_atomically

__all__ = ["IndexFile"]

#: LZ4 makes a file as small as parquet's Snappy does, and writing it takes no longer than without.
_COMPRESSED = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)
#: A file up to here is read at once: with small shards the calls are what costs, not the bytes.
_SMALL = 64 << 10
#: Key of the schema's metadata that tells how many rows there are, and which columns hold nothing but nulls: those, as
#: the errors of nearly all shards, are never read.
_NULLS = b"imagecurate.nulls"


class IndexFile:
    """Reads columns as they are asked for, so that a filter on a score reads no captions."""

    def __init__(self, schema: pa.Schema, read: Callable[[str], pa.ChunkedArray]) -> None:
        self.schema = schema
        self._read = read

    @classmethod
    def open(cls, path: StorePath) -> Self:
        """Open a file of the store.

        Raises
        ------
        FileNotFoundError
            There is none.
        pyarrow.ArrowInvalid
            It was cut off.
        """
        return cls.of(_opened(path))

    @classmethod
    def of(cls, file: pa.NativeFile) -> Self:
        """Read from a file that is open, as one in a pack."""
        schema = pa.ipc.open_file(file).schema
        metadata = dict(schema.metadata or {})
        nulls = json.loads(metadata.pop(_NULLS, b"{}"))
        return cls(schema.with_metadata(metadata or None), partial(_column_of, file, schema, nulls))

    @classmethod
    def write(cls, path: StorePath, table: pa.Table) -> Self:
        """Write the index of a shard, atomically; what is read of it then comes from the table."""
        # In one call: Arrow's own files make one for each of the many small buffers of a table.
        sink = pa.BufferOutputStream()
        nulls = {name: len(table) for name in table.schema.names if table[name].null_count == len(table)}
        metadata = (table.schema.metadata or {}) | {_NULLS: json.dumps(nulls).encode()}
        with pa.ipc.new_file(sink, table.schema.with_metadata(metadata), options=_COMPRESSED) as writer:
            writer.write_table(table)
        data = sink.getvalue()
        write_atomically(path, lambda temporary: temporary.write_bytes(data))
        return cls(table.schema, table.column)

    def column(self, name: str) -> pa.Array:
        """Read a column."""
        column = self._read(name)
        return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _opened(path: StorePath) -> pa.NativeFile:
    if isinstance(path, RemotePath):
        return pa.BufferReader(path.read_bytes())
    name = str(path)
    if os.stat(name).st_size > _SMALL:  # noqa: PTH116  # a fifth of the time of asking a Path
        return pa.OSFile(name)
    with open(name, "rb", buffering=0) as file:  # noqa: PTH123
        return pa.BufferReader(file.read())


def _column_of(file: pa.NativeFile, schema: pa.Schema, nulls: Mapping[str, int], name: str) -> pa.ChunkedArray:
    if name in nulls:
        return pa.chunked_array([pa.nulls(nulls[name], schema.field(name).type)])
    options = pa.ipc.IpcReadOptions(included_fields=[schema.get_field_index(name)], use_threads=False)
    return pa.ipc.open_file(file, options=options).read_all().column(0)
