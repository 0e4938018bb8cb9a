"""Write the ledger in large files: their number follows from that of samples, not of shards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from imagecurate.export.records import FileRecord, Record, recorded
from imagecurate.plan.execute import in_order
from imagecurate.plan.ledger import LEDGER_SCHEMA

if TYPE_CHECKING:
    from imagecurate.export.folder import Folder
    from imagecurate.export.survivors import Survivors

__all__ = ["write_ledger"]

#: A file takes the samples of further input shards until it has so many rows.
ROWS_PER_FILE = 1_000_000
#: Rows a row group, and about what is held at a time.
ROW_GROUP = 100_000
#: Tables that are held before they become one: each takes 10 kB, however few rows it has.
TABLES_HELD = 256


def write_ledger(survivors: Survivors, folder: Folder, digest: str, threads: int) -> list[FileRecord]:
    """Write ``ledger/00000.parquet``, …: a row for every input sample, in the order of the input.

    Files that an earlier run finished are left as they are.
    """
    written: list[FileRecord] = []
    shards = 0
    while record := recorded(folder, f"ledger-{len(written):05d}"):
        written += record.files
        shards = record.count
    tables = in_order(survivors.rows.ledger, survivors.shards[shards:], threads)
    with closing(tables):
        while shards < len(survivors.shards):
            number = len(written)
            with folder.create(f"ledger/{number:05d}.parquet", digest) as file:
                taken, rows = _fill(file, tables)
                file.commit()
            shards += taken
            record = Record((FileRecord.of(file, rows),), shards)
            record.keep(folder, f"ledger-{number:05d}")
            written += record.files
    return written


def _fill(file: Any, tables: Iterator[pa.Table]) -> tuple[int, int]:
    """Write shards until there are enough rows; the numbers of both."""
    taken = rows = written = 0
    held: list[pa.Table] = []
    with pq.ParquetWriter(file, LEDGER_SCHEMA, compression="zstd") as writer:
        for table in tables:
            held.append(table.select(LEDGER_SCHEMA.names).cast(LEDGER_SCHEMA))
            if len(held) == TABLES_HELD:
                held = [pa.concat_tables(held).combine_chunks()]
            taken += 1
            rows += len(table)
            if rows - written >= ROW_GROUP:
                writer.write_table(pa.concat_tables(held), row_group_size=ROW_GROUP)
                held, written = [], rows
            if rows >= ROWS_PER_FILE:
                break
        if held:
            writer.write_table(pa.concat_tables(held), row_group_size=ROW_GROUP)
    return taken, rows
