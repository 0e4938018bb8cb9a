"""The rows of a remote shard as far as the parquet beside it tells them, before the tar was ever read."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from imagecurate.columns import CAPTION, KEY
from imagecurate.remote import StorageOptions
from imagecurate.shards.schema import InputSchema
from imagecurate.shards.shard import Shard
from imagecurate.shards.sidecar import IMAGE_FIELD, id_texts, read_columns, with_caption
from imagecurate.shards.types import converted

__all__ = ["provisional_index"]

_STATUS = "status"
_SUCCESS = "success"
#: What img2dataset writes of a download (downloader.py); a ``status`` that says anything else is somebody's column.
_STATUSES = pa.array([_SUCCESS, "failed_to_download", "failed_to_resize"])


def provisional_index(shard: Shard, schema: InputSchema, *, storage_options: StorageOptions = None) -> pa.Table | None:
    """Give the index of a shard without reading its tar.

    Which samples the tar really has, in which order, under which spelling of an integer id, and what their texts and
    JSON say, only the tar tells: counts and columns made of this table are as good as the parquet.

    Parameters
    ----------
    shard : Shard
    schema : InputSchema
    storage_options : mapping, optional
        For fsspec.

    Returns
    -------
    pyarrow.Table or None
        A row for each row of the parquet that stands for a sample: one with an id, the first of those with the same
        id, and where img2dataset wrote down how downloads went, one that was a success.  ``key``, ``_error`` (null)
        and ``schema.fields``, null where only the tar can tell.  None where there is no parquet that can be read, or
        where rows are images and the parquet does not name them.

    Raises
    ------
    OSError
        The parquet cannot be had at all.
    """
    if shard.parquet_url is None or schema.metadata not in ("auto", "parquet"):
        return None
    names = {schema.id_col, IMAGE_FIELD, _STATUS, *schema.parquet_captions, *schema.names.values()}
    table = read_columns(shard.parquet_url, names, storage_options)
    if table is None or schema.id_col not in table.column_names:
        return None
    if schema.images == "all" and IMAGE_FIELD not in table.column_names:
        return None
    ids, _ = id_texts(table[schema.id_col])
    rows = _rows_of_samples(table, ids, by_field=schema.images == "all")
    table, ids = table.take(rows), ids.take(rows)
    columns: dict[str, Any] = {KEY: ids, "_error": pa.nulls(len(table), pa.string())}
    wanted = schema.wanted()
    table, caption = with_caption(table, schema.parquet_captions)
    if caption is not None:
        wanted[CAPTION] = (caption, pa.string())
    if schema.images == "all":
        wanted[IMAGE_FIELD] = (IMAGE_FIELD, pa.string())
    for column, kind in schema.fields.items():
        name, _ = wanted.get(column, (None, kind))
        is_there = name in table.column_names
        columns[column] = converted(table[name], kind)[0] if is_there else pa.nulls(len(table), kind)
    return pa.table(columns)


def _rows_of_samples(table: pa.Table, ids: pa.Array, *, by_field: bool) -> pa.Array:
    """Numbers of the rows that stand for a sample, or an image, each."""
    known = pa.table({"id": ids, "row": pa.array(range(len(ids)), pa.int64())})
    stands = ids.is_valid()
    if by_field:
        known = known.append_column("field", id_texts(table[IMAGE_FIELD])[0])
        stands = pc.and_(stands, known["field"].is_valid())
    if _STATUS in table.column_names:
        status = converted(table[_STATUS], pa.string())[0]
        if pc.all(pc.is_in(status.drop_null(), value_set=_STATUSES)).as_py():
            stands = pc.and_(stands, pc.equal(status, _SUCCESS))
    parts = [name for name in known.column_names if name != "row"]
    return known.filter(stands).group_by(parts).aggregate([("row", "min")])["row_min"].sort()
