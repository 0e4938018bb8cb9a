"""The columns of exported samples, and the parquet files that hold them."""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from imagecurate.columns import KEY
from imagecurate.export.sample_rows import SampleRows, read_samples
from imagecurate.plan.threads import cores

if TYPE_CHECKING:
    from imagecurate.export.survivors import SurvivingRows
    from imagecurate.shards.shard import Shard

__all__ = ["RowCache", "exported_schema", "exported_table", "free_name", "write_parquet"]

#: Rows a row group; fixed, because the bytes of a file depend on it.
ROW_GROUP = 10_000


class RowCache:
    """Rows of input shards, read once for all output shards that they go to.

    Output shards are written in order, several at a time, so what was read last is what is wanted next: rows of one
    input shard more are held than there are threads.  Sent to another process, it arrives empty.

    Parameters
    ----------
    rows : SurvivingRows
        Where rows come from.
    columns : sequence of str
        Which of their columns.
    threads : int, optional
        Those of this process that write; there, and where it arrives, one for each processor by default.
    """

    def __init__(self, rows: SurvivingRows, columns: Sequence[str], threads: int | None = None) -> None:
        self._rows = rows
        self._threads = threads
        self._columns = tuple(columns)
        self._held: OrderedDict[Shard, Future[SampleRows]] = OrderedDict()
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type[RowCache], tuple[SurvivingRows, Sequence[str]]]:
        return RowCache, (self._rows, self._columns)

    def read(self, shard: Shard) -> SampleRows:
        """Kept samples of an input shard; who comes while another thread reads them waits for it."""
        with self._lock:
            future = self._held.get(shard)
            missing = future is None
            if future is None:
                future = self._held[shard] = Future()
                while len(self._held) > (self._threads or cores()) + 1:
                    self._held.popitem(last=False)
        if missing:
            try:
                future.set_result(read_samples(self._rows, shard, self._columns))
            except BaseException as error:
                future.set_exception(error)
                raise
        return future.result()


def free_name(wanted: str, columns: Mapping[str, Any]) -> str:
    """A column name that is not taken yet.

    >>> free_name("original_key", {"key": None}), free_name("original_key", {"original_key": None})
    ('original_key', 'original_key_2')
    """
    name, number = wanted, 2
    while name in columns:
        name, number = f"{wanted}_{number}", number + 1
    return name


def exported_schema(columns: Mapping[str, pa.DataType], old_key: str | None) -> pa.Schema:
    """Columns of the parquet beside each tar: those of the dataset and, behind the key, what it was before."""
    fields = []
    for name, kind in columns.items():
        fields.append(pa.field(name, kind))
        if name == KEY and old_key is not None:
            fields.append(pa.field(old_key, pa.string()))
    return pa.schema(fields)


def exported_table(
    rows: pa.Table, keys: Sequence[str] | None, schema: pa.Schema, old_key: str | None, id_col: str | None
) -> pa.Table:
    """Bring rows into their exported form.

    Parameters
    ----------
    rows : pyarrow.Table
        With the columns of the dataset.
    keys : sequence of str or None
        The exported key of each row's sample; None where all stay.
    schema : pyarrow.Schema
        Of the result.
    old_key : str or None
        Column for the keys they had.
    id_col : str or None
        Column that repeats the key, and so has to follow it.
    """
    old = pc.cast(rows[KEY], pa.string())
    new = old if keys is None else pa.chunked_array([pa.array(keys, pa.string())])
    columns = []
    for field in schema:
        if field.name == KEY:
            column = new
        elif field.name == old_key:
            column = old
        elif field.name == id_col and keys is not None:
            column = _following(rows[field.name], old, new)
        else:
            column = rows[field.name]
        columns.append(column.cast(field.type))
    return pa.table(columns, schema=schema)


def _following(column: pa.ChunkedArray, old: pa.ChunkedArray, new: pa.ChunkedArray) -> pa.ChunkedArray:
    """Replace the old key by the new one in the rows that repeat it; the others hold something else, and keep it."""
    if pa.types.is_integer(column.type):
        before, after = _integers(old, column.type), _integers(new, column.type)
        repeats = pc.and_(pc.and_(pc.equal(column, before), pc.not_equal(old, new)), pc.is_valid(after))
        return pc.if_else(pc.fill_null(repeats, False), after, column)
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return pc.if_else(pc.fill_null(pc.equal(column, old), False), new, column)
    return column


def _integers(keys: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    """The numbers that keys spell; null for what is no number of that type."""
    most = np.iinfo(kind.to_pandas_dtype()).max
    spelled = [re.fullmatch(r"0*([0-9]{1,20})", key) for key in keys.to_pylist()]
    numbers = [None if match is None else int(match[1]) for match in spelled]
    return pa.chunked_array([pa.array([None if each is None or each > most else each for each in numbers], kind)])


def write_parquet(table: pa.Table, file: Any, metadata: Mapping[str, str] | None = None) -> None:
    """Write a table to a file: the same bytes for the same rows, and no pandas metadata, which list columns break.

    Parameters
    ----------
    table : pyarrow.Table
    file : file
        Open for writing.
    metadata : mapping of str to str, optional
        Kept in the file's schema.
    """
    # A dictionary of the numbers in an embedding is built only to be given up.
    worthwhile = [field.name for field in table.schema if not pa.types.is_nested(field.type)]
    pq.write_table(
        table.replace_schema_metadata(dict(metadata) if metadata else None),
        file,
        row_group_size=ROW_GROUP,
        use_dictionary=worthwhile or False,
        compression="zstd",
    )
