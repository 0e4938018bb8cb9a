"""The index of a shard as a file of the store."""

from __future__ import annotations

from pathlib import Path
from typing import Self

import pyarrow as pa

from imagecurate.store.files import write_atomically

__all__ = ["IndexFile"]

#: LZ4 makes a file as small as parquet's Snappy does, and writing it takes no longer than without.
_COMPRESSED = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)
#: A file up to here is read at once: with small shards the calls are what costs, not the bytes.
_SMALL = 64 << 10


class IndexFile:
    """Reads columns as they are asked for, so that a filter on a score reads no captions."""

    def __init__(self, file: pa.NativeFile) -> None:
        self._file = file
        self.schema: pa.Schema = pa.ipc.open_file(file).schema

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open a file of the store.

        Raises
        ------
        FileNotFoundError
            There is none.
        pyarrow.ArrowInvalid
            It was cut off.
        """
        with path.open("rb", buffering=0) as file:
            data = file.read(_SMALL)
        return cls(pa.BufferReader(data) if len(data) < _SMALL else pa.OSFile(str(path)))

    @classmethod
    def write(cls, path: Path, table: pa.Table) -> Self:
        """Write the index of a shard, atomically."""
        # In one call: Arrow's own files make one for each of the many small buffers of a table.
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, table.schema, options=_COMPRESSED) as writer:
            writer.write_table(table)
        data = sink.getvalue()
        write_atomically(path, lambda temporary: temporary.write_bytes(data))
        return cls(pa.BufferReader(data))

    def column(self, name: str) -> pa.Array:
        """Read a column."""
        place = self.schema.get_field_index(name)
        options = pa.ipc.IpcReadOptions(included_fields=[place], use_threads=False)
        column = pa.ipc.open_file(self._file, options=options).read_all().column(0)
        return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
