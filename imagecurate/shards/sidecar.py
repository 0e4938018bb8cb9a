"""The parquet beside a tar, joined to its samples by key."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from imagecurate.remote import StorageOptions, read_end, read_whole
from imagecurate.shards.types import converted, plain_type

__all__ = ["IMAGE_FIELD", "id_texts", "join", "read_columns", "read_footer", "with_caption"]

#: Column that says which image of a sample a row means: the field of its member, as ``0.jpg``.
IMAGE_FIELD = "image_field"

#: A column that is made of several captions.
_MERGED = "\0caption"

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
        table = file.read([name for name in columns if names.count(name) == 1], use_threads=False)
        for number, field in enumerate(table.schema):
            if plain_type(field.type) != field.type:  # views among them, which Arrow can hardly compute with
                table = table.set_column(number, field.name, converted(table[number], plain_type(field.type))[0])
    except _DAMAGE:
        return None
    return table


def with_caption(table: pa.Table, names: Iterable[str]) -> tuple[pa.Table, str | None]:
    """Find the column that is the caption: of several names the first, and where that is null the next.

    Returns
    -------
    table : pyarrow.Table
        With a column more where several names make one.
    name : str or None
        That of the caption's column; None where there is none.
    """
    there = [name for name in names if name in table.column_names]
    if len(there) < 2:
        return table, next(iter(there), None)
    texts = [converted(table[name], pa.string())[0] for name in there]
    return table.append_column(_MERGED, pc.coalesce(*texts)), _MERGED


def join(
    table: pa.Table,
    id_col: str,
    keys: pa.Array,
    columns: Mapping[str, tuple[str, pa.DataType]],
    fields: pa.Array | None = None,
    *,
    by_field: bool = False,
) -> tuple[dict[str, pa.Array], dict[str, int]]:
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
    fields : pyarrow.Array of string, optional
        The field of each row's image, for a table whose column ``image_field`` says which image of a sample it means:
        of rows with the same id the one with this field goes first.
    by_field : bool, default=False
        A row of another field is no match at all.

    Returns
    -------
    columns : dict of str to pyarrow.Array
        Those that the table has, as long as ``keys``; null where there is no match or the value does not fit.
    counts : dict of str to int
        What did not match.
    """
    comparable, ids = _comparable(keys, table[id_col])
    repeated = len(ids) - ids.null_count - pc.count_distinct(ids).as_py()
    # As a rule there is one row for each sample, in the same order.
    rows_are_samples = fields is None and not repeated and not ids.null_count and ids.equals(comparable)
    rows = None if rows_are_samples else pc.index_in(comparable, value_set=ids, skip_nulls=True)
    if fields is not None:
        of_field = _joined(ids, id_texts(table[IMAGE_FIELD])[0])
        exact = pc.index_in(_joined(comparable, fields), value_set=of_field, skip_nulls=True)
        if by_field:
            comparable, ids, rows = _joined(comparable, fields), of_field, exact
        else:
            rows = pc.coalesce(exact, rows)
        repeated = len(ids) - ids.null_count - pc.count_distinct(ids).as_py()
    counts = {
        "parquet_rows": len(ids),
        "parquet_rows_without_sample": 0,
        "parquet_ids_repeated": repeated,
        "samples_without_parquet_row": 0,
        "parquet_values_misfit": 0,
    }
    if rows is not None:
        counts["parquet_rows_without_sample"] = pc.is_in(ids, value_set=comparable, skip_nulls=True).false_count
        counts["samples_without_parquet_row"] = rows.null_count - comparable.null_count
    found = {}
    for column, (name, kind) in columns.items():
        if name not in table.column_names:
            continue
        values = _one_array(table[name])
        found[column], misfits = converted(values if rows is None else values.take(rows), kind)
        counts["parquet_values_misfit"] += misfits
    return found, counts


def _one_array(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _joined(ids: pa.Array, fields: pa.Array) -> pa.Array:
    """Ids of two parts, which no other two parts make; null where one of them is."""
    return pc.binary_join_element_wise(ids, fields, "\0")


def id_texts(ids: pa.Array | pa.ChunkedArray) -> tuple[pa.Array, bool]:
    """Give ids as text, and whether they are integers: then ``"000000042"`` says the same as ``"42"``."""
    ids, _ = converted(ids, plain_type(ids.type))
    ids = _one_array(ids) if isinstance(ids, pa.ChunkedArray) else ids
    if pa.types.is_floating(ids.type):  # integers that pandas once saw a null among
        ids, _ = converted(ids, pa.int64())
    # As text, since no integer of Arrow's holds every id.
    return converted(ids, pa.string())[0], pa.types.is_integer(ids.type)


def _comparable(keys: pa.Array, ids: pa.ChunkedArray) -> tuple[pa.Array, pa.Array]:
    """Give keys and ids as texts that compare; a key that is no number stays one."""
    texts, are_integers = id_texts(ids)
    if are_integers:
        keys = pc.replace_substring_regex(keys, "^(-?)0+([0-9]+)$", r"\1\2")
    return keys, texts
