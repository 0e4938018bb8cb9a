"""Grouping the members of a plain tar all at once, with taking them one by one as oracle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, event, example, given, settings
from hypothesis import strategies as st
from making import picture, write_shard, write_tar
from test_hostile_tars import Archive, archives

import imagecurate as ic
from imagecurate.shards import InputSchema, discover_schema, find_shards, index_shard, open_shard
from imagecurate.shards.plain_samples import plain_samples
from imagecurate.shards.plain_tar import plain_members
from imagecurate.shards.tar import TarReader

KEYS = ["000", "001", "2", "ü", "a b", "_x", "x__y", "__x"]
FOLDERS = ["", "", "", "", "d/", "v1.0/", "./", "/", "../", "__MACOSX/"]
FIELDS = [
    ".jpg",
    ".JPG",
    ".0.jpg",
    ".1.jpg",
    ".depth.png",
    ".txt",
    ".TXT",
    ".1.txt",
    ".json",
    ".1.json",
    ".cls",
    ".",
    "",
]
CONTENTS = [
    b"",
    b"a dog",
    b" a dog\n",
    b"a cat",
    b"\xff",
    b'{"width": 3, "caption": "a dog"}',
    b'{"new": [1]}',
    picture(),
]

NAMES = st.builds("".join, st.tuples(st.sampled_from(FOLDERS), st.sampled_from(KEYS), st.sampled_from(FIELDS)))
PLAIN_NAMES = st.builds("".join, st.tuples(st.sampled_from(KEYS[:6]), st.sampled_from(FIELDS[:-2])))
MEMBERS = st.lists(st.tuples(PLAIN_NAMES, st.sampled_from(CONTENTS)), unique_by=lambda member: member[0].lower()) | (
    st.lists(st.tuples(NAMES, st.sampled_from(CONTENTS)))
)
ROWS = st.lists(
    st.fixed_dictionaries(
        {"key": st.sampled_from([*KEYS, None]), "width": st.sampled_from([1, None])},
        optional={"caption": st.sampled_from(["a dog", "a cow", None])},
    )
)
SCHEMA = InputSchema(
    {"caption": pa.string(), "captions": pa.list_(pa.string()), "width": pa.int64(), "json_extra": pa.string()},
    {"width": "width"},
    json_only=("width",),
    read_json=True,
)


def index(path: Path, schema: InputSchema, *, at_once: bool) -> pa.Table:
    """Index a shard; where not at once by the walk, whose members are taken one by one."""
    (shard,) = find_shards(path)
    with pytest.MonkeyPatch.context() as patch, open_shard(shard) as source:
        if not at_once:
            patch.setattr(TarReader, "plain", None)
        table = index_shard(source, shard, schema)
    table.validate(full=True)
    return table


def is_the_same_at_once(path: Path, schema: InputSchema) -> None:
    """Every column, reason and count, and the bytes that the store keeps."""
    fast, slow = (index(path, schema, at_once=at_once) for at_once in (True, False))
    assert fast.to_pylist() == slow.to_pylist()  # the difference is easier to read
    assert fast.equals(slow, check_metadata=True)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(members=MEMBERS, rows=st.none() | ROWS, images=st.sampled_from(["first", "all"]))
@example(members=[("a.txt", b"a"), ("b.jpg", b"b"), ("a.jpg", b"")], rows=None, images="first")  # not adjacent
@example(members=[("a.cls", picture()), ("a.x.bin", picture()), ("b.cls", b"7")], rows=None, images="all")
@example(members=[("a.jpg", b"a"), ("a.JPG", b"b")], rows=[{"key": "a", "width": 1}], images="first")  # repeats
def test_an_index_is_the_same(
    members: list[tuple[str, bytes]],
    rows: list[dict[str, Any]] | None,
    images: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """With several images, captions and documents, repeated and scattered names, dots, folders, and a parquet."""
    path = write_tar(tmp_path_factory.mktemp("plain") / "0.tar", members)
    if rows:
        table = pa.Table.from_pylist(rows, pa.schema({"key": pa.string(), "width": pa.int64(), "caption": pa.string()}))
        pa.parquet.write_table(table, path.with_suffix(".parquet"))
    own = {"image_field": pa.string()} if images == "all" else {}
    plain = plain_members(path.read_bytes())
    event(f"at once: {plain is not None and plain_samples(plain) is not None}")
    is_the_same_at_once(
        path, InputSchema({**SCHEMA.fields, **own}, SCHEMA.names, SCHEMA.json_only, read_json=True, images=images)
    )


@settings(max_examples=300, deadline=None)
@given(archive=archives())
def test_an_index_of_a_hostile_tar_is_the_same(archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> None:
    """With lies, links, extensions, damage, and archives in archives."""
    path = tmp_path_factory.mktemp("hostile") / "0.tar"
    path.write_bytes(archive.data)
    is_the_same_at_once(path, SCHEMA)


@pytest.mark.parametrize(
    ("names", "is_grouped"),
    [
        (["a.jpg", "a.txt", "b.jpg"], True),
        (["a.jpg", "b.jpg", "a.TXT", "ü b.0.png", "_a.cls", "a."], True),
        (["a.jpg", "A.jpg"], True),
        (["a.jpg", "a.JPG"], False),  # a field twice
        (["a.jpg", "d/a.jpg"], False),
        (["a.jpg", ".DS_Store"], False),
        (["a.jpg", "README"], False),
        (["a.jpg", "__meta__.json"], False),
        (["a.jpg", "./b.jpg"], False),
        (["a.jpg", ".."], False),
    ],
)
def test_what_is_grouped_at_once(names: list[str], is_grouped: bool, tmp_path: Path) -> None:
    """All that writers of shards write; not what needs rules of its own."""
    path = write_tar(tmp_path / "0.tar", [(name, b"x") for name in names])
    members = plain_members(path.read_bytes())
    assert members is not None
    assert (plain_samples(members) is not None) == is_grouped
    is_the_same_at_once(path, SCHEMA)


def test_what_writers_write_is_the_same(tmp_path: Path) -> None:
    """Pictures, captions and JSON that agree with the parquet, as img2dataset writes them."""
    made = [
        (f"{number:09d}", {"jpg": picture(number), "txt": "a dog", "json": {"width": number}}) for number in range(9)
    ]
    rows = [
        {"key": key, "caption": "a dog", "width": json.loads(json.dumps(each["json"]))["width"]} for key, each in made
    ]
    path = write_shard(tmp_path / "0.tar", made, rows)
    (shard,) = find_shards(path)
    for images in ("first", "all"):
        is_the_same_at_once(path, discover_schema([shard], images=images))
    assert len(ic.read_webdataset(str(path), workdir=tmp_path / "work")) == 9
