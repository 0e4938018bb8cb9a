"""One schema from many shards."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from making import Sample, datacomp_pool, img2dataset_shard, picture, samples, write_shard, write_tar

from imagecurate.errors import ColumnNotFoundError, ParameterError, ShardError
from imagecurate.shards import discover_schema, find_shards, index_shard, open_shard


def fields(folder: Path, **options: Any) -> dict[str, str]:
    """The columns of a folder with their types as text, but for ``captions``, which is always the second."""
    found = {name: str(kind) for name, kind in discover_schema(find_shards(folder), **options).fields.items()}
    assert list(found)[:2] == ["caption", "captions"]
    assert found.pop("captions") == "list<item: string>"
    return found


def write_json(path: Path, *documents: dict[str, Any]) -> None:
    """A shard with a document a sample."""
    made: list[Sample] = [(str(number), {"jpg": b"x", "json": document}) for number, document in enumerate(documents)]
    write_shard(path, made)


def write_parquets(folder: Path, *columns: dict[str, Any]) -> None:
    """A shard with a parquet of these columns each."""
    for number, values in enumerate(columns):
        write_tar(folder / f"{number}.tar", [("0.jpg", b"x")])
        pq.write_table(pa.table({"key": ["0"], **values}), folder / f"{number}.parquet")


def test_columns_of_img2dataset(tmp_path: Path) -> None:
    """A column that is null in a clean shard has the type that another gives it; JSON adds nothing."""
    img2dataset_shard(tmp_path, 0)
    img2dataset_shard(tmp_path, 1, failed=[3])
    found = fields(tmp_path)
    assert list(found) == [
        *("caption", "url", "status", "error_message", "width", "height"),
        *("original_width", "original_height", "exif", "sha256"),
    ]
    assert (found["error_message"], found["width"]) == ("string", "int64")


def test_columns_of_datacomp(tmp_path: Path) -> None:
    """Of the published metadata only uid and boxes are in the shards; a near miss for the id is in the hint."""
    datacomp_pool(tmp_path)
    found = fields(tmp_path / "shards")
    assert (found["uid"], found["face_bboxes"]) == ("string", "list<item: list<item: double>>")
    assert not {"clip_b32_similarity_score", "clip_l14_similarity_score", "text"} & set(found)
    with pytest.raises(ColumnNotFoundError, match=r"column 'udi', which should equal .* it has: uid, face_b") as error:
        fields(tmp_path / "shards", id_col="udi")
    assert "id_col='uid'" in str(error.value)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("auto", ["caption", "both", "parquet_only", "json_only", "json_extra"]),
        ("parquet", ["caption", "both", "parquet_only"]),
        ("json", ["caption", "both", "json_only", "json_extra"]),
        ("none", ["caption"]),
    ],
)
def test_where_columns_come_from(tmp_path: Path, mode: str, expected: list[str]) -> None:
    """JSON is read only for what no parquet has."""
    write_json(tmp_path / "0.tar", {"key": "0", "both": 1, "json_only": 2})
    pq.write_table(pa.table({"key": ["0"], "both": [1], "parquet_only": [2]}), tmp_path / "0.parquet")
    assert list(fields(tmp_path, metadata=mode)) == expected


def test_parquet_types_are_unified(tmp_path: Path) -> None:
    """Null, narrow, wide, fractional, text, dictionaries and lists."""
    write_parquets(
        tmp_path,
        {"a": pa.nulls(1), "b": pa.array([1], pa.int8()), "c": [1], "d": pa.nulls(1), "e": [1.0]},
        {
            "a": [1],
            "b": pa.array([1], pa.int32()),
            "c": [0.5],
            "d": pa.nulls(1),
            "f": pa.array([[1.0]], pa.list_(pa.float32(), 1)),
        },
        {"a": [1], "c": [1], "e": ["x"], "f": [[1.0]], "g": pa.array(["x"]).dictionary_encode()},
    )
    assert fields(tmp_path) == {
        "caption": "string",
        "a": "int64",
        "b": "int32",
        "c": "double",
        "d": "string",
        "e": "string",
        "f": "list<item: double>",
        "g": "string",
    }


def test_json_types(tmp_path: Path) -> None:
    """Scalars have their type, what is nested or mixed is text; null says nothing."""
    write_json(
        tmp_path / "0.tar",
        {"i": 1, "f": 1, "b": True, "s": "x", "n": None, "l": [1], "d": {"a": 1}, "m": 1, "caption": "c"},
        {"i": None, "f": 0.5, "b": False, "m": "x", "late": 2**70},
    )
    assert fields(tmp_path) == {
        "caption": "string",
        "i": "int64",
        "f": "double",
        "b": "bool",
        "s": "string",
        "n": "string",
        "l": "string",
        "d": "string",
        "m": "string",
        "late": "string",
        "json_extra": "string",
    }


def test_json_of_evenly_spaced_tars(tmp_path: Path) -> None:
    """Four of each source; those without are passed over; without any there is no json_extra."""
    write_tar(tmp_path / "0.tar", [("0.jpg", b"x")])
    assert fields(tmp_path) == {"caption": "string"}
    for number, value in enumerate([None, 1, 0.5, "x", 2, 3, 0.25], start=1):
        write_json(tmp_path / f"{number}.tar", {"n": value, f"only_{number}": True})
    found = fields(tmp_path)
    assert list(found) == ["caption", "n", "only_2", "only_5", "only_7", "json_extra"]
    assert found["n"] == "double"


def test_every_source_is_looked_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many shards the others have, and however many sources there are; its parquets too."""
    monkeypatch.setattr("imagecurate.shards.discovery.MOST_LOCAL_FOOTERS", 2)
    monkeypatch.setattr("imagecurate.shards.discovery.MOST_FOOTERS", 1)
    for number in range(9):
        write_json(tmp_path / "large" / f"{number}.tar", {"n": 1})
    write_json(tmp_path / "small" / "0.tar", {"n": "x", "small": 1})
    write_parquets(tmp_path / "with", *({f"c{number}": [1]} for number in range(3)))
    sources = {name: tmp_path / name for name in ("large", "small", "with")}
    schema = discover_schema(find_shards(sources))
    assert list(schema.fields) == ["caption", "captions", "c0", "c2", "n", "small", "json_extra"]
    assert schema.fields["n"] == pa.string()
    monkeypatch.setattr("imagecurate.shards.discovery.MOST_TARS", 2)
    assert set(discover_schema(find_shards(sources)).fields) == set(schema.fields)


def test_json_is_read_where_only_some_shards_have_a_parquet(tmp_path: Path) -> None:
    """There it stands in, with a type that serves both."""
    write_parquets(tmp_path, {"n": pa.array([1], pa.int32())})
    write_json(tmp_path / "1.tar", {"n": 0.5})
    assert fields(tmp_path) == {"caption": "string", "n": "double", "json_extra": "string"}


def test_names_that_imagecurate_writes_itself_are_moved_aside(tmp_path: Path) -> None:
    """A column that has the new name already stays, and the other is left out."""
    columns = ["sample_id", "source", "input_source", "image_width", "_error", "__index_level_0__", "width"]
    write_parquets(tmp_path, {name: [1] for name in columns})
    schema = discover_schema(find_shards(tmp_path))
    assert dict(schema.names) == {
        "input_sample_id": "sample_id",
        "input_source": "input_source",
        "input_image_width": "image_width",
        "input__error": "_error",
        "width": "width",
    }


def test_another_id_column_stays_and_the_key_moves_aside(tmp_path: Path) -> None:
    """Only the tar's own key is called so."""
    write_parquets(tmp_path, {"uid": ["0"]})
    assert list(fields(tmp_path, id_col="uid")) == ["caption", "input_key", "uid"]


def test_a_users_types_win(tmp_path: Path) -> None:
    """And name columns that the sampled shards lack."""
    write_json(tmp_path / "0.tar", {"n": 1, "source": "web"})
    schema = {"n": "float32", "score": float, "input_source": pa.large_string(), "_raw": "string"}
    assert fields(tmp_path, schema=schema) == {
        "caption": "string",
        "n": "float",
        "input_source": "large_string",
        "score": "double",
        "input__raw": "string",
        "json_extra": "string",
    }


def test_many_footers_are_sampled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Evenly, the last among them."""
    write_parquets(tmp_path, *({f"c{number}": [1]} for number in range(9)))
    assert len(fields(tmp_path)) == 10
    monkeypatch.setattr("imagecurate.shards.discovery.MOST_LOCAL_FOOTERS", 8)
    monkeypatch.setattr("imagecurate.shards.discovery.MOST_FOOTERS", 3)
    assert list(fields(tmp_path)) == ["caption", "c0", "c4", "c8"]


def test_damaged_footers_are_passed_over(tmp_path: Path) -> None:
    """The shard with one is still indexed, where it is counted."""
    write_parquets(tmp_path, {"a": [1]}, {"b": [1]})
    (tmp_path / "0.parquet").write_bytes(b"PAR1, once")
    assert list(fields(tmp_path)) == ["caption", "b"]


def test_a_footer_longer_than_the_first_read(tmp_path: Path) -> None:
    """Thousands of columns."""
    write_parquets(tmp_path, {f"a rather long name of a column, number {number}": [1] for number in range(3000)})
    assert len(fields(tmp_path)) == 3001


def test_the_identity_is_json_and_changes_with_what_is_read(tmp_path: Path) -> None:
    """The store names indexes by it."""
    write_json(tmp_path / "0.tar", {"n": 1})
    shards = find_shards(tmp_path)
    identities = [
        json.dumps(discover_schema(shards, **options).identity())
        for options in ({}, {"metadata": "none"}, {"metadata": "json"}, {"schema": {"n": "string"}})
    ]
    assert len(set(identities)) == 4
    schema = discover_schema(shards)
    assert pickle.loads(pickle.dumps(schema)) == schema


def test_a_dataset_of_one_shard_with_a_plain_folder(tmp_path: Path) -> None:
    """Keys of the JSON are columns, but for the key itself."""
    write_shard(tmp_path / "0.tar", samples(2))
    assert fields(tmp_path) == {
        "caption": "string",
        "width": "int64",
        "height": "int64",
        "score": "double",
        "json_extra": "string",
    }


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"metadata": "parqet"},
            ParameterError,
            "metadata must be one of .* not 'parqet'\n\nHint: did you mean 'parquet'",
        ),
        ({"images": "each"}, ParameterError, "images must be one of first, all, not 'each'"),
        ({"id_col": ""}, ParameterError, "id_col must be the name of a column, not ''"),
        ({"schema": ["n"]}, ParameterError, "schema must map column names to types, not be a list"),
        ({"schema": {"n": "integer!"}}, ParameterError, "'integer!' is no type for column 'n'"),
        ({"schema": {"caption": "int64"}}, ParameterError, "'caption' is always a string"),
        ({"schema": {"n": "int64"}, "metadata": "none"}, ParameterError, "metadata='none' reads none"),
        ({"metadata": "parquet"}, ShardError, "none of the 1 shards has one\n\nHint: use metadata='auto'"),
        (
            {"id_col": "uuid"},
            ColumnNotFoundError,
            "column 'uuid' not found; the dataset has: uid\n\nHint: did you mean 'uid'",
        ),
    ],
)
def test_what_cannot_be(tmp_path: Path, options: dict[str, Any], error: type[Exception], message: str) -> None:
    """Wrong arguments are said at once."""
    write_json(tmp_path / "0.tar", {"uid": 1})
    with pytest.raises(error, match=message):
        discover_schema(find_shards(tmp_path), **options)


def test_pictures_before_the_first_json(tmp_path: Path) -> None:
    """Members of a sample may lie far apart."""
    pictures = [(f"{number}.jpg", picture(number)) for number in range(20)]
    write_tar(tmp_path / "0.tar", [*pictures, ("0.json", b'{"n": 1}')])
    assert "n" in fields(tmp_path)


def test_few_tars_that_are_not_local_are_looked_into(tmp_path: Path) -> None:
    """Each costs a request or two; the first and the last."""
    for number in range(5):
        write_json(tmp_path / f"{number}.tar", {"n": 1, f"only_{number}": 1})
    memory = fsspec.filesystem("memory")
    memory.put(str(tmp_path), "/remote", recursive=True)
    try:
        schema = discover_schema(find_shards("memory://remote"))
    finally:
        memory.rm("/remote", recursive=True)
    assert list(schema.names) == ["n", "only_0", "only_4"]


def test_no_more_of_a_tar_is_looked_at_than_its_first_documents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many there are, and however large."""
    write_json(tmp_path / "0.tar", *({f"n{number}": "x" * 100} for number in range(9)))
    monkeypatch.setattr("imagecurate.shards.discovery.MOST_DOCUMENTS", 4)
    assert list(discover_schema(find_shards(tmp_path)).names) == ["n0", "n1", "n2", "n3"]
    monkeypatch.setattr("imagecurate.shards.discovery.MOST_SAMPLED_BYTES", 150)
    assert list(discover_schema(find_shards(tmp_path)).names) == ["n0", "n1"]


def test_parquets_of_a_source_that_lack_a_field_leave_it_to_json(tmp_path: Path) -> None:
    """JSON is parsed only for the shards whose parquet lacks it."""
    write_json(tmp_path / "0.tar", {"n": 1})
    write_json(tmp_path / "1.tar", {"n": 2})
    pq.write_table(pa.table({"key": ["0"], "n": [10]}), tmp_path / "0.parquet")
    pq.write_table(pa.table({"key": ["0"], "m": [10]}), tmp_path / "1.parquet")
    shards = find_shards(tmp_path)
    schema = discover_schema(shards)
    assert (schema.json_only, schema.in_parquet) == (("n",), ("key", "m"))
    found = []
    for shard in shards:
        with open_shard(shard) as source:
            found.append(index_shard(source, shard, schema)["n"].to_pylist())
    assert found == [[10], [2]]


@pytest.mark.parametrize("column", ["key", "source", "image_width", "json_extra", "captions"])
def test_types_for_columns_of_our_own(tmp_path: Path, column: str) -> None:
    """They would be those of a column that nobody has; the hint gives the name that one from outside gets."""
    write_json(tmp_path / "0.tar", {"n": 1})
    with pytest.raises(
        ParameterError, match=rf"'{column}' is a column that imagecurate writes .*\n\n.* 'input_{column}'"
    ):
        fields(tmp_path, schema={column: "string"})


def test_a_stated_column_that_is_nearly_there(tmp_path: Path) -> None:
    """By case or spelling: it is told, since a column of nulls is seldom meant; names that are just alike are not."""
    write_json(tmp_path / "0.tar", {"width": 1, "punsafe": 0.5, "clip_l14": 0.5})
    told = discover_schema(
        find_shards(tmp_path), schema={"Width": "int32", "punsave": float, "punsafe": float, "clip_b32": float}
    ).differences
    assert told == (
        "schema= names 'Width', which is in no file that was looked at; did you mean 'width'?",
        "schema= names 'punsave', which is in no file that was looked at; did you mean 'punsafe'?",
    )


@pytest.mark.parametrize(("stated", "kind"), [(np.int32, "int32"), (np.dtype("f4"), "float"), (np.bool_, "bool")])
def test_types_of_numpy(tmp_path: Path, stated: Any, kind: str) -> None:
    """As people have them at hand."""
    write_json(tmp_path / "0.tar", {"n": 1})
    assert fields(tmp_path, schema={"n": stated})["n"] == kind
    for wrong in (object, np.dtype("O"), None, 5):
        with pytest.raises(ParameterError, match="is no type for column 'n'"):
            fields(tmp_path, schema={"n": wrong})
