"""What differs between files, said once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from making import img2dataset_shard, write_shard, write_tar

from imagecurate.shards import discover_schema, find_shards


def write_parquets(folder: Path, *columns: dict[str, Any]) -> None:
    """A shard with a parquet of these columns each."""
    for number, values in enumerate(columns):
        write_tar(folder / f"{number:05d}.tar", [("0.jpg", b"x")])
        pq.write_table(pa.table({"key": ["0"], **values}), folder / f"{number:05d}.parquet")


def write_jsons(folder: Path, *documents: list[dict[str, Any]]) -> None:
    """A shard with these documents each."""
    for number, several in enumerate(documents):
        write_shard(folder / f"{number:05d}.tar", [(str(n), {"jpg": b"x", "json": d}) for n, d in enumerate(several)])


def differences(path: Any, **options: Any) -> list[str]:
    """The sentences about a folder."""
    return list(discover_schema(find_shards(path), **options).differences)


def test_types_that_differ_between_parquets(tmp_path: Path) -> None:
    """With what it is read as; null is no type, and what agrees is not mentioned."""
    write_parquets(
        tmp_path,
        {"width": [1], "same": [1], "error": pa.nulls(1)},
        {"width": [1], "same": [1], "error": ["x"]},
        {"width": ["wide"], "same": pa.array([1], pa.int64()), "error": pa.nulls(1)},
        {"width": [1], "same": [2], "error": pa.nulls(1)},
    )
    assert differences(tmp_path) == [
        "column 'width': int64 in 3 of 4 parquets, string in 00002.parquet; read as string"
    ]
    assert differences(tmp_path, schema={"width": "string"}) == []


def test_columns_that_some_lack(tmp_path: Path) -> None:
    """A handful of names, and how many there are."""
    write_parquets(tmp_path, {"a": [1], "b": [1]}, *({"b": [1]} for _ in range(5)))
    assert differences(tmp_path) == [
        "column 'a': int64 in 1 of 6 parquets, missing in 00001.parquet, 00002.parquet, 00003.parquet, … (5 in all); "
        "read as int64"
    ]


def test_clean_data_has_none(tmp_path: Path) -> None:
    """As img2dataset writes it."""
    img2dataset_shard(tmp_path, 0)
    img2dataset_shard(tmp_path, 1, failed=[3])
    assert differences(tmp_path) == []


def test_structs_that_agree_are_kept(tmp_path: Path) -> None:
    """However their texts are stored; those that do not are text."""
    agree = [pa.array([{"x": 1, "t": "a"}], pa.struct([("x", pa.int8()), ("t", pa.large_string())]))]
    agree.append(pa.array([{"x": 1, "t": "a"}], pa.struct([("x", pa.int8()), ("t", pa.string())])))
    write_parquets(tmp_path, *({"s": [{"a": 1}], "t": one} for one in agree))
    schema = discover_schema(find_shards(tmp_path))
    assert schema.fields["t"] == pa.struct([("x", pa.int8()), ("t", pa.string())])
    assert schema.differences == ()
    write_parquets(tmp_path, {"s": [{"b": 1}]})
    (sentence, lacking) = differences(tmp_path)
    assert (
        sentence == "column 's': struct<b: int64> in 1 of 2 parquets, struct<a: int64> in 00001.parquet; read as string"
    )
    assert lacking.startswith("column 't': struct<x: int8, t: string> in 1 of 2 parquets, missing in 00000.parquet")


def test_json(tmp_path: Path) -> None:
    """Nested fields, mixtures within a tar, and types that differ between tars; numbers of one tar are one type."""
    write_jsons(
        tmp_path,
        [{"exif": {"a": 1}, "mixed": 1, "n": 1, "number": 1}, {"exif": [1], "mixed": "x", "n": 2, "number": 0.5}],
        [{"exif": {}, "mixed": "x", "n": 0.5, "number": 1.5, "later": 1}],
        [{"exif": None, "mixed": "x", "n": None, "number": 2.5, "later": 1}],
    )
    assert differences(tmp_path) == [
        "column 'exif': nested in the JSON, kept as JSON text",
        "column 'mixed': string in 2 of 3 tars, int64 and string in 00000.tar; read as string",
        "column 'n': int64 in 1 of 3 tars, double in 00001.tar; read as double",
        "column 'later': int64 in 2 of 3 tars, missing in 00000.tar; read as int64",
    ]


def test_sources_are_named(tmp_path: Path) -> None:
    """JSON stands in where a source has no parquets; beside parquets it counts only for what they lack."""
    write_parquets(tmp_path / "a", {"n": [1]}, {"n": [1], "extra": [1]})
    write_shard(tmp_path / "a" / "00000.tar", [("0", {"jpg": b"x", "json": {"n": "text", "only": 1}})])
    write_jsons(tmp_path / "b" / "deep", [{"n": 0.5}])
    found = differences({"a": tmp_path / "a", "b": tmp_path / "b"})
    assert found == [
        "column 'n': int64 in 2 of 3 files, double in b/deep/00000.tar; read as double",
        "column 'extra': int64 in 1 of 2 parquets, missing in a/00000.parquet; read as int64",
    ]


def test_what_a_whole_source_lacks_is_no_difference(tmp_path: Path) -> None:
    """Sources have columns of their own; what differs within one is told."""
    write_parquets(tmp_path / "a", {"uid": ["x"], "n": [1]}, {"uid": ["y"], "n": [1]})
    write_parquets(tmp_path / "b", {"similarity": [0.5], "n": [1]}, {"n": [1]})
    assert differences({"a": tmp_path / "a", "b": tmp_path / "b"}) == [
        "column 'similarity': double in 1 of 2 parquets, missing in b/00001.parquet; read as double"
    ]


def test_a_multitude_is_cut(tmp_path: Path) -> None:
    """JSON may have a name a document."""
    write_jsons(tmp_path, [{f"a{n}": 1 for n in range(30)}], [{f"b{n}": 1 for n in range(30)}])
    found = differences(tmp_path)
    assert (len(found), found[-1]) == (21, "40 more columns differ between files")


def test_they_are_no_part_of_what_a_schema_is(tmp_path: Path) -> None:
    """An index does not depend on how it was found out."""
    write_parquets(tmp_path, {"n": [1]}, {"n": [1], "m": [1]})
    both = discover_schema(find_shards(tmp_path))
    write_parquets(tmp_path, {"n": [1], "m": [1]})
    same = discover_schema(find_shards(tmp_path))
    assert both.differences != same.differences
    assert both == same
    assert both.identity() == same.identity()


@pytest.mark.parametrize("length", [10, 500])
def test_long_types_are_cut(tmp_path: Path, length: int) -> None:
    """A struct may have hundreds of fields."""
    write_parquets(tmp_path, {"s": [{f"field_{n}": 1 for n in range(length)}]}, {"s": [1]})
    (sentence,) = differences(tmp_path)
    assert len(sentence) < 200
