"""All captions of a sample, and what they are called."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from making import Sample, picture, write_shard, write_tar

import imagecurate as ic
from imagecurate.shards import InputSchema, discover_schema, find_shards, index_shard, open_shard
from imagecurate.shards.captions import Captions

TEXTS = st.sampled_from(["a dog", " a dog\n", "A dog", "", " ", "eine Dogge"])


def opened(folder: Path, **options: Any) -> tuple[InputSchema, list[pa.Table]]:
    """The schema of a folder, and the index of each shard by it."""
    shards = find_shards(folder)
    schema = discover_schema(shards, **options)
    tables = []
    for shard in shards:
        with open_shard(shard) as source:
            tables.append(index_shard(source, shard, schema))
    return schema, tables


def sample(key: str, **fields: str | Mapping[str, Any]) -> Sample:
    """A sample with a picture."""
    return key, {"jpg": picture(), **fields}


def counted(table: pa.Table) -> tuple[int, int]:
    """Samples with several captions, and those of them where texts, parquet and JSON differ."""
    counts = json.loads(table.schema.metadata[b"imagecurate.counts"])
    return counts["captions_several"], counts["caption_differs"]


def test_all_texts_in_order(tmp_path: Path) -> None:
    """The plain one first, the others as they lie; what differs by blanks alone is the same."""
    members = [
        ("a.jpg", b"x"), ("a.long.txt", b"long"), ("a.short.txt", b"short"), ("a.txt", b"plain"),
        ("a.again.txt", b" long\n"), ("a.late.txt", b"late"),
        ("b.jpg", b"x"), ("b.txt", b"one"),
        ("c.jpg", b"x"),
        ("d.jpg", b"x"), ("d.txt", b"same"), ("d.b.txt", b"same "),
        ("e.jpg", b"x"), ("e.b.txt", b"first"), ("e.c.txt", b""),
    ]  # fmt: skip
    write_tar(tmp_path / "0.tar", members)
    _, (table,) = opened(tmp_path)
    assert table["caption"].to_pylist() == ["plain", "one", None, "same", "first"]
    assert table["captions"].to_pylist() == [["plain", "long", "short", "late"], None, None, None, ["first", ""]]
    assert counted(table) == (2, 0)


def test_then_parquet_then_json(tmp_path: Path) -> None:
    """Where they say something else."""
    made = [
        sample("0", txt="text", json={"caption": "json", "n": 1}),
        sample("1", txt="text", json={"caption": "text"}),
        sample("2", json={"caption": "json"}),
        sample("3", json={"caption": "parquet \n"}),
        sample("4", txt="text"),
    ]
    rows = [{"key": str(n), "TEXT": text} for n, text in enumerate(["parquet", "text", "parquet", "parquet", None])]
    write_shard(tmp_path / "0.tar", made, rows)
    _, (table,) = opened(tmp_path)
    assert table["caption"].to_pylist() == ["text", "text", "parquet", "parquet", "text"]
    assert table["captions"].to_pylist() == [["text", "parquet", "json"], None, ["parquet", "json"], None, None]
    assert counted(table) == (2, 2)


def test_captions_of_each_image(tmp_path: Path) -> None:
    """Rows of one sample share its texts; a parquet by field has its own for each; samples are counted."""
    members = [("a.0.jpg", b"x"), ("a.1.jpg", b"x"), ("a.txt", b"both"), ("a.b.txt", b"more")]
    write_shard(
        tmp_path / "1.tar", [], [{"key": "a", "image_field": f"{n}.jpg", "caption": f"only {n}"} for n in (1, 0)]
    )
    (tmp_path / "1.tar").unlink()
    (tmp_path / "1.parquet").rename(tmp_path / "0.parquet")
    write_tar(tmp_path / "0.tar", members)
    _, (table,) = opened(tmp_path, images="all")
    assert table["captions"].to_pylist() == [["both", "more", "only 0"], ["both", "more", "only 1"]]
    assert counted(table) == (1, 2)


@pytest.mark.parametrize(
    ("columns", "caption", "stay"),
    [
        (["TEXT"], "TEXT", ["TEXT"]),
        (["text", "TEXT"], "text", ["text", "TEXT"]),
        (["text", "Caption"], "Caption", ["text", "Caption"]),
        (["TEXT", "CAPTION", "caption"], "caption", ["TEXT", "CAPTION"]),
        (["context", "alt_text"], None, ["context", "alt_text"]),
    ],
)
@pytest.mark.parametrize("place", ["parquet", "json"])
def test_what_a_caption_is_called(
    tmp_path: Path, place: str, columns: list[str], caption: str | None, stay: list[str]
) -> None:
    """Its very name, then others in any case; all but ``caption`` stay as columns."""
    row = {name: f"by {name}" for name in columns}
    if place == "parquet":
        write_shard(tmp_path / "0.tar", [sample("0")], [{"key": "0", **row}])
    else:
        write_shard(tmp_path / "0.tar", [sample("0", json=row)])
    schema, (table,) = opened(tmp_path)
    assert table["caption"].to_pylist() == [caption and f"by {caption}"]
    assert [name for name in schema.names if name in columns] == stay
    assert [table[name].to_pylist() for name in stay] == [[f"by {name}"] for name in stay]
    assert "json_extra" not in table.column_names or table["json_extra"].null_count == 1


def test_what_is_no_text_is_no_caption(tmp_path: Path) -> None:
    """A number, a list or an object may be called ``text``."""
    write_shard(tmp_path / "0.tar", [sample("0", json={"text": ["a", "b"], "Text": {"en": "a"}, "TEXT": 3})])
    schema, (table,) = opened(tmp_path)
    assert schema.json_captions == ("caption",)
    assert table["caption"].to_pylist() == [None]
    assert table["text"].to_pylist() == ['["a", "b"]']


def test_every_shard_has_its_own_name_for_it(tmp_path: Path) -> None:
    """Sources of several makers: in each parquet and document the best name counts that says something."""
    write_shard(tmp_path / "a" / "0.tar", [sample("0")], [{"key": "0", "TEXT": "upper"}])
    write_shard(tmp_path / "a" / "1.tar", [sample("1")], [{"key": "1", "caption": None, "TEXT": "upper"}])
    write_shard(tmp_path / "b" / "0.tar", [sample("2", json={"caption": "json"}), sample("3", json={"text": "small"})])
    schema, tables = opened(tmp_path)
    assert [table["caption"].to_pylist() for table in tables] == [["upper"], ["upper"], ["json", "small"]]
    assert (schema.parquet_captions, schema.json_captions) == (("caption", "TEXT"), ("caption", "text"))
    other = discover_schema(find_shards(tmp_path / "b"))
    assert other.identity() != schema.identity()


def test_captions_that_come_in_are_moved_aside(tmp_path: Path) -> None:
    """As after an export; the texts themselves say it again."""
    write_shard(tmp_path / "0.tar", [sample("0", txt="a")], [{"key": "0", "captions": ["x", "y"]}])
    schema, (table,) = opened(tmp_path)
    assert schema.names["input_captions"] == "captions"
    assert table["input_captions"].to_pylist() == [["x", "y"]]
    assert table["captions"].to_pylist() == [None]


@given(
    texts=st.lists(st.tuples(st.integers(0, 3), TEXTS, st.booleans()), max_size=12),
    others=st.lists(st.lists(st.none() | TEXTS, min_size=4, max_size=4), max_size=2),
)
def test_captions_are_all_that_is_said(texts: list[tuple[int, str, bool]], others: list[list[str | None]]) -> None:
    """Each thing once, the caption first, and only where more than one is said."""
    captions = Captions()
    for number, text, preferred in texts:
        captions.add(number, text.encode(), preferred=preferred)
    caption, several = captions.columns(np.arange(4), [pa.array(other, pa.string()) for other in others])
    for number in range(4):
        said = [text for owner, text, _ in texts if owner == number]
        said += [text for other in others if (text := other[number]) is not None]
        first, every = caption[number].as_py(), several[number].as_py()
        assert (first is None) == (not said)
        assert (every is None) == (len({text.strip() for text in said}) < 2)
        if every is not None:
            assert every[0] == first
            assert sorted(text.strip() for text in every) == sorted({text.strip() for text in said})


def test_the_next_name_stands_in_where_the_first_is_null(tmp_path: Path) -> None:
    """A caption column of nulls hides no TEXT, neither in a parquet nor in JSON."""
    made = [(str(n), {"jpg": picture(n)}) for n in range(3)]
    rows = {"key": ["0", "1", "2"], "caption": pa.array([None, None, "c"], pa.string()), "TEXT": ["x", "y", "z"]}
    write_shard(tmp_path / "a" / "0.tar", made, pa.table(rows))
    frame = ic.read_webdataset(str(tmp_path / "a"), workdir=None).metadata.compute()
    assert frame.caption.tolist() == ["x", "y", "c"]
    nulls = {"key": ["0", "1", "2"], "caption": pa.nulls(3), "TEXT": ["x", "y", "z"]}
    write_shard(tmp_path / "b" / "0.tar", made, pa.table(nulls))
    assert ic.read_webdataset(str(tmp_path / "b"), workdir=None).metadata.caption.compute().tolist() == ["x", "y", "z"]
    documents = [{"caption": None, "text": "t0"}, {"caption": "c1", "text": "t1"}, {"text": "t2"}]
    made = [(str(n), {"jpg": picture(n), "json": document}) for n, document in enumerate(documents)]
    write_shard(tmp_path / "c" / "0.tar", made)
    frame = ic.read_webdataset(str(tmp_path / "c"), workdir=None).metadata.compute()
    assert frame.caption.tolist() == ["t0", "c1", "t2"]


def test_a_caption_that_is_a_list_in_json(tmp_path: Path) -> None:
    """Its first text is the caption, all of them are in captions."""
    documents = [{"caption": ["a dog", "a hound"]}, {"caption": "a cat"}, {"caption": ["one"]}, {"caption": [1, 2]}]
    made = [(str(n), {"jpg": picture(n), "json": document}) for n, document in enumerate(documents)]
    write_shard(tmp_path / "data" / "0.tar", made)
    frame = ic.read_webdataset(str(tmp_path / "data"), workdir=None).metadata.compute()
    assert frame.caption.tolist() == ["a dog", "a cat", "one", "[1, 2]"]
    assert list(frame.captions.iloc[0]) == ["a dog", "a hound"]
    assert frame.captions.iloc[1:].isna().all()


def test_columns_of_views(tmp_path: Path) -> None:
    """Arrow's views of strings are read as strings."""
    rows = pa.table({"key": pa.array(["0", "1"], pa.string_view()), "x": pa.array(["a", "b"], pa.string_view())})
    write_shard(tmp_path / "data" / "0.tar", [(str(n), {"jpg": picture(n)}) for n in range(2)], rows)
    assert ic.read_webdataset(str(tmp_path / "data"), workdir=None).metadata.x.compute().tolist() == ["a", "b"]
