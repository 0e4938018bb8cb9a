"""Writing files of the store: whole, or not at all."""

from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from imagecurate.errors import OutputError
from imagecurate.remote import RemotePath

__all__ = ["PART_ROWS", "StorePath", "write_atomically", "write_table"]

#: A file or folder of the store, on a disk or behind a URL.
StorePath: TypeAlias = Path | RemotePath

#: Rows a part: what a killed run can lose of each shard in work.  Small enough for a model at one image a second,
#: large enough that writing parts costs under 1 % beside the lightest image stage.
PART_ROWS = 64


def write_atomically(path: StorePath, write: Callable[[Path], Any], *, durable: bool = False) -> None:
    """Call ``write`` with a temporary path in the folder of ``path`` and rename the result.

    Behind a URL the result is sent once it is whole, in one request unless it is large.  A reader sees the old file or
    the whole new one.  A file that is not durable may have lost its end after a power loss: it counts as missing and is
    computed again, so that only what is not computed row by row needs to be durable.

    Raises
    ------
    OutputError
        No room, no permission, a disk that fails.
    """
    if isinstance(path, RemotePath):
        with tempfile.TemporaryDirectory(prefix="imagecurate-") as folder:
            written = Path(folder) / "file"
            write(written)
            path.write_bytes(written.read_bytes())
        return
    # With os and not by pathlib, whose calls cost as much as a small file itself: an index is written for every shard.
    folder, name = os.path.dirname(path) or ".", os.path.basename(path)  # noqa: PTH119, PTH120
    temporary = Path(f"{folder}/.{name}.{uuid.uuid4().hex}.tmp")
    try:
        if not os.path.isdir(folder):  # noqa: PTH112
            path.parent.mkdir(parents=True, exist_ok=True)
        write(temporary)
        if durable:
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
        os.replace(temporary, path)  # noqa: PTH105
    except BaseException as error:
        with suppress(OSError):  # a read-only disk says so, and the first error is the one to tell
            temporary.unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        raise OutputError.because(
            f"the store cannot be written at {folder!r}: {error}",
            "make room or get permission there, or name another folder by workdir=; what is finished is not lost",
        ) from error


def write_table(path: StorePath, table: pa.Table, *, durable: bool = False) -> None:
    """Write a table as parquet, atomically and the same bytes for the same rows."""
    vectors = any(pa.types.is_list(field.type) for field in table.schema)
    # Row groups let a block of vectors be read alone; a column of scores reads fastest as one.
    row_group = PART_ROWS if vectors else max(len(table), 1)
    # One chunk, or the pages would follow the history of the rows; no metadata, as pandas would choke on list columns.
    plain = table.combine_chunks().replace_schema_metadata(None)
    # Floats hardly repeat: a dictionary of them takes five times as long to write, and a third more space.
    repeating = [field.name for field in plain.schema if not pa.types.is_floating(field.type)]

    def write(temporary: Path) -> None:
        pq.write_table(plain, temporary, row_group_size=row_group, use_dictionary=repeating)

    write_atomically(path, write, durable=durable)
