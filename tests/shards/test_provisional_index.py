"""What a parquet tells of a shard before its tar was read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from making import img2dataset_shard, samples, write_shard

from imagecurate.shards import (
    InputSchema,
    Shard,
    discover_schema,
    find_shards,
    index_shard,
    open_shard,
    provisional_index,
)


def opened(path: Path, **options: Any) -> tuple[Shard, InputSchema]:
    """The shard of a folder and its schema."""
    (shard,) = find_shards(path)
    return shard, discover_schema([shard], **options)


def provisional(path: Path, **options: Any) -> pa.Table:
    """What the parquet says."""
    table = provisional_index(*opened(path, **options))
    assert table is not None
    table.validate(full=True)
    return table


def test_of_img2dataset_it_is_the_index_but_for_the_tar(tmp_path: Path) -> None:
    """In another order, without what lies where; failed downloads are no samples."""
    img2dataset_shard(tmp_path, 3, count=6, failed=[0, 4])
    shard, schema = opened(tmp_path)
    early = provisional(tmp_path).sort_by("key")
    assert early["key"].to_pylist() == ["000030001", "000030002", "000030003", "000030005"]
    with open_shard(shard) as source:
        late = index_shard(source, shard, schema)
    assert early.column_names == ["key", "_error", *schema.fields]
    late = late.select(early.column_names).sort_by("key")
    assert early.equals(late)
    assert set(schema.in_parquet) == {"key", *schema.fields} - {"captions"}


def test_a_status_of_somebody_else_drops_nothing(tmp_path: Path) -> None:
    """Only the words of img2dataset say that there is no member."""
    rows = [{"key": f"{number:09d}", "status": status} for number, status in enumerate(["success", "ok", None])]
    write_shard(tmp_path / "0.tar", samples(3), rows)
    assert len(provisional(tmp_path, metadata="parquet")) == 3


def test_ids_as_text_each_once(tmp_path: Path) -> None:
    """Integers as they are written, null and what repeats left out."""
    rows = pa.table({"uid": [7, None, 3, 7], "n": [0, 1, 2, 3], "TEXT": ["a", "b", "c", "d"]})
    write_shard(tmp_path / "0.tar", samples(2), rows)
    table = provisional(tmp_path, id_col="uid")
    assert table["key"].to_pylist() == ["7", "3"]
    assert table["caption"].to_pylist() == ["a", "c"]
    assert table["n"].to_pylist() == [0, 2]
    assert table["uid"].to_pylist() == [7, 3]
    assert table["_error"].null_count == 2


def test_what_only_json_has_is_null(tmp_path: Path) -> None:
    """The schema says which columns are known."""
    write_shard(tmp_path / "0.tar", samples(1), [{"key": "000000000", "width": "1"}])
    shard, schema = opened(tmp_path, schema={"width": "int32"})
    table = provisional_index(shard, schema)
    assert table is not None
    assert table.schema.field("width").type == pa.int32()
    known = {"key": "000000000", "width": 1}
    assert table.to_pylist() == [dict.fromkeys(["key", "_error", *schema.fields]) | known]
    assert {"height", "score", "json_extra"} < set(schema.fields)
    assert schema.in_parquet == ("key", "width")


def test_images_by_name(tmp_path: Path) -> None:
    """Where rows are images the parquet must say which."""
    rows = [{"key": "a", "image_field": field} for field in ("0.jpg", "1.jpg", "0.jpg", None)]
    write_shard(tmp_path / "0.tar", samples(1), rows)
    assert opened(tmp_path, images="all")[1].in_parquet == ("key", "image_field")
    table = provisional(tmp_path, images="all", metadata="parquet")
    assert table["image_field"].to_pylist() == ["0.jpg", "1.jpg"]
    assert len(provisional(tmp_path)) == 1
    write_shard(tmp_path / "0.tar", samples(1), [{"key": "a"}])
    assert provisional_index(*opened(tmp_path, images="all")) is None


@pytest.mark.parametrize("mode", ["json", "none"])
def test_no_parquet_is_read_where_none_is_asked_for(tmp_path: Path, mode: str) -> None:
    """Nor is one that is not there, or damaged."""
    path = write_shard(tmp_path / "0.tar", samples(1), [{"key": "000000000"}])
    assert provisional_index(*opened(tmp_path, metadata=mode)) is None
    assert opened(tmp_path, metadata=mode)[1].in_parquet == ()
    shard, schema = opened(tmp_path)
    path.with_suffix(".parquet").write_bytes(b"PAR1, once")
    assert provisional_index(shard, schema) is None
    path.with_suffix(".parquet").unlink()
    assert provisional_index(*opened(tmp_path)) is None
    with pytest.raises(FileNotFoundError):
        provisional_index(shard, schema)


def test_an_empty_parquet_has_no_rows(tmp_path: Path) -> None:
    """But every column."""
    rows = pa.table({"key": pa.array([], pa.string()), "n": pa.array([], pa.int64())})
    write_shard(tmp_path / "0.tar", [], rows)
    table = provisional(tmp_path)
    assert (len(table), table.column_names) == (0, ["key", "_error", "caption", "captions", "n"])
