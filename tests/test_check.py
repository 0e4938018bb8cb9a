"""What a check says of shards: numbers, notes and problems."""

from __future__ import annotations

import gzip
import json
import os
import re
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from distributed import Client, LocalCluster
from making import (
    careless_shard,
    datacomp_reshard,
    img2dataset_shard,
    picture,
    samples,
    write_folder,
    write_shard,
    write_tar,
)
from opening import opened
from s3 import BUCKET, Requests, upload

import imagecurate as ic
from imagecurate.check import noticed


def checked(folder: Path, digests: bool = False, **options: Any) -> pd.DataFrame:
    return opened(folder, **options).check(digests=digests)


def problems(table: pd.DataFrame) -> dict[str, str]:
    """Problems by shard, where there are any."""
    return {row.shard: row.problems for row in table.itertuples() if row.problems}


def test_sound_shards(folder: Path, decodes: list[int]) -> None:
    """Numbers of each shard in order, nothing to say, and no picture decoded."""
    table = checked(folder)
    first = table[
        ["shard", "source", "samples", "images", "failed", "parquet_rows", "notes", "problems"]
    ].values.tolist()
    assert first == [["00000", "default", 4, 4, 0, 4, "", ""], ["00001", "default", 4, 4, 0, 4, "", ""]]
    assert table["bytes"].tolist() == [(folder / f"0000{number}.tar").stat().st_size for number in range(2)]
    assert table.attrs["notes"] == []
    assert noticed(table) == {}
    assert decodes == []


def test_sums_are_those_of_the_ledger(tmp_path: Path) -> None:
    """Sound and failed rows are what the ledger has, but for damage, which is a problem and no sample."""
    folder = tmp_path / "data"
    careless_shard(folder / "00000.tar")
    write_shard(folder / "00001.tar", [*samples(3), *samples(2), ("x", {"jpg": b""})])
    (folder / "00002.tar").write_bytes(b"<html>" * 200)
    dataset = opened(folder)
    table = dataset.check()
    ledger = dataset.ledger().compute()
    assert (table["samples"] == table["images"] + table["failed"]).all()
    assert table["samples"].sum() == ledger["key"].notna().sum()
    assert table["images"].sum() == (ledger["status"] == "kept").sum()
    assert problems(table) == {
        "00000": "sample 'textonly': no image",
        "00001": "2 samples: duplicate key, first '000000000'; sample 'x': empty image",
        "00002": ledger["reason"].iloc[-1],
    }
    assert table["notes"][0] == "members ignored: 4"
    assert noticed(table) == {"members_ignored": 4}


def test_damage(tmp_path: Path) -> None:
    """A tar that is cut off, an empty file, and a finished tar with nothing in it, which is no fault."""
    folder = write_folder(tmp_path / "data", shards=3)
    for name in ("00000", "00001", "00002"):
        (folder / f"{name}.parquet").unlink()
    whole = (folder / "00000.tar").read_bytes()
    (folder / "00000.tar").write_bytes(whole[:2000])
    (folder / "00001.tar").write_bytes(b"")
    write_tar(folder / "00002.tar", [])
    table = checked(folder, metadata="none")
    assert "truncated tar" in problems(table)["00000"]
    assert problems(table)["00001"] == "empty file"
    assert table["samples"].tolist()[1:] == [0, 0]
    assert table["notes"][2] == "no sample in it"


def test_a_parquet_that_is_none(tmp_path: Path) -> None:
    """Damaged, without the id, and with ids of something else: nobody can filter by its columns."""
    folder = write_folder(tmp_path / "data", shards=4)
    (folder / "00001.parquet").write_bytes(b"PAR1 and no more")
    other = pq.read_table(folder / "00002.parquet")
    dataset = opened(folder)
    pq.write_table(other.rename_columns(["id", "caption", "width"]), folder / "00002.parquet")
    pq.write_table(other.set_column(0, "key", pa.array(list("abcd"))), folder / "00003.parquet")
    assert problems(dataset.check()) == {
        "00001": "the parquet is damaged or has no column 'key'",
        "00002": "the parquet is damaged or has no column 'key'",
        "00003": "no row of the parquet has the key of a sample in its column 'key'",
    }


def test_a_shard_that_cannot_be_read(folder: Path) -> None:
    """One that is gone and one that changed are problems of their rows; the others are checked."""
    write_folder(folder, shards=3)
    dataset = opened(folder)
    (folder / "00000.tar").unlink()
    os.utime(folder / "00002.tar", (1, 1))
    table = dataset.check()
    assert problems(table)["00000"].startswith("cannot be read: shard '00000' was found at ")
    assert "has another modification time" in problems(table)["00002"]
    assert "Hint" not in problems(table)["00002"]
    assert table["samples"].tolist() == [0, 4, 0]


def test_img2dataset(tmp_path: Path) -> None:
    """Failed downloads are a note, and the statistics agree."""
    folder = tmp_path / "data"
    img2dataset_shard(folder, 0, 8, failed=[1, 2])
    img2dataset_shard(folder, 1, 8)
    table = checked(folder)
    assert problems(table) == {}
    assert table["samples"].tolist() == [6, 8]
    assert "parquet rows without sample: 2; 2 of 8 downloads failed" in table["notes"][0]
    assert "downloads" not in table["notes"][1]
    assert table["parquet_rows_without_sample"].tolist() == [2, 0]


def test_statistics_that_differ(tmp_path: Path) -> None:
    """Another number of samples, another number of rows."""
    folder = tmp_path / "data"
    img2dataset_shard(folder, 0, 8, failed=[1])
    stats = folder / "00000_stats.json"
    stats.write_text(json.dumps(json.loads(stats.read_text()) | {"count": 9, "successes": 8}))
    assert problems(checked(folder)) == {
        "00000": "00000_stats.json counts 8 successes, but 7 samples; "
        "00000_stats.json counts 9 URLs, but 8 rows in the parquet"
    }
    assert problems(checked(folder, metadata="none")) == {"00000": "00000_stats.json counts 8 successes, but 7 samples"}


@pytest.mark.parametrize(
    ("content", "note"),
    [
        ("[", "00000_stats.json is no JSON: not compared"),
        ("\xff", "00000_stats.json is no JSON: not compared"),
        ("[]", "00000_stats.json is no JSON object: not compared"),
        ('{"count": 3}', "00000_stats.json is none of img2dataset's: not compared"),
        ('{"count": "4", "successes": 4}', "00000_stats.json is none of img2dataset's: not compared"),
        (None, "00000_stats.json cannot be read: Is a directory"),
    ],
)
def test_statistics_of_something_else(folder: Path, content: str | None, note: str) -> None:
    """What cannot be compared is a note."""
    stats = folder / "00000_stats.json"
    if content is None:
        stats.mkdir()
    else:
        stats.write_bytes(content.encode("latin-1"))
    table = checked(folder)
    assert problems(table) == {}
    assert table["notes"].tolist() == [note, ""]


@pytest.fixture
def export(folder: Path) -> Path:
    """An export of three shards with three, three and two samples."""
    opened(folder).to_webdataset(folder.parent / "out", samples_per_shard=3)
    return folder.parent / "out"


@pytest.mark.parametrize("digests", [False, True])
def test_an_export_is_as_promised(export: Path, digests: bool) -> None:
    """Nothing to say."""
    table = checked(export, digests)
    assert problems(table) == {}
    assert table["notes"].tolist() == ["", "", ""]
    assert table["samples"].tolist() == [3, 3, 2]


def test_an_export_that_is_not_as_promised(export: Path) -> None:
    """Missing files, changed lengths; what belongs to no shard is told by the first; a missing shard has a row."""
    (export / "00000.idx").write_text("short")
    next((export / "ledger").iterdir()).unlink()
    (export / "00001.tar").unlink()
    write_shard(export / "00002.tar", samples(12, first=6))
    write_shard(export / "stray.tar", samples(1, first=90))
    table = checked(export)
    found = problems(table)
    assert table["shard"].tolist() == ["00000", "00002", "stray", "00001"]
    assert found["00000"].startswith("00000.idx has 5 bytes, manifest.json promises ")
    assert "ledger/" in found["00000"]
    assert found["00000"].endswith(" is missing")
    size = (export / "00002.tar").stat().st_size
    assert found["00002"].startswith(f"00002.tar has {size} bytes, manifest.json promises 10240; ")
    assert found["00002"].endswith("; manifest.json promises 2 samples, the tar has 12")
    assert found["00001"] == "missing; manifest.json promises 3 samples"
    assert "stray" not in found
    assert table["notes"][2] == "manifest.json does not list it"


def test_a_changed_byte_is_found_by_its_digest(export: Path) -> None:
    """Only where digests are asked for: that reads everything."""
    with (export / "00001.tar").open("r+b") as file:
        file.seek(600)
        file.write(b"?")
    assert problems(checked(export)) == {}
    assert problems(checked(export, digests=True))["00001"].startswith("00001.tar has xxh3_128 ")


def test_some_shards_of_an_export(export: Path) -> None:
    """Those that were not asked for are not missing while they are there."""
    names = [str(export / "00001.tar"), str(export / "00002.tar")]
    table = ic.read_webdataset(names, workdir=None).check()
    assert problems(table) == {}
    assert table["shard"].tolist() == ["00001", "00002"]


@pytest.mark.parametrize("content", ["{", "[]", '{"files": []}', '{"digest": "md5", "files": {}}'])
def test_a_manifest_of_something_else(folder: Path, content: str) -> None:
    """Told once for the folder, and not compared."""
    (folder / "manifest.json").write_text(content)
    table = checked(folder)
    assert problems(table) == {}
    assert table["notes"][0].startswith("manifest.json is no")
    assert table["notes"][0].endswith(": not compared")
    assert table["notes"][1] == ""


def test_the_dataset_as_a_whole(tmp_path: Path) -> None:
    """Keys that several shards share and columns of several types are told once; a key twice in a shard is no such."""
    folder = tmp_path / "data"
    write_shard(folder / "a.tar", samples(3), [{"key": "000000000", "width": 1}])
    write_shard(folder / "b.tar", samples(5, first=2), [{"key": "000000002", "width": "wide"}])
    write_shard(folder / "c.tar", [*samples(1, first=90), *samples(1, first=90)])
    notes = checked(folder).attrs["notes"]
    assert notes[-1] == "keys that occur in several shards: 1; an export tells them apart"
    assert [note for note in notes[:-1] if "width" in note]


def test_sources(tmp_path: Path) -> None:
    """Shards of the same name belong to their sources."""
    for source in ("x", "y"):
        img2dataset_shard(tmp_path / source, 0, 4)
    (tmp_path / "y" / "00000_stats.json").write_text('{"count": 4, "successes": 5}')
    paths = {source: str(tmp_path / source) for source in ("x", "y")}
    table = ic.read_webdataset(paths, workdir=None).check()
    assert table["source"].tolist() == ["x", "y"]
    assert table["problems"].tolist() == ["", "00000_stats.json counts 5 successes, but 4 samples"]


def test_several_images(tmp_path: Path) -> None:
    """A sample with three images is one sample; whether these are rows, the dataset was told when it was opened."""
    members = [(f"a.{number}.jpg", picture(number)) for number in range(3)]
    write_tar(tmp_path / "data" / "0.tar", [*members, ("b.jpg", picture(4)), ("c.0.jpg", b""), ("c.1.jpg", picture(5))])
    every = checked(tmp_path / "data", images="all")
    assert every[["samples", "images", "failed"]].values.tolist() == [[3, 5, 1]]
    first = checked(tmp_path / "data")
    assert first[["samples", "images", "failed"]].values.tolist() == [[3, 2, 1]]
    assert "images further: " in first["notes"][0]


def test_compressed_shards(tmp_path: Path) -> None:
    """They say so, and their neighbours are found."""
    folder = tmp_path / "data"
    tar = img2dataset_shard(folder, 0, 4, failed=[1])
    (folder / "00000.tar.gz").write_bytes(gzip.compress(tar.read_bytes()))
    tar.unlink()
    table = checked(folder)
    assert problems(table) == {}
    assert table["shard"].tolist() == ["00000.tar.gz"]
    assert table["notes"][0].startswith("compressed: read slowly; ")
    assert table["notes"][0].endswith("; 1 of 4 downloads failed")


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_a_compressed_shard_that_is_called_tar(tmp_path: Path, compression: str) -> None:
    """The first bytes tell, not the name; also where the index is in the store already."""
    tar = write_shard(tmp_path / "data" / "0.tar", samples(2))
    packed = pa.Codec(compression).compress(tar.read_bytes(), asbytes=True)
    tar.write_bytes(packed)
    write_shard(tmp_path / "data" / "1.tar", samples(2, first=2))
    for _ in range(2):
        assert checked(tmp_path / "data")["notes"].tolist() == ["compressed: read slowly", ""]


def test_a_parquet_without_rows(folder: Path) -> None:
    """A note: nothing in it contradicts the tar."""
    pq.write_table(pq.read_table(folder / "00001.parquet").slice(0, 0), folder / "00001.parquet")
    table = checked(folder)
    assert problems(table) == {}
    assert "the parquet has no rows" in table["notes"][1]


def test_statistics_of_the_resharder(tmp_path: Path) -> None:
    """DataComp's has one number."""
    tar = datacomp_reshard(tmp_path / "data", ["0" * 31 + "1", "0" * 31 + "2"])
    assert checked(tmp_path / "data")[["notes", "problems"]].values.tolist() == [["", ""]]
    tar.with_name("00000000_stats.json").write_text('{"successes": 3}')
    assert problems(checked(tmp_path / "data")) == {"00000000": "00000000_stats.json counts 3 successes, but 2 samples"}


def test_an_object_store_and_a_cluster(
    tmp_path: Path, export: Path, folder: Path, s3: tuple[Any, dict[str, Any], Requests]
) -> None:
    """The table of remote shards, made by the workers of a cluster, is that of local ones."""
    client, options, _ = s3
    img2dataset_shard(folder, 7, 4, failed=[0])
    (folder / "00001_stats.json").write_text('{"count": 4, "successes": 3}')
    (export / "00001.idx").unlink()
    paths = {"in": folder, "out": export}
    upload(client, folder, "check-in")
    upload(client, export / "ledger", "check-out/ledger")
    for path in export.iterdir():
        if path.is_file():
            client.upload_file(str(path), BUCKET, f"check-out/{path.name}")
    remote = ic.read_webdataset(
        {source: f"s3://{BUCKET}/check-{source}" for source in paths}, workdir=tmp_path / "far", storage_options=options
    )
    with (
        LocalCluster(n_workers=1, threads_per_worker=2, dashboard_address="127.0.0.1:0", host="127.0.0.1") as cluster,
        Client(cluster),
    ):
        far = remote.check(digests=True)
    near = ic.read_webdataset({source: str(path) for source, path in paths.items()}, workdir=None).check(digests=True)
    pd.testing.assert_frame_equal(far, near)
    assert (
        far.attrs["notes"][-1]
        == near.attrs["notes"][-1]
        == "keys that occur in several shards: 8; an export tells them apart"
    )
    assert near.set_index(["source", "shard"])["problems"].to_dict() == {
        ("in", "00000"): "",
        ("in", "00001"): "00001_stats.json counts 3 successes, but 4 samples",
        ("in", "00007"): "",
        ("out", "00000"): "",
        ("out", "00001"): "00001.idx is missing",
        ("out", "00002"): "",
    }


def test_a_web_server(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it refuses is not there; what it fails to give, or a shard that it fails to give, is told."""
    monkeypatch.setattr("imagecurate.remote.retry.FIRST_WAIT_S", 0.01)
    answers = {"/00000_stats.json": 403, "/00001_stats.json": 500, "/manifest.json": 404}

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path in answers:
                self.send_error(answers[self.path])
            else:
                super().do_GET()

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder))) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/{{00000..00001}}.tar"
        dataset = ic.read_webdataset(url, metadata="none", workdir=None)
        table = dataset.check()
        again = ic.read_webdataset(url.replace("{00000..00001}", "00000"), metadata="none", workdir=None)
        answers["/00000.tar"] = 503
        failed = again.check()
        server.shutdown()
    assert problems(table) == {}
    assert table["notes"][0] == ""
    assert re.match(r"00001_stats.json cannot be read: .*: 500, .*Server Error", table["notes"][1])
    assert re.match(r"cannot be read: .*00000.tar' cannot be read: 503, ", failed["problems"][0])
