"""Indexing shards: samples, reasons, captions, columns."""

from __future__ import annotations

import dataclasses
import gzip
import io
import json
import random
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from making import (
    Sample,
    careless_shard,
    img2dataset_shard,
    legacy_nemo_shard,
    picture,
    samples,
    tar_bytes,
    write_shard,
    write_tar,
)
from webdataset.tariterators import group_by_keys, tar_file_expander

from imagecurate.shards import InputSchema, Shard, discover_schema, find_shards, index_shard, open_shard

NO_COLUMNS = InputSchema({"caption": pa.string()}, {}, metadata="none")


def index(path: Path, schema: InputSchema | None = None, **options: Any) -> pa.Table:
    """Index one shard by the schema that is found in it."""
    (shard,) = find_shards(path)
    schema = schema or discover_schema([shard], **options)
    with open_shard(shard) as source:
        table = index_shard(source, shard, schema)
    table.validate(full=True)
    assert table.column_names[6:] == list(schema.fields)
    assert {name: table.schema.field(name).type for name in schema.fields} == dict(schema.fields)
    return table


def counts(table: pa.Table) -> dict[str, int]:
    """What was noticed, where it is not 0."""
    every: dict[str, int] = json.loads(table.schema.metadata[b"imagecurate.counts"])
    assert all(type(count) is int for count in every.values())
    return {name: count for name, count in every.items() if count}


def reasons(table: pa.Table) -> dict[str | None, str]:
    """Reason by key, of the rows that have one."""
    return {row["key"]: row["_error"] for row in table.to_pylist() if row["_error"] is not None}


def with_links(path: Path, members: list[tuple[str, bytes | None, bytes, str]]) -> Path:
    """Write a tar of (name, data, type, link)."""
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        for name, data, kind, link in members:
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.size = kind, link, len(data or b"")
            tar.addfile(info, io.BytesIO(data or b""))
    return path


def test_a_plain_shard(tmp_path: Path) -> None:
    """One row a sample, with caption, fields, and the image where the row says it is."""
    made = samples(3)
    path = write_shard(tmp_path / "0.tar", made)
    table = index(path)
    assert table["key"].to_pylist() == ["000000000", "000000001", "000000002"]
    assert table["_error"].null_count == 3
    assert table["caption"].to_pylist() == [f"picture number {number}" for number in range(3)]
    assert table["score"].to_pylist() == [0.0, 0.25, 0.5]
    assert table["json_extra"].to_pylist() == [None] * 3
    data = path.read_bytes()
    for row, (_, fields) in zip(table.to_pylist(), made, strict=True):
        assert data[row["_image_offset"] :][: row["_image_size"]] == fields["jpg"]
        assert row["_image_name"] == f"{row['key']}.jpg"
    assert counts(table) == {"samples": 3}


def test_members_tell_an_exporter_what_to_copy(tmp_path: Path) -> None:
    """From the first header block to the end of the padding, extension headers included."""
    path = write_tar(tmp_path / "0.tar", [("k" * 150 + ".jpg", b"x" * 700), ("k" * 150 + ".cls", b"7")])
    table = index(path)
    (members,) = table["_members"].to_pylist()
    assert [(member["name"][150:], member["start"], member["offset"], member["size"]) for member in members] == [
        (".jpg", 0, 1536, 700),
        (".cls", 2560, 4096, 1),
    ]
    assert all(member["verbatim"] for member in members)


def test_a_careless_shard_is_grouped_as_webdataset_names_it(tmp_path: Path) -> None:
    """Folders, dots, scattered members and capitals; litter is ignored and counted."""
    table = index(careless_shard(tmp_path / "0.tar"))
    assert table["key"].to_pylist() == ["a/22", "v1.0/000", "long" + "g" * 146, "ünï cödé", "textonly"]
    assert table["caption"].to_pylist() == [
        "a picture in a folder",
        "a picture in a version",
        None,
        None,
        "words without a picture",
    ]
    names = [[member["name"] for member in members] for members in table["_members"].to_pylist()]
    assert names[:2] == [["a/22.05.png", "a/22.05.txt"], ["v1.0/000.jpg", "v1.0/000.txt"]]
    assert reasons(table) == {"textonly": "no image"}
    assert counts(table) == {"samples": 5, "members_ignored": 4}


@pytest.mark.parametrize(
    ("names", "image"),
    [
        (["a.depth.png", "a.jpg"], "a.jpg"),
        (["a.0.jpg", "a.1.jpg", "a.webp", "a.jpg"], "a.webp"),
        (["a.jpg", "a.mask.png"], "a.jpg"),
        (["a.1.jpg", "a.0.jpg", "a.txt"], "a.1.jpg"),
    ],
)
def test_the_image_is_the_plain_one(tmp_path: Path, names: list[str], image: str) -> None:
    """Depth and masks sort before the picture that they belong to."""
    table = index(write_tar(tmp_path / "0.tar", [(name, name.encode()) for name in names]))
    (row,) = table.to_pylist()
    assert (row["_image_name"], row["_image_size"], row["_error"]) == (image, len(image), None)


@pytest.mark.parametrize("maker", [img2dataset_shard, legacy_nemo_shard])
def test_samples_are_those_of_webdataset(tmp_path: Path, maker: Any) -> None:
    """Keys, and the bytes of every field, as webdataset reads them."""
    path = maker(tmp_path)
    table, data = index(path), path.read_bytes()
    ours = [
        (row["key"], {m["name"].partition(".")[2]: data[m["offset"] :][: m["size"]] for m in row["_members"]})
        for row in table.to_pylist()
    ]
    with path.open("rb") as stream:
        theirs = [
            (sample["__key__"], {field: value for field, value in sample.items() if not field.startswith("__")})
            for sample in group_by_keys(tar_file_expander([{"url": str(path), "stream": stream}]))
        ]
    assert ours == theirs


def test_img2dataset_rows_of_failed_downloads_have_no_sample(tmp_path: Path) -> None:
    """The parquet has a row for each URL that was tried; those without members are counted."""
    table = index(img2dataset_shard(tmp_path, 3, count=6, failed=[0, 4]))
    assert table["key"].to_pylist() == ["000030002", "000030005", "000030001", "000030003"]
    assert table["url"].to_pylist() == [f"https://example.com/3/{number}.jpg" for number in (2, 5, 1, 3)]
    assert counts(table) == {"samples": 4, "parquet_rows": 6, "parquet_rows_without_sample": 2}
    assert "json_extra" not in table.column_names  # the parquet has every field of the JSON


@pytest.mark.parametrize("integer_ids", [False, True])
def test_integer_ids_match_padded_keys(tmp_path: Path, integer_ids: bool) -> None:
    """Id 10003 is key 000010003."""
    table = index(legacy_nemo_shard(tmp_path, 1, count=4, integer_ids=integer_ids))
    assert table["url"].to_pylist() == [f"https://example.com/{number}" for number in range(4)]
    assert counts(table) == {"samples": 4, "parquet_rows": 4}


@pytest.mark.parametrize(
    ("kind", "ids", "keys"),
    [
        (pa.int64(), [-(2**63), 1234567890123456789, 7], [f"{-(2**63)}", "1234567890123456789", "7"]),
        (pa.uint64(), [0, 2**64 - 1, 7], ["000", f"000{2**64 - 1}", "07"]),
        (pa.int8(), [-128, 127, 7], ["-00128", "127", "0000000000000000000000007"]),
    ],
)
def test_integer_ids_of_any_width_match(tmp_path: Path, kind: pa.DataType, ids: list[int], keys: list[str]) -> None:
    """Snowflakes and the ends of each range, padded or not; keys that are no numbers match none."""
    made: list[Sample] = [(key, {"jpg": b"x"}) for key in [*keys, "007a", "-", "0x7", "7-0"]]
    rows = pa.table({"key": pa.array(ids, kind), "n": [0, 1, 2]})
    table = index(write_shard(tmp_path / "0.tar", made, rows), metadata="parquet")
    assert table["n"].to_pylist() == [0, 1, 2, None, None, None, None]


def test_the_parquet_is_joined_by_key(tmp_path: Path) -> None:
    """Never by position; what has no partner on either side is null and counted, of repeated ids the first wins."""
    rows = [
        {"key": "000000002", "score": 2},
        {"key": "elsewhere", "score": -1},
        {"key": "000000000", "score": 0},
        {"key": "000000000", "score": 99},
        {"key": None, "score": 98},
    ]
    table = index(write_shard(tmp_path / "0.tar", samples(3), rows), metadata="parquet")
    assert table["score"].to_pylist() == [0, None, 2]
    assert counts(table) == {
        "samples": 3,
        "parquet_rows": 5,
        "parquet_rows_without_sample": 2,
        "parquet_ids_repeated": 1,
        "samples_without_parquet_row": 1,
    }


def test_a_damaged_parquet_is_counted(tmp_path: Path) -> None:
    """Its columns are null; the samples are there."""
    path = write_shard(tmp_path / "0.tar", samples(2), [{"key": "000000000", "score": 1}])
    (shard,) = find_shards(path)
    schema = discover_schema([shard], metadata="parquet")
    path.with_suffix(".parquet").write_bytes(b"PAR1 is all that is left")
    table = index(path, schema)
    assert table["score"].to_pylist() == [None, None]
    assert counts(table) == {"samples": 2, "parquet_unreadable": 1}
    other = discover_schema(find_shards(path), metadata="auto")
    assert "width" in other.fields  # the JSON is still there


def test_a_parquet_that_is_gone_is_no_damage(tmp_path: Path) -> None:
    """What cannot be read at all says nothing about the data, and must not be kept as an index."""
    path = write_shard(tmp_path / "0.tar", samples(1), [{"key": "000000000"}])
    (shard,) = find_shards(path)
    schema = discover_schema([shard])
    path.with_suffix(".parquet").unlink()
    with open_shard(shard) as source, pytest.raises(FileNotFoundError):
        index_shard(source, shard, schema)


def test_json_stands_in_for_a_parquet_that_a_shard_lacks(tmp_path: Path) -> None:
    """In one dataset some shards may have a parquet and some not."""
    write_shard(tmp_path / "0.tar", samples(1), [{"key": "000000000", "width": 7, "height": 8, "score": 0.5}])
    write_shard(tmp_path / "1.tar", samples(1))
    shards = find_shards(tmp_path)
    schema = discover_schema(shards)
    tables = []
    for shard in shards:
        with open_shard(shard) as source:
            tables.append(index_shard(source, shard, schema))
    assert [table["width"].to_pylist() for table in tables] == [[7], [48]]


def test_fields_that_no_parquet_has_come_from_json(tmp_path: Path) -> None:
    """Beside those of the parquet, which win where both have one."""
    table = index(write_shard(tmp_path / "0.tar", samples(2), [{"key": "000000001", "width": 1}]))
    assert table["width"].to_pylist() == [None, 1]
    assert table["height"].to_pylist() == [48, 48]


CAPTIONED: Mapping[str, Any] = {"jpg": picture(), "txt": "from text", "json": {"caption": "from JSON"}}


@pytest.mark.parametrize(
    ("fields", "parquet", "expected", "differs"),
    [
        (("jpg", "txt", "json"), "from parquet", "from text", 1),
        (("jpg", "txt", "json"), None, "from text", 1),
        (("jpg", "txt"), "from parquet", "from text", 1),
        (("jpg", "txt"), " from text\n", "from text", 0),
        (("jpg", "json"), "from parquet", "from parquet", 0),
        (("jpg", "json"), None, "from JSON", 0),
        (("jpg",), None, None, 0),
    ],
)
def test_the_caption_is_text_then_parquet_then_json(
    tmp_path: Path, fields: tuple[str, ...], parquet: str | None, expected: str | None, differs: int
) -> None:
    """Differences between those that are read are counted; where the parquet has the caption, the JSON is not."""
    sample: Sample = ("0", {field: CAPTIONED[field] for field in fields})
    rows = None if parquet is None else [{"key": "0", "caption": parquet}]
    table = index(write_shard(tmp_path / "0.tar", [sample], rows))
    assert table["caption"].to_pylist() == [expected]
    assert counts(table).get("caption_differs", 0) == differs


def test_captions_are_kept_to_the_letter(tmp_path: Path) -> None:
    """Blanks and line ends stay; a byte order mark goes; bytes that are no UTF-8 are replaced and counted."""
    texts = [b" two words \n", b"\xef\xbb\xbfmarked", b"caf\xe9", "already �".encode(), b""]
    made: list[Sample] = [(str(number), {"jpg": picture(), "txt": text}) for number, text in enumerate(texts)]
    table = index(write_shard(tmp_path / "0.tar", made))
    assert table["caption"].to_pylist() == [" two words \n", "marked", "caf�", "already �", ""]
    assert counts(table) == {"samples": 5, "captions_not_utf8": 1}


def test_the_text_of_the_plain_name_is_the_caption(tmp_path: Path) -> None:
    """Of several texts ``key.txt`` counts, else the first; so it is with JSON."""
    members = [
        ("0.jpg", b"x"), ("0.long.txt", b"long"), ("0.txt", b"plain"), ("0.short.txt", b"short"),
        ("1.jpg", b"x"), ("1.a.txt", b"first"), ("1.b.txt", b"second"),
        ("0.box.json", b'{"n": 1}'), ("0.json", b'{"n": 2}'), ("1.a.json", b'{"n": 3}'), ("1.b.json", b'{"n": 4}'),
    ]  # fmt: skip
    table = index(write_tar(tmp_path / "0.tar", members))
    assert table["caption"].to_pylist() == ["plain", "first"]
    assert table["n"].to_pylist() == [2, 3]


def test_later_fields_and_values_go_to_json_extra(tmp_path: Path) -> None:
    """The schema is that of the first shard; nothing of a later one is lost."""
    first: list[Sample] = [
        ("0", {"jpg": picture(), "json": {"key": "0", "width": 640, "tags": ["a", "b"], "ok": True}})
    ]
    later: list[Sample] = [
        ("1", {"jpg": picture(), "json": {"width": "wide", "tags": "c", "new": {"ü": 1}, "ok": 0}}),
        ("2", {"jpg": picture(), "json": {"width": 7.0, "tags": None, "ok": False}}),
        ("3", {"jpg": picture(), "json": '{"width": '}),
        ("4", {"jpg": picture(), "json": "[1, 2]"}),
        ("5", {"jpg": picture(), "json": '{"tags": "half \\ud800 pair", "big": 1e999}'}),
        ("6", {"jpg": picture()}),
        ("7", {"jpg": picture(), "json": "[" * 100_000}),
    ]
    write_shard(tmp_path / "0.tar", first)
    schema = discover_schema(find_shards(tmp_path))
    table = index(write_shard(tmp_path / "1.tar", later), schema)
    assert table["width"].to_pylist() == [None, 7, None, None, None, None, None]
    assert table["tags"].to_pylist() == ["c", None, None, None, "half ? pair", None, None]
    assert table["ok"].to_pylist() == [None, False, None, None, None, None, None]
    extra = [None if text is None else json.loads(text) for text in table["json_extra"].to_pylist()]
    assert extra == [{"new": {"ü": 1}, "width": "wide", "ok": 0}, None, None, None, {"big": float("inf")}, None, None]
    assert counts(table) == {"samples": 7, "json_damaged": 3, "json_values_misfit": 2}
    assert index(tmp_path / "0.tar", schema)["tags"].to_pylist() == ['["a", "b"]']


def test_many_documents_are_taken_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks do not show, even where members of a sample are far apart."""
    monkeypatch.setattr("imagecurate.shards.documents._BLOCK", 3)
    pictures = [(f"{number}.jpg", b"x") for number in range(10)]
    documents = [(f"{number}.json", b'{"n": %d}' % number) for number in range(9, -1, -1) if number != 4]
    table = index(write_tar(tmp_path / "0.tar", pictures + documents))
    assert table["n"].to_pylist() == [0, 1, 2, 3, None, 5, 6, 7, 8, 9]


def test_a_key_that_repeats_fails_the_later_sample(tmp_path: Path) -> None:
    """The first stays; members go to the sample that is open."""
    members = [
        ("a.jpg", b"1"),
        ("a.txt", b"one"),
        ("b.jpg", b"2"),
        ("a.JPG", b"3"),
        ("a.txt", b"three"),
        ("a.jpg", b"4"),
    ]
    table = index(write_tar(tmp_path / "0.tar", members))
    assert table["key"].to_pylist() == ["a", "b", "a", "a"]
    reason = "duplicate key: the shard has it at position 0 already"
    assert table["_error"].to_pylist() == [None, None, reason, reason]
    assert table["caption"].to_pylist() == ["one", None, "three", None]
    assert table["_image_offset"].to_pylist() == [512, 512 * 5, None, None]


def test_every_reason_for_which_a_sample_fails(tmp_path: Path) -> None:
    """Links are not followed out of the tar, names not out of the folder."""
    file, hard, soft = tarfile.REGTYPE, tarfile.LNKTYPE, tarfile.SYMTYPE
    path = with_links(
        tmp_path / "0.tar",
        [
            ("good.jpg", b"pixels", file, ""),
            ("none.txt", b"words", file, ""),
            ("empty.jpg", b"", file, ""),
            ("soft.jpg", None, soft, "good.jpg"),
            ("softtext.jpg", b"x", file, ""),
            ("softtext.txt", None, soft, "/etc/passwd"),
            ("hard.jpg", None, hard, "good.jpg"),
            ("harder.jpg", None, hard, "./hard.jpg"),
            ("lost.jpg", None, hard, "nowhere.jpg"),
            ("/abs.jpg", b"x", file, ""),
            ("a/../../up.jpg", b"x", file, ""),
        ],
    )
    table = index(path)
    assert reasons(table) == {
        "none": "no image",
        "empty": "empty image",
        "soft": "image is a symbolic link",
        "lost": "hard link to nothing: 'lost.jpg' to 'nowhere.jpg', which does not come before it",
        "/abs": "unsafe member name: '/abs.jpg'",
        "a/../../up": "unsafe member name: 'a/../../up.jpg'",
    }
    rows = {row["key"]: row for row in table.to_pylist()}
    for key in ("good", "hard", "harder"):
        assert (rows[key]["_image_offset"], rows[key]["_image_size"]) == (512, 6)
        assert [member["verbatim"] for member in rows[key]["_members"]] == [key == "good"]
    assert rows["softtext"]["caption"] is None
    assert [member["name"] for member in rows["softtext"]["_members"]] == ["softtext.jpg"]


def test_sparse_members_fail_their_sample(tmp_path: Path) -> None:
    """Their bytes in the tar are not those of the file."""
    info = tarfile.TarInfo("a.jpg")
    records = info._create_pax_generic_header({"GNU.sparse.major": "1"}, b"x", "utf-8")  # type: ignore[attr-defined]
    path = tmp_path / "0.tar"
    path.write_bytes(records + info.tobuf(tarfile.USTAR_FORMAT) + tar_bytes([("b.jpg", b"x")]))
    assert reasons(index(path)) == {"a": "sparse member: 'a.jpg'"}


def test_a_truncated_shard_keeps_what_is_whole(tmp_path: Path) -> None:
    """Cut in the data, the sample says so; cut in a header, a row without a key does."""
    path = write_tar(tmp_path / "0.tar", [("a.jpg", b"x" * 600), ("b.txt", b"words"), ("b.jpg", b"y" * 600)])
    whole = path.read_bytes()
    path.write_bytes(whole[:3300])
    table = index(path)
    assert table["key"].to_pylist() == ["a", "b"]
    assert reasons(table) == {"b": "truncated tar: 'b.jpg' goes to byte 3672, the file only to byte 3300"}
    assert table["caption"].to_pylist() == [None, "words"]
    path.write_bytes(whole[:2600])
    table = index(path)
    assert table["key"].to_pylist() == ["a", "b", None]
    assert reasons(table) == {
        "b": "no image",
        None: "truncated tar: the file ends within the header at byte 2560",
    }
    assert counts(table) == {"samples": 2, "places_damaged": 1}


def test_a_member_without_its_padding_cannot_be_copied_as_it_is(tmp_path: Path) -> None:
    """Its data is whole, so the sample is; the exporter pads."""
    path = tmp_path / "0.tar"
    path.write_bytes(tar_bytes([("a.jpg", b"x" * 600)])[: 512 + 600])
    table = index(path)
    assert not reasons(table)
    assert [member["verbatim"] for member in table["_members"][0].as_py()] == [False]


def test_several_damaged_places_make_one_row(tmp_path: Path) -> None:
    """It names the first."""
    data = bytearray(tar_bytes([(f"{number}.jpg", b"x") for number in range(6)]))
    data[1024:1030] = data[4096:4102] = b"\xff" * 6
    path = tmp_path / "0.tar"
    path.write_bytes(data)
    table = index(path)
    assert table["key"].to_pylist() == ["0", "2", "3", "5", None]
    assert table["_error"].to_pylist()[-1] == (
        "tar damaged: at byte 1024: no valid header; the next whole header is at byte 2048; damaged in 1 more places"
    )


@pytest.mark.parametrize(
    ("data", "reason"),
    [(b"no tar at all", "not a tar file"), (b"\x1f\x8b\x08\0", "gzip-compressed"), (b"", "empty file")],
)
def test_what_is_no_tar_is_one_row(tmp_path: Path, data: bytes, reason: str) -> None:
    """Without a key, with a reason; every column is there."""
    path = tmp_path / "0.tar"
    path.write_bytes(data)
    table = index(path, InputSchema({"caption": pa.string(), "n": pa.int64()}, {"n": "n"}))
    assert table["key"].to_pylist() == [None]
    assert table["_error"].to_pylist()[0].startswith(reason)
    assert table["_members"].to_pylist() == [[]]


def test_a_compressed_shard_that_is_cut_off_says_so(tmp_path: Path) -> None:
    """What could be unpacked is there; that the tar inside ends too early follows from it."""
    rng = random.Random(1)
    packed = gzip.compress(tar_bytes([(f"{number}.jpg", rng.randbytes(5000)) for number in range(4)]))
    path = tmp_path / "0.tar.gz"
    path.write_bytes(packed[: len(packed) * 3 // 4])
    table = index(path)
    assert table["key"].to_pylist() == ["0", "1", "2", "3", None]
    *sound, cut, damage = table["_error"].to_pylist()
    assert sound == [None] * 3
    assert cut.startswith("truncated tar: '3.jpg' goes to byte 22408")
    assert damage.startswith("gzip-compressed tar cut off; it unpacks to byte ")
    assert counts(table)["places_damaged"] == 1


def test_a_shard_without_an_end_mark_is_noticed(tmp_path: Path) -> None:
    """What it holds is whole, so no sample fails."""
    path = tmp_path / "0.tar"
    path.write_bytes(tar_bytes([("a.jpg", b"x"), ("b.jpg", b"y")])[:1024])
    table = index(path)
    assert table["key"].to_pylist() == ["a"]
    assert not reasons(table)
    assert counts(table) == {"samples": 1, "end_mark_missing": 1}


@pytest.mark.parametrize("blocks", [1, 20])
def test_an_empty_shard_has_no_rows(tmp_path: Path, blocks: int) -> None:
    """A tar of an end mark alone, but all columns."""
    path = tmp_path / "0.tar"
    path.write_bytes(bytes(512 * blocks))
    table = index(path)
    assert table.num_rows == 0
    assert counts(table) == {}


def test_columns_that_a_shard_lacks_are_null(tmp_path: Path) -> None:
    """Every shard has the schema, values that do not fit are null and counted."""
    schema = InputSchema(
        {"caption": pa.string(), "width": pa.int32(), "when": pa.timestamp("s"), "v": pa.list_(pa.float32())},
        {"width": "width", "when": "when", "v": "v"},
        metadata="parquet",
    )
    rows = pa.table({"key": ["000000000", "000000001"], "width": ["640", "wide"], "v": [[0.5, 1.0], None]})
    table = index(write_shard(tmp_path / "0.tar", samples(2), rows), schema)
    assert table["width"].to_pylist() == [640, None]
    assert table["when"].to_pylist() == [None, None]
    assert table["v"].to_pylist() == [[0.5, 1.0], None]
    assert counts(table)["parquet_values_misfit"] == 1


def test_ids_of_another_column(tmp_path: Path) -> None:
    """It stays as a column; floats that pandas made of integers are integers."""
    rows = pa.table({"uid": pa.array([1.0, None, 0.0]), "score": [10, 11, 12]})
    table = index(write_shard(tmp_path / "0.tar", samples(2), rows), id_col="uid", metadata="parquet")
    assert table["uid"].to_pylist() == [0.0, 1.0]
    assert table["score"].to_pylist() == [12, 10]


@given(
    cut=st.integers(0, 12_000),
    flips=st.lists(st.tuples(st.integers(0, 12_000), st.integers(0, 255)), max_size=6),
    variant=st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
    images=st.sampled_from(["first", "all"]),
)
@settings(deadline=None)
def test_hostile_shards_never_raise(
    cut: int, flips: list[tuple[int, int]], variant: int, images: str, tmp_path_factory: Any
) -> None:
    """Cut and flipped anywhere, an index has every column and lists ranges that the file has."""
    members = [
        ("./a/0.jpg", b"x" * 600),
        ("a/0.txt", b"words"),
        ("a/0.json", b'{"n": 1}'),
        ("b" * 60 + "/" + "b" * 60 + ".jpg", b"y"),
        ("a/0.1.jpg", b"z"),
        ("c", b"GIF89a"),
    ]
    data = bytearray(tar_bytes(members, variant, mtime=0.5)[:cut])
    for position, value in flips:
        if position < len(data):
            data[position] = value
    path = tmp_path_factory.mktemp("hostile", numbered=True) / "0.tar"
    path.write_bytes(data)
    schema = dataclasses.replace(NO_COLUMNS, metadata="json", read_json=True, images=images)
    (shard,) = find_shards(path)
    with open_shard(shard) as source:
        table = index_shard(source, shard, schema)
    table.validate(full=True)
    for row in table.to_pylist():
        assert all(member["offset"] + member["size"] <= len(data) for member in row["_members"])
        assert (row["_image_offset"] is None) == (row["_error"] is not None)
        assert row["key"] is not None or row["_error"]


def test_shards_are_told_apart_by_what_identifies_them() -> None:
    """The token does not know where the dataset lies; the metadata's knows the parquet."""
    shard = Shard("default", "00000", "/a/00000.tar", 10, "1", "/a/00000.parquet", "5-1")
    assert dataclasses.replace(shard, url="/b/00000.tar").token == shard.token
    for change in ({"source": "x"}, {"name": "x"}, {"size": 11}, {"stamp": "2"}):
        assert dataclasses.replace(shard, **change).token != shard.token
    changed = dataclasses.replace(shard, parquet_stamp="5-2")
    assert changed.token == shard.token
    assert changed.metadata_token != shard.metadata_token


@pytest.mark.shared
def test_photos(shared: Path) -> None:
    """Real shards: every member of every tar is in a sample, at the place where tarfile finds it."""
    for shard in find_shards(shared / "data" / "photos"):
        table = index(Path(shard.url))
        assert not reasons(table)
        ours = {(m["name"], m["offset"], m["size"]) for members in table["_members"].to_pylist() for m in members}
        with tarfile.open(shard.url) as tar:
            assert ours == {(info.name, info.offset_data, info.size) for info in tar}
        assert counts(table) == {"samples": len(table), "parquet_rows": len(table)}
