"""The columns of one stage for one shard: read from the store as they are asked for, new rows beside them."""

from __future__ import annotations

import copy
import threading

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from imagecurate.store.files import ERROR, PART_ROWS, POSITION, StageFiles, StoredShard, merge

__all__ = ["StageValues"]


class StageValues:
    """What one stage has computed for the rows of one shard.

    Columns are read from the store when they are first asked for, so that a filter on a score opens no embeddings.

    Parameters
    ----------
    files : StageFiles
        Where the stage's columns lie.
    shard : Shard
    count : int
        Rows of the shard.
    schema : pyarrow.Schema
        The stage's columns and ``_error``, without the position.
    """

    def __init__(self, files: StageFiles, shard: StoredShard, count: int, schema: pa.Schema) -> None:
        self._files = files
        self._shard = shard
        self._count = count
        self._stored = _StoredColumns(files, shard, count, schema)
        self._fresh = _with_position(schema).empty_table()
        self._base = 0
        self._tidy = self._stored.tidy
        #: Row of each position, first in the stored rows, then in the fresh ones; -1 where not computed.
        self._row = self._stored.row.copy()

    def branch(self) -> StageValues:
        """The same values for one block of rows, to add to without regard to other blocks."""
        twin = copy.copy(self)
        twin._row = self._row.copy()
        twin._base = len(self._fresh)
        return twin

    @property
    def fresh(self) -> pa.Table:
        """Rows added since the store was read (or the branch was made), with their positions."""
        return self._fresh.slice(self._base)

    def known(self, positions: NDArray[np.int64]) -> NDArray[np.bool_]:
        """True for each position whose row is computed."""
        return self._row[positions] >= 0

    def column(self, name: str, positions: NDArray[np.int64]) -> pa.Array:
        """Values of a column at some positions; null where not computed."""
        rows = self._row[positions]
        if len(rows) and rows.min() >= self._stored.count:
            values, rows = _one_array(self._fresh[name]), rows - self._stored.count
        elif len(self._fresh):
            values = pa.concat_arrays([self._stored.column(name), _one_array(self._fresh[name])])
        else:
            values = self._stored.column(name)
        if len(rows) == len(values) and np.array_equal(rows, np.arange(len(rows))):
            return values
        missing = rows < 0
        return values.take(pa.array(rows, mask=missing) if missing.any() else pa.array(rows))

    def failures(self, positions: NDArray[np.int64]) -> tuple[NDArray[np.bool_], list[str]]:
        """Which of some positions the stage failed, and for each of those the reason."""
        if self._stored.without_errors and not len(self._fresh):
            return np.zeros(len(positions), np.bool_), []
        errors = self.column(ERROR, positions)
        return errors.is_valid().to_numpy(zero_copy_only=False), errors.drop_null().to_pylist()

    def add(self, rows: pa.Table) -> None:
        """Add rows that were just computed, with their positions."""
        start = self._stored.count + len(self._fresh)
        self._row[rows[POSITION].to_numpy()] = np.arange(start, start + len(rows))
        self._fresh = pa.concat_tables([self._fresh, rows.select(self._fresh.schema.names).cast(self._fresh.schema)])
        self._tidy = False

    def write_parts(self) -> None:
        """Write the fresh rows to the parts that their positions belong to."""
        rows = self.fresh
        numbers = rows[POSITION].to_numpy() // PART_ROWS
        for number in np.unique(numbers):
            self._files.write_part(self._shard, int(number), rows.filter(pa.array(numbers == number)))

    def finish(self) -> None:
        """Bring everything known into one file, if it is not so already."""
        if not self._tidy:
            self._files.finish(self._shard, merge([*self._stored.tables(), self._fresh]), self._count)
            self._tidy = True

    @property
    def tidy(self) -> bool:
        """True if everything known is in the store, in one file."""
        return self._tidy


class _StoredColumns:
    """Columns in the files of one stage and shard, read when asked for and then kept."""

    def __init__(self, files: StageFiles, shard: StoredShard, count: int, schema: pa.Schema) -> None:
        self._files, self.tidy = files.open(shard, count)
        self._schema = schema
        self._table_schema = _with_position(schema)
        self._columns: dict[str, pa.Array] = {}
        self._lock = threading.Lock()
        self.row = np.full(count, -1, dtype=np.int64)
        self.count = 0
        for file in self._files:
            positions = _positions(file, count)
            self.row[positions] = np.arange(self.count, self.count + len(positions))
            self.count += len(positions)
        self.without_errors = all(_all_null(file, ERROR) for file in self._files)

    def column(self, name: str) -> pa.Array:
        """All stored rows of a column, in the order of the files."""
        with self._lock:
            if name not in self._columns:
                chunks = [chunk for file in self._files for chunk in file.read(columns=[name])[name].chunks]
                kind = self._schema.field(name).type
                self._columns[name] = pa.concat_arrays([c.cast(kind) for c in chunks]) if chunks else pa.array([], kind)
            return self._columns[name]

    def tables(self) -> list[pa.Table]:
        """All stored rows with all columns."""
        return [file.read().select(self._table_schema.names).cast(self._table_schema) for file in self._files]


def _with_position(schema: pa.Schema) -> pa.Schema:
    return pa.schema([pa.field(POSITION, pa.int64()), *schema])


def _one_array(column: pa.ChunkedArray) -> pa.Array:
    return pa.concat_arrays(column.chunks) if column.chunks else pa.array([], column.type)


def _positions(file: pq.ParquetFile, count: int) -> NDArray[np.int64]:
    if file.metadata.num_rows == count:  # sorted and unique, so these are all of them
        return np.arange(count)
    positions: NDArray[np.int64] = file.read(columns=[POSITION])[POSITION].to_numpy()
    return positions


def _all_null(file: pq.ParquetFile, name: str) -> bool:
    """True if the footer says that a column holds nothing but nulls, which spares reading it."""
    # ``_error`` stands before the stage's columns, so its place in the Arrow schema is its place in the file
    place = file.schema_arrow.get_field_index(name)
    groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
    chunks = [(group.column(place).statistics, group.num_rows) for group in groups]
    return all(statistics is not None and statistics.null_count == rows for statistics, rows in chunks)
