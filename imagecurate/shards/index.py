"""Index a shard: one row a sample, with everything but the pixels."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa

from imagecurate.columns import CAPTION, JSON_EXTRA, KEY
from imagecurate.remote import StorageOptions
from imagecurate.shards.captions import CAPTIONS, Captions
from imagecurate.shards.documents import MOST_TEXT, Documents
from imagecurate.shards.naming import field_of
from imagecurate.shards.rows import Rows, rows_of
from imagecurate.shards.samples import Samples
from imagecurate.shards.schema import InputSchema
from imagecurate.shards.shard import Shard
from imagecurate.shards.sidecar import IMAGE_FIELD, join, read_columns, with_caption
from imagecurate.shards.sources import ByteSource
from imagecurate.shards.tar import TarReader

__all__ = ["COUNTS", "index_shard"]

#: Key of the table's metadata under which the counts are.
COUNTS = b"imagecurate.counts"

_NOTICED = (
    "samples",
    "members_ignored",
    "places_damaged",
    "end_mark_missing",
    "images_further",
    "images_without_extension",
    "captions_not_utf8",
    "caption_differs",
    "captions_several",
    "json_damaged",
    "json_values_misfit",
    "parquet_unreadable",
    "parquet_rows",
    "parquet_rows_without_sample",
    "parquet_ids_repeated",
    "parquet_values_misfit",
    "samples_without_parquet_row",
)


def index_shard(
    source: ByteSource, shard: Shard, schema: InputSchema, *, storage_options: StorageOptions = None
) -> pa.Table:
    """Index one shard in a single pass over its headers, captions and JSON.

    Damage is never an exception: a sample that is not whole has a reason in ``_error``, damage between samples a last
    row without a key.

    Parameters
    ----------
    source : ByteSource
        The bytes of the tar.
    shard : Shard
        Says where the parquet beside it lies.
    schema : InputSchema
        The columns to give.
    storage_options : mapping, optional
        For fsspec.

    Returns
    -------
    pyarrow.Table
        A row for each sample in the order of first members, or for each image of it.  ``key``; ``_error`` (null where
        all is well); ``_image_name``, ``_image_offset``, ``_image_size`` (the image's data); ``_members`` (``name``,
        ``start``, ``offset``, ``size``, ``verbatim`` of each file, see `Member`; of further images only the row's
        own); where rows are images ``_sample`` (position of the first row of the same sample); then
        ``schema.fields``.  The table's metadata has under ``imagecurate.counts`` a JSON object of what was noticed.

    Raises
    ------
    OSError
        The tar or the parquet cannot be read at all, which says nothing about what is in them.
    """
    counts = dict.fromkeys(_NOTICED, 0)
    parquet = _read_parquet(shard, schema, counts, storage_options)
    documents = _documents(schema, parquet)
    captions = Captions()
    texts: dict[str, Captions | Documents] = {"txt": captions} | ({} if documents is None else {"json": documents})

    reader = TarReader(source)
    samples = Samples(reader, source.size)
    for sample, field, extension, offset, size in samples.collect(texts.keys()):
        texts[extension].add(sample, reader.read(offset, min(size, MOST_TEXT)), preferred=field == extension)
    counts["samples"] = len(samples)
    damage = source.damage or reader.damage  # where unpacking ended too early, so does the tar
    if damage:
        more = f"; damaged in {reader.damaged_places - 1} more places" if reader.damaged_places > 1 else ""
        samples.add_damage(damage + more)

    rows = rows_of(samples, each_image=schema.images == "all")
    found: dict[str, Any] = {}
    others = []  # what parquet and JSON say for captions
    if parquet is not None:
        found = _join(parquet, schema, samples, rows, counts)
        others += [found.pop(CAPTION)] if CAPTION in found else []
    if documents is not None:
        in_json, extra = documents.columns(len(samples))
        in_json = {column: rows.spread(values) for column, values in in_json.items()}
        others += [in_json.pop(CAPTION)] if CAPTION in in_json else []
        found = {JSON_EXTRA: rows.spread(extra)} | in_json | found
        captions.add_further(documents.further_captions())
        counts |= {"json_damaged": documents.damaged, "json_values_misfit": documents.misfits}
    found[CAPTION], found[CAPTIONS] = captions.columns(rows.sample, others)
    if IMAGE_FIELD in schema.fields and schema.images == "all":
        found[IMAGE_FIELD] = _image_fields(rows)
    counts |= {
        "members_ignored": samples.ignored,
        "places_damaged": reader.damaged_places or int(bool(damage)),
        "end_mark_missing": int(reader.end_mark_missing),
        "images_further": rows.further,
        "images_without_extension": rows.shown,
        "captions_not_utf8": captions.not_utf8,
        "caption_differs": captions.differing,
        "captions_several": _samples_with(found[CAPTIONS], rows),
    }
    columns = dict(rows.columns)
    for column, kind in schema.fields.items():
        columns[column] = found[column] if column in found else pa.nulls(len(rows.sample), kind)
    return pa.table(columns, metadata={COUNTS: json.dumps(counts)})


def _read_parquet(
    shard: Shard, schema: InputSchema, counts: dict[str, int], storage_options: StorageOptions
) -> pa.Table | None:
    if shard.parquet_url is None or schema.metadata not in ("auto", "parquet"):
        return None
    names = {schema.id_col, IMAGE_FIELD, *schema.parquet_captions, *schema.names.values()}
    table = read_columns(shard.parquet_url, names, storage_options)
    if table is None or schema.id_col not in table.column_names:
        counts["parquet_unreadable"] = 1
        return None
    return table


def _documents(schema: InputSchema, parquet: pa.Table | None) -> Documents | None:
    """What to read from JSON: everything, or what the parquet lacks; None where that is nothing."""
    if not schema.read_json:
        return None
    names: list[str] | None = None
    captions = schema.json_captions
    if parquet is not None:
        names = [name for name in schema.json_only if name not in parquet.column_names]
        captions = tuple(name for name in captions if name in names)
        if not names:
            return None
    expected = {*schema.names.values(), *schema.json_captions, schema.id_col}
    return Documents(schema.wanted(names), captions, expected)


def _join(
    parquet: pa.Table, schema: InputSchema, samples: Samples, rows: Rows, counts: dict[str, int]
) -> dict[str, Any]:
    """Give the columns of a parquet, and the caption by it, in the order of the rows."""
    wanted = schema.wanted()
    parquet, caption = with_caption(parquet, schema.parquet_captions)
    if caption is not None:
        wanted[CAPTION] = (caption, pa.string())
    if IMAGE_FIELD in parquet.column_names:
        by_field = schema.images == "all"
        keys, fields = rows.columns[KEY], _image_fields(rows)
        found, noticed = join(parquet, schema.id_col, keys, wanted, fields, by_field=by_field)
    else:
        found, noticed = join(parquet, schema.id_col, pa.array(samples.keys, pa.string()), wanted)
        found = {column: rows.spread(values) for column, values in found.items()}
    counts |= noticed
    return found


def _samples_with(values: pa.Array, rows: Rows) -> int:
    """In how many samples a value of rows is not null."""
    if values.null_count == len(values):
        return 0
    return len(np.unique(rows.sample[values.is_valid().to_numpy(zero_copy_only=False)]))


def _image_fields(rows: Rows) -> pa.Array:
    names = rows.columns["_image_name"].to_pylist()
    return pa.array([None if name is None else field_of(name) for name in names], pa.string())
