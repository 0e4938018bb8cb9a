"""Samples of several images, and images whose names do not say that they are."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from making import picture, tar_bytes, write_shard, write_tar

import imagecurate as ic
from imagecurate.shards import discover_schema, find_shards, index_shard, open_shard

GIF = b"GIF89a" + bytes(20)


def index(path: Path, images: str = "all", **options: Any) -> pa.Table:
    """Index one shard by the schema that is found in it."""
    (shard,) = find_shards(path)
    schema = discover_schema([shard], images=images, **options)
    with open_shard(shard) as source:
        table = index_shard(source, shard, schema)
    table.validate(full=True)
    internal = ["key", "_error", "_image_name", "_image_offset", "_image_size", "_members"]
    assert table.column_names == [*internal, *(["_sample"] if images == "all" else []), *schema.fields]
    assert {name: table.schema.field(name).type for name in schema.fields} == dict(schema.fields)
    return table


def count(table: pa.Table, name: str) -> int:
    """How often something was noticed."""
    counts: dict[str, int] = json.loads(table.schema.metadata[b"imagecurate.counts"])
    return counts[name]


def members(table: pa.Table) -> list[list[str]]:
    """Names of the members of each row."""
    return [[member["name"] for member in row] for row in table["_members"].to_pylist()]


SEVERAL = [
    ("a.0.jpg", b"one"), ("b.jpg", b"two"), ("a.txt", b"text of a"), ("a.json", b'{"n": 1}'), ("c.txt", b"no image"),
    ("a.1.PNG", b"three"), ("b.txt", b"text of b"), ("a.cls", b"7"),
]  # fmt: skip


def test_a_row_for_each_image(tmp_path: Path) -> None:
    """Side by side where the sample's first member puts them, each with the members that all share."""
    table = index(write_tar(tmp_path / "0.tar", SEVERAL))
    assert table["key"].to_pylist() == ["a", "a", "b", "c"]
    assert table["_sample"].to_pylist() == [0, 0, 2, 3]
    assert table["image_field"].to_pylist() == ["0.jpg", "1.png", "jpg", None]
    assert table["caption"].to_pylist() == ["text of a", "text of a", "text of b", "no image"]
    assert table["n"].to_pylist() == [1, 1, None, None]
    assert table["_error"].to_pylist() == [None, None, None, "no image"]
    assert table["_image_size"].to_pylist() == [3, 5, 3, None]
    assert members(table) == [
        ["a.0.jpg", "a.txt", "a.json", "a.cls"],
        ["a.txt", "a.json", "a.1.PNG", "a.cls"],
        ["b.jpg", "b.txt"],
        ["c.txt"],
    ]
    assert (count(table, "samples"), count(table, "images_further")) == (3, 0)


def test_a_row_for_each_sample(tmp_path: Path) -> None:
    """The first image, all members, and the further images counted."""
    table = index(write_tar(tmp_path / "0.tar", SEVERAL), "first")
    assert table["_image_name"].to_pylist() == ["a.0.jpg", "b.jpg", None]
    assert members(table)[0] == ["a.0.jpg", "a.txt", "a.json", "a.1.PNG", "a.cls"]
    assert (count(table, "samples"), count(table, "images_further")) == (3, 1)


def test_what_is_wrong_with_an_image_and_what_with_its_sample(tmp_path: Path) -> None:
    """An empty image fails its own row; a member that is cut off, or a key that repeats, fails all."""
    made = [("a.0.jpg", b""), ("a.1.jpg", b"x"), ("b.0.jpg", b"x"), ("a.1.jpg", b"again"), ("a.2.jpg", b"x")]
    path = write_tar(tmp_path / "0.tar", [*made, ("b.1.jpg", b"x"), ("b.txt", b"x" * 600)])
    path.write_bytes(path.read_bytes()[:6300])
    table = index(path)
    cut = "truncated tar: 'b.txt' goes to byte 6744, the file only to byte 6300"
    repeated = "duplicate key: the shard has it at position 0 already"
    assert list(zip(table["key"].to_pylist(), table["_error"].to_pylist(), strict=True)) == [
        *(("a", "empty image"), ("a", None), ("b", cut), ("b", cut), ("a", repeated), ("a", repeated)),
    ]
    assert table["_sample"].to_pylist() == [0, 0, 2, 2, 4, 4]


def test_positions_of_repeated_keys_are_those_of_rows(tmp_path: Path) -> None:
    """Not those of samples."""
    made = [("a.0.jpg", b"x"), ("a.1.jpg", b"x"), ("b.jpg", b"x"), ("b.jpg", b"x"), ("b.jpg", b"x")]
    table = index(write_tar(tmp_path / "0.tar", made))
    reason = "duplicate key: the shard has it at position 2 already"
    assert table["_error"].to_pylist() == [None, None, None, reason, reason]


def test_rows_of_an_own_export_are_joined_by_key_and_field(tmp_path: Path) -> None:
    """The column is not read twice; an image without a row has nulls, a row without an image is counted."""
    rows = [("a", "1.png", 0.1), ("b", "jpg", 0.3), ("a", "2.jpg", 0.4), ("a", "1.png", 0.5)]
    parquet = pa.Table.from_pylist([{"key": key, "image_field": field, "score": s} for key, field, s in rows])
    path = write_tar(tmp_path / "0.tar", SEVERAL)
    write_shard(tmp_path / "1.tar", [], parquet)
    (tmp_path / "1.parquet").rename(tmp_path / "0.parquet")
    table = index(path, metadata="parquet")
    assert table["score"].to_pylist() == [None, 0.1, 0.3, None]
    assert table["image_field"].to_pylist() == ["0.jpg", "1.png", "jpg", None]
    assert [count(table, name) for name in ("parquet_rows_without_sample", "parquet_ids_repeated")] == [1, 1]
    assert count(table, "samples_without_parquet_row") == 1  # and what has no image has no row to miss


def test_the_first_image_has_its_own_row_of_an_export(tmp_path: Path) -> None:
    """Where it has none, and where the column means something else, any row of the key does."""
    made = [("a.depth.png", b"x"), ("a.jpg", b"x"), ("b.png", b"x")]
    rows = [
        {"key": key, "image_field": field, "score": score}
        for key, field, score in [("a", "depth.png", 1), ("a", "jpg", 2), ("b", "other", 3), ("b", None, 4)]
    ]
    path = write_tar(tmp_path / "0.tar", made)
    write_shard(tmp_path / "1.tar", [], rows)
    (tmp_path / "1.parquet").rename(tmp_path / "0.parquet")
    table = index(path, "first")
    assert table["score"].to_pylist() == [2, 3]
    assert table["image_field"].to_pylist() == ["jpg", "other"]
    assert index(path, "all")["score"].to_pylist() == [1, 2, None]


def test_integer_ids_of_an_own_export(tmp_path: Path) -> None:
    """They match padded keys as ever."""
    path = write_tar(tmp_path / "0.tar", [("007.0.jpg", b"x"), ("007.1.jpg", b"x")])
    write_shard(tmp_path / "1.tar", [], pa.table({"key": [7, 7], "image_field": ["1.jpg", "0.jpg"], "n": [1, 0]}))
    (tmp_path / "1.parquet").rename(tmp_path / "0.parquet")
    assert index(path)["n"].to_pylist() == [0, 1]


def test_a_parquet_by_key_counts_samples(tmp_path: Path) -> None:
    """Every image of a sample has its row; what is missing is missing once."""
    path = write_tar(tmp_path / "0.tar", [("a.0.jpg", b"x"), ("a.1.jpg", b"x"), ("b.0.jpg", b"x"), ("b.1.jpg", b"x")])
    write_shard(tmp_path / "1.tar", [], [{"key": "a", "n": 1, "caption": "both"}])
    (tmp_path / "1.parquet").rename(tmp_path / "0.parquet")
    table = index(path)
    assert table["n"].to_pylist() == [1, 1, None, None]
    assert table["caption"].to_pylist() == ["both", "both", None, None]
    assert count(table, "samples_without_parquet_row") == 1


def test_a_sample_of_countless_images_and_texts_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its rows would list every text with every image; many of the one are no harm."""
    monkeypatch.setattr("imagecurate.shards.rows._MOST_BESIDE", 3)
    made = [(f"{key}.{number}.{kind}", b"x") for key, kind in [("a", "jpg"), ("b", "jpg")] for number in range(5)]
    table = index(write_tar(tmp_path / "0.tar", [*made, *((f"a.{number}.txt", b"x") for number in range(4))]))
    assert table["key"].to_pylist() == ["a"] + ["b"] * 5
    assert table["_error"].to_pylist() == ["too many members: 5 images beside 4 others"] + [None] * 5
    assert len(table["_members"][0]) == 9


@pytest.mark.parametrize("name", ["a", "folder/a", "./a", "a.image", "a.bin", "a.0", "a."])
def test_an_image_shows_itself(tmp_path: Path, name: str) -> None:
    """Whatever it is called, where no other member says that it is the image."""
    path = write_tar(tmp_path / "0.tar", [(name, GIF), (f"{name.rpartition('.')[0] or 'a'}.txt", b"x")][:1])
    table = index(path, "first")
    plain = name.removeprefix("./")
    assert table["key"].to_pylist() == [plain.partition(".")[0]]
    assert table["_image_name"].to_pylist() == [plain]
    assert table["_image_size"].to_pylist() == [26]
    assert count(table, "images_without_extension") == 1
    assert index(path)["image_field"].to_pylist() == [plain.partition(".")[2]]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF", "JPEG2000"])
def test_formats_that_show_themselves(tmp_path: Path, kind: str) -> None:
    """As Pillow writes them."""
    table = index(write_tar(tmp_path / "0.tar", [("000", picture(format=kind)), ("000.txt", b"x")]), "first")
    assert table["_error"].to_pylist() == [None]
    assert members(table) == [["000", "000.txt"]]


@pytest.mark.parametrize(
    "data",
    [
        b"\0\0\0\x18ftypheic" + bytes(16),
        b"\0\0\0\x0cJXL \r\n\x87\n",
        b"\xff\x0a" + bytes(16),
        b"II*\0\x08\0\0\0",
        b"MM\0*\0\0\0\x08",
    ],
)
def test_formats_that_pillow_does_not_write(tmp_path: Path, data: bytes) -> None:
    """Whether they can be decoded is another question."""
    assert index(write_tar(tmp_path / "0.tar", [("000", data)]), "first")["key"].to_pylist() == ["000"]


@pytest.mark.parametrize(
    "data", [b"", b"BM", b"BMW i3, red, 2019 model", b"RIFF....WAVE", b"\0\0\0\x18ftypisom", b"II"]
)
def test_what_shows_no_image_stays_what_it_was(tmp_path: Path, data: bytes) -> None:
    """A name without a dot belongs to no sample, an unknown extension is no image."""
    table = index(write_tar(tmp_path / "0.tar", [("README", data), ("a.bin", data), ("a.txt", GIF)]), "first")
    assert table["key"].to_pylist() == ["a"]
    assert table["_error"].to_pylist() == ["no image"]
    assert members(table) == [["a.bin", "a.txt"]]
    assert (count(table, "members_ignored"), count(table, "images_without_extension")) == (1, 0)


def test_an_extension_goes_before_first_bytes(tmp_path: Path) -> None:
    """Wherever the members lie; litter shows nothing."""
    made = [("a", GIF), ("a.bin", GIF), ("a.mask.png", b"mask"), ("a.other", GIF), ("b.x.bin", GIF), ("b.bin", GIF)]
    made += [("._c", GIF), (".c", GIF), ("__MACOSX/c", GIF), ("folder/", b"")]
    path = write_tar(tmp_path / "0.tar", made)
    table = index(path, "first")
    assert table["_image_name"].to_pylist() == ["a.mask.png", "b.bin"]
    assert count(table, "images_without_extension") == 1
    assert count(table, "images_further") == 1
    assert count(table, "members_ignored") == 4
    table = index(path)
    assert table["image_field"].to_pylist() == ["mask.png", "x.bin", "bin"]
    assert members(table)[0] == ["a", "a.bin", "a.mask.png", "a.other"]
    assert count(table, "images_without_extension") == 2


def test_links_show_what_they_link_to(tmp_path: Path) -> None:
    """A hard link that is; a symbolic one that says it is the image keeps its sample from having one."""
    path = tmp_path / "0.tar"
    hard, soft = tarfile.LNKTYPE, tarfile.SYMTYPE
    with tarfile.open(path, "w") as tar:
        for name, kind in [("a.jpg", tarfile.REGTYPE), ("b.bin", hard), ("c.jpg", soft), ("c.bin", hard), ("d", soft)]:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "a.jpg"
            info.size = len(GIF) if kind == tarfile.REGTYPE else 0
            tar.addfile(info, io.BytesIO(GIF))
    table = index(path, "first")
    assert table["key"].to_pylist() == ["a", "b", "c"]
    assert table["_error"].to_pylist() == [None, None, "image is a symbolic link"]
    assert table["_image_size"].to_pylist() == [26, 26, None]


FIELDS = ["jpg", "png", "0.jpg", "depth.png", "txt", "a.txt", "json", "cls", "bin", "0.bin"]


@st.composite
def tars(draw: st.DrawFn) -> list[tuple[str, bytes]]:
    """Members of a few samples in any order, names repeated, some showing an image without saying so."""
    names = st.tuples(st.sampled_from("abc"), st.sampled_from(FIELDS)).map(".".join) | st.sampled_from("abc")
    return draw(st.lists(st.tuples(names, st.sampled_from([GIF, b"{}", b""])), max_size=14))


def images_of(sample: Sequence[tuple[str, bytes]]) -> list[int]:
    """Positions of the images in the members of a sample, by the rules."""
    named = [n for n, (name, _) in enumerate(sample) if name.endswith((".jpg", ".png"))]
    shown = [n for n, (name, data) in enumerate(sample) if data == GIF and not name.endswith((".txt", ".json"))]
    return named or shown


def grouped(made: Sequence[tuple[str, bytes]]) -> list[list[tuple[str, bytes]]]:
    """Members by sample: a name that its sample has opens another."""
    found: list[list[tuple[str, bytes]]] = []
    last: dict[str, list[tuple[str, bytes]]] = {}
    for name, data in made:
        key = name.partition(".")[0]
        if "." not in name and data != GIF:
            continue
        if key not in last or any(name == other for other, _ in last[key]):
            last[key] = []
            found.append(last[key])
        last[key].append((name, data))
    return found


@given(made=tars())
@settings(deadline=None)
def test_rows_are_the_images_of_samples(made: list[tuple[str, bytes]], tmp_path_factory: Any) -> None:
    """Each image is in one row, each other member in all; what a row a sample gives is among them."""
    path = tmp_path_factory.mktemp("images", numbered=True) / "0.tar"
    path.write_bytes(tar_bytes(made))
    first, every = index(path, "first"), index(path, "all")
    samples = grouped(made)
    assert members(first) == [[name for name, _ in sample] for sample in samples]
    expected = []
    for sample in samples:
        images = images_of(sample)
        names = [name for name, _ in sample]
        for own in images or [-1]:
            kept = [name for n, name in enumerate(names) if n == own or n not in images]
            expected.append((kept, names[own] if own >= 0 else None))
    assert list(zip(members(every), every["_image_name"].to_pylist(), strict=True)) == expected
    starts = [sum(max(1, len(images_of(sample))) for sample in samples[:n]) for n in range(len(samples))]
    owner = every["_sample"].to_pylist()
    assert sorted(set(owner)) == starts
    assert owner == sorted(owner)
    shared = ["key", "caption", "captions", "json_extra"]
    by_sample = every.take(pa.array(starts, pa.int64()))
    for column in set(shared) & set(first.column_names):
        assert by_sample[column].to_pylist() == first[column].to_pylist()
    chosen = set(zip(every["key"].to_pylist(), every["_image_offset"].to_pylist(), strict=True))
    for row in first.to_pylist():
        assert row["_error"] is not None or (row["key"], row["_image_offset"]) in chosen


def test_ids_of_images_are_no_ids_of_samples(tmp_path: Path) -> None:
    """The same position is another row; who names rows from afar, as duplicates do, says the same."""
    same = picture(1)
    write_tar(tmp_path / "data" / "0.tar", [("a.0.jpg", picture(0)), ("a.1.jpg", same), ("b.jpg", same)])
    first, every = (
        ic.read_webdataset(str(tmp_path / "data"), workdir=tmp_path / "work", images=images)  # type: ignore[arg-type]
        for images in ("first", "all")
    )
    assert first.metadata.sample_id.compute().tolist() == ["default/0#0", "default/0#1"]
    assert every.ledger().sample_id.compute().tolist() == ["default/0#img0", "default/0#img1", "default/0#img2"]
    duplicates = every.pipe(ic.ExactDeduplicator()).metadata.exact_duplicate_of.compute()
    assert duplicates.dropna().tolist() == ["default/0#img1"]
