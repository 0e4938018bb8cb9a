"""Index a shard: one row a sample, with everything but the pixels."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from imagecurate.columns import CAPTION, JSON_EXTRA, KEY
from imagecurate.shards.documents import MOST_TEXT, Documents
from imagecurate.shards.remote import StorageOptions
from imagecurate.shards.samples import Samples
from imagecurate.shards.schema import InputSchema
from imagecurate.shards.shard import Shard
from imagecurate.shards.sidecar import join, read_columns
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
    "captions_not_utf8",
    "caption_differs",
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
        A row for each sample in the order of first members.  ``key``; ``_error`` (null where all is well);
        ``_image_name``, ``_image_offset``, ``_image_size`` (the image's data); ``_members`` (``name``, ``start``,
        ``offset``, ``size``, ``verbatim`` of each file, see `Member`); then ``schema.fields``.  The table's metadata
        has under ``imagecurate.counts`` a JSON object of what was noticed.

    Raises
    ------
    OSError
        The tar or the parquet cannot be read at all, which says nothing about what is in them.
    """
    counts = dict.fromkeys(_NOTICED, 0)
    parquet = _read_parquet(shard, schema, counts, storage_options)
    from_json: dict[str, tuple[str, pa.DataType]] = {}
    reads_json = schema.read_json and (parquet is None or bool(schema.json_only))
    if reads_json:
        from_json = schema.wanted(None if parquet is None else schema.json_only)
        if parquet is None or CAPTION in schema.json_only:
            from_json[CAPTION] = (CAPTION, pa.string())
    documents = Documents(from_json, expected={*schema.names.values(), CAPTION, schema.id_col})

    reader = TarReader(source)
    samples = Samples(source.size)
    texts: dict[int, str] = {}
    for member in reader:
        entry = samples.add(member)
        if entry is None:
            continue
        row, field, extension, offset, size = entry
        if extension == "txt" and (field == "txt" or row not in texts):
            data = reader.read(offset, min(size, MOST_TEXT))
            texts[row] = text = data.decode("utf-8", "replace").removeprefix("\ufeff")
            counts["captions_not_utf8"] += "\ufffd" in text and text.count("\ufffd") > data.count(b"\xef\xbf\xbd")
        elif extension == "json" and reads_json:
            documents.add(row, reader.read(offset, min(size, MOST_TEXT)), preferred=field == "json")
    counts["samples"] = len(samples)
    if reader.damage:
        more = f"; damaged in {reader.damaged_places - 1} more places" if reader.damaged_places > 1 else ""
        samples.add_damage(reader.damage + more)

    columns = samples.columns()
    count = len(samples)
    found_in_json, extra = documents.columns(count)
    found_in_parquet: dict[str, Any] = {}
    if parquet is not None:
        wanted = schema.wanted() | {CAPTION: (CAPTION, pa.string())}
        found_in_parquet, noticed = join(parquet, schema.id_col, columns[KEY], wanted)
        counts |= noticed
    captions = [pa.array([texts.get(row) for row in range(count)], pa.string())]
    captions += [found.pop(CAPTION) for found in (found_in_parquet, found_in_json) if CAPTION in found]
    columns[CAPTION] = pc.coalesce(*captions)
    for column, kind in schema.fields.items():
        values = [found[column] for found in (found_in_parquet, found_in_json) if column in found]
        if values:
            columns[column] = values[0] if len(values) == 1 else pc.coalesce(*values)
        elif column not in columns:
            columns[column] = extra if column == JSON_EXTRA else pa.nulls(count, kind)

    counts |= {
        "members_ignored": samples.ignored,
        "places_damaged": reader.damaged_places,
        "end_mark_missing": int(reader.end_mark_missing),
        "caption_differs": _count_differing(captions),
        "json_damaged": documents.damaged,
        "json_values_misfit": documents.misfits,
    }
    return pa.table(columns).replace_schema_metadata({COUNTS: json.dumps(counts)})


def _read_parquet(
    shard: Shard, schema: InputSchema, counts: dict[str, int], storage_options: StorageOptions
) -> pa.Table | None:
    if shard.parquet_url is None or schema.metadata not in ("auto", "parquet"):
        return None
    names = {schema.id_col, CAPTION, *schema.names.values()}
    table = read_columns(shard.parquet_url, names, storage_options)
    if table is None or schema.id_col not in table.column_names:
        counts["parquet_unreadable"] = 1
        return None
    return table


def _count_differing(captions: list[pa.Array]) -> int:
    """Count the rows whose captions, where there are several, are not all the same but for blanks around them."""
    trimmed = [pc.utf8_trim_whitespace(caption) for caption in captions]
    chosen = pc.coalesce(*trimmed)
    differing = pa.repeat(pa.scalar(False), len(chosen))
    for caption in trimmed:
        differing = pc.or_(differing, pc.fill_null(pc.not_equal(caption, chosen), False))
    return int(pc.sum(differing).as_py() or 0)
