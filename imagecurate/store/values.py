"""The columns of one stage for one shard: read from the store as they are asked for, new rows beside them."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from imagecurate.store.files import ERROR, PART_ROWS, POSITION, StageFiles, StoredShard, all_null

__all__ = ["BlockValues", "StageValues"]


class StageValues:
    """What one stage has computed for the rows of one shard.

    Columns of the finished file are read when they are first asked for, so that a filter on a score opens no
    embeddings.  Rows that are not in it, from parts or just computed, are held in memory.

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
        self.schema = pa.schema([pa.field(POSITION, pa.int64()), *schema])
        self._files = files
        self._shard = shard
        self._count = count
        self._lock = threading.Lock()
        self._finished, parts = files.open(shard, count)
        self._columns: dict[str, pa.Array] = {}  # of the finished file
        self._loose: list[pa.Table] = []
        self._loose_columns: dict[str, pa.Array] = {}
        #: Place of each position's row: in the finished file, behind that in the loose tables; -1 where not computed.
        self._row = np.full(count, -1, dtype=np.int64)
        if self._finished is not None:
            positions = _positions(self._finished, count)
            self._row[positions] = np.arange(len(positions))
        self._stored = 0 if self._finished is None else self._finished.metadata.num_rows
        self._without_errors = self._finished is None or all_null(self._finished, ERROR)
        self._unsaved: list[pa.Table] = []
        for part in parts:
            self.add(part, saved=True)
        self.has_parts = bool(parts)
        self.has_fresh = False

    def known(self, positions: NDArray[np.int64]) -> NDArray[np.bool_]:
        """True for each position whose row is computed."""
        return self._row[positions] >= 0

    def column(self, name: str, positions: NDArray[np.int64]) -> pa.Array:
        """Values of a column at some positions; null where not computed."""
        rows = self._row[positions]
        if not self._loose:
            values = self._finished_column(name)
        elif len(rows) and rows.min() >= self._stored:
            values, rows = self._loose_column(name), rows - self._stored
        else:
            values = pa.concat_arrays([self._finished_column(name), self._loose_column(name)])
        return _taken(values, rows)

    def read(self, names: Sequence[str]) -> None:
        """Read columns that are about to be asked for, in one go."""
        with self._lock:
            missing = [name for name in names if name not in self._columns]
            if self._finished is None or not missing:
                return
            table = self._finished.read(columns=missing, use_threads=False)
            for name in missing:
                values, kind = _one_array(table[name]), self.schema.field(name).type
                self._columns[name] = values if values.type == kind else values.cast(kind)

    def failures(self, positions: NDArray[np.int64]) -> tuple[NDArray[np.bool_], list[str]]:
        """Which of some positions the stage failed, and for each of those the reason."""
        if self._without_errors and not self._loose:
            return np.zeros(len(positions), np.bool_), []
        return _split_errors(self.column(ERROR, positions))

    def add(self, rows: pa.Table, *, saved: bool = False) -> None:
        """Add rows that were just computed, with their positions; ``saved`` if a part of the store has them."""
        start = self._stored + sum(len(table) for table in self._loose)
        self._row[rows[POSITION].to_numpy()] = np.arange(start, start + len(rows))
        self._loose.append(rows.select(self.schema.names).cast(self.schema))
        self._loose_columns.clear()
        self.has_fresh = True
        if not saved:
            self._unsaved.append(rows)

    def save(self) -> None:
        """Put the rows that no part has yet into parts."""
        for rows in self._unsaved:
            self.write_parts(rows)
        self._unsaved.clear()

    def write_parts(self, rows: pa.Table) -> None:
        """Write rows to the parts that their positions belong to."""
        numbers = rows[POSITION].to_numpy() // PART_ROWS
        for number in np.unique(numbers):
            self._files.write_part(self._shard, int(number), rows.filter(pa.array(numbers == number)))

    def finish(self) -> None:
        """Bring everything known, here and by now in the store, into one file."""
        self._files.finish(self._shard, self._loose, self._count)
        self._unsaved.clear()
        self.has_parts = self.has_fresh = False

    def _finished_column(self, name: str) -> pa.Array:
        if self._finished is None:
            return pa.array([], self.schema.field(name).type)
        self.read([name])
        return self._columns[name]

    def _loose_column(self, name: str) -> pa.Array:
        with self._lock:
            if name not in self._loose_columns:
                self._loose_columns[name] = pa.concat_arrays([_one_array(table[name]) for table in self._loose])
            return self._loose_columns[name]


class BlockValues:
    """The same values for one block of rows, to add to without regard to other blocks.

    Parameters
    ----------
    shared : StageValues
        What was known when the block began; not changed meanwhile.
    positions : array of int, sorted
        The rows of the block.
    """

    def __init__(self, shared: StageValues, positions: NDArray[np.int64]) -> None:
        self._shared = shared
        self._positions = positions
        self._row = np.full(len(positions), -1, dtype=np.int64)
        self.fresh = shared.schema.empty_table()

    def known(self, positions: NDArray[np.int64]) -> NDArray[np.bool_]:
        """True for each position whose row is computed."""
        return self._shared.known(positions) | (self._fresh_rows(positions) >= 0)

    def column(self, name: str, positions: NDArray[np.int64]) -> pa.Array:
        """Values of a column at some positions; null where not computed."""
        rows = self._fresh_rows(positions)
        here = rows >= 0
        if here.all():
            return _taken(_one_array(self.fresh[name]), rows)
        if not here.any():
            return self._shared.column(name, positions)
        mixed = [_one_array(self.fresh[name]), self._shared.column(name, positions[~here])]
        rows[~here] = len(self.fresh) + np.arange(np.count_nonzero(~here))
        return pa.concat_arrays(mixed).take(pa.array(rows))

    def failures(self, positions: NDArray[np.int64]) -> tuple[NDArray[np.bool_], list[str]]:
        """Which of some positions the stage failed, and for each of those the reason."""
        return _split_errors(self.column(ERROR, positions))

    def add(self, rows: pa.Table) -> None:
        """Add rows that were just computed, with their positions."""
        places = np.searchsorted(self._positions, rows[POSITION].to_numpy())
        self._row[places] = np.arange(len(self.fresh), len(self.fresh) + len(rows))
        self.fresh = pa.concat_tables([self.fresh, rows.select(self.fresh.schema.names).cast(self.fresh.schema)])

    def save(self) -> None:
        """Put the rows that were added into the store."""
        if len(self.fresh):
            self._shared.write_parts(self.fresh)

    def _fresh_rows(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        rows: NDArray[np.int64] = self._row[np.searchsorted(self._positions, positions)]
        return rows


def _taken(values: pa.Array, rows: NDArray[np.int64]) -> pa.Array:
    if len(rows) == len(values) and np.array_equal(rows, np.arange(len(rows))):
        return values
    missing = rows < 0
    return values.take(pa.array(rows, mask=missing) if missing.any() else pa.array(rows))


def _split_errors(errors: pa.Array) -> tuple[NDArray[np.bool_], list[str]]:
    return errors.is_valid().to_numpy(zero_copy_only=False), errors.drop_null().to_pylist()


def _one_array(column: pa.ChunkedArray) -> pa.Array:
    return pa.concat_arrays(column.chunks) if column.chunks else pa.array([], column.type)


def _positions(file: pq.ParquetFile, count: int) -> NDArray[np.int64]:
    if file.metadata.num_rows == count:  # sorted and unique, so these are all of them
        return np.arange(count)
    positions: NDArray[np.int64] = file.read(columns=[POSITION])[POSITION].to_numpy()
    return positions
