"""The parquet beside a tar, joined to its samples by key."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from imagecurate.shards.remote import StorageOptions, read_end, read_whole
from imagecurate.shards.types import converted, plain_type

__all__ = ["join", "read_columns", "read_footer"]

#: Most footers fit into the last 64 KiB: pyarrow reads as much at first.
_FOOTER_BYTES = 64 << 10
_MOST_FOOTER_BYTES = 256 << 20
#: What pyarrow raises for bytes that are no good parquet; a failed read of the file itself raises before it sees them.
_DAMAGE = (pa.ArrowException, OSError, ValueError, MemoryError)


def read_footer(url: str, storage_options: StorageOptions = None) -> pa.Schema | None:
    """Read the names and types of a parquet's columns from its footer alone; None where it is damaged."""
    tail = read_end(url, _FOOTER_BYTES, storage_options)
    footer = int.from_bytes(tail[-8:-4], "little") + 8
    if len(tail) == _FOOTER_BYTES < footer <= _MOST_FOOTER_BYTES:
        tail = read_end(url, footer, storage_options)
    try:
        return pq.read_schema(pa.BufferReader(tail))
    except _DAMAGE:
        return None


def read_columns(url: str, columns: Iterable[str], storage_options: StorageOptions = None) -> pa.Table | None:
    """Read those of some columns that a parquet has; None where it is damaged.

    The file is read whole, in one request, which is what it costs in memory.
    """
    data = read_whole(url, storage_options)
    try:
        file = pq.ParquetFile(pa.BufferReader(data))
        names = file.schema_arrow.names
        return file.read([name for name in columns if names.count(name) == 1], use_threads=False)
    except _DAMAGE:
        return None


def join(
    table: pa.Table, id_col: str, keys: pa.Array, columns: Mapping[str, tuple[str, pa.DataType]]
) -> tuple[dict[str, pa.Array | pa.ChunkedArray], dict[str, int]]:
    """Look up each key in the rows of a parquet.

    Ids are compared with keys as text; integer ids of any width (and floats without fraction) match a key that says
    the same number, so that 42 is ``"000000042"``.  Of rows with the same id the first wins.

    Parameters
    ----------
    table : pyarrow.Table
        With the column ``id_col``.
    keys : pyarrow.Array of string
        Null for a row that can have no match.
    columns : mapping
        For each wanted column its name in the table and the type to give it.

    Returns
    -------
    columns : dict of str to pyarrow.Array
        Those that the table has, as long as ``keys``; null where there is no match or the value does not fit.
    counts : dict of str to int
        What did not match.
    """
    comparable, ids = _comparable(keys, table[id_col])
    rows = pc.index_in(comparable, value_set=ids, skip_nulls=True)
    matched = pc.is_in(ids, value_set=comparable, skip_nulls=True)
    counts = {
        "parquet_rows": len(ids),
        "parquet_rows_without_sample": matched.false_count,
        "parquet_ids_repeated": len(ids) - ids.null_count - len(ids.drop_null().unique()),
        "samples_without_parquet_row": rows.null_count - keys.null_count,
        "parquet_values_misfit": 0,
    }
    found = {}
    for column, (name, kind) in columns.items():
        if name not in table.column_names:
            continue
        found[column], misfits = converted(table[name].take(rows), kind)
        counts["parquet_values_misfit"] += misfits
    return found, counts


def _comparable(keys: pa.Array, ids: pa.ChunkedArray) -> tuple[pa.Array, pa.Array]:
    """Give keys and ids as texts that compare."""
    ids, _ = converted(ids, plain_type(ids.type))
    ids = ids.combine_chunks() if isinstance(ids, pa.ChunkedArray) else ids
    if pa.types.is_floating(ids.type):  # integers that pandas once saw a null among
        ids, _ = converted(ids, pa.int64())
    if pa.types.is_integer(ids.type):
        # As text, since no integer of Arrow's holds every id; a key that is no number stays one.
        keys = pc.replace_substring_regex(keys, "^(-?)0+([0-9]+)$", r"\1\2")
    return keys, converted(ids, pa.string())[0]
