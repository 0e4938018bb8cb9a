"""Input, store and output in an object store that fails now and then, or for good."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeAlias

import pandas as pd
import pytest
from distributed import Client, LocalCluster
from making import write_folder
from s3 import BUCKET, Faults, Requests, faulty_server, seeded, upload
from toys import Brightness, Corner

import imagecurate as ic
from imagecurate.errors import OutputError, ParameterError, ShardError
from imagecurate.export.folder_at import folder_at
from imagecurate.remote import RemotePath, Upload, retry
from imagecurate.remote import upload as remote_upload
from imagecurate.shards import find_shards, open_shard

#: A client, storage options, and what goes wrong.
Server: TypeAlias = tuple[Any, dict[str, Any], Faults]


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[Any, dict[str, Any], Requests, Faults]]:
    """A server for all tests of this module."""
    with faulty_server() as running:
        yield running


@pytest.fixture
def store(
    running: tuple[Any, dict[str, Any], Requests, Faults], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Server]:
    """A client, storage options and faults; waits are short, and botocore leaves retries to us."""
    client, options, _, faults = running
    monkeypatch.setattr(retry, "FIRST_WAIT_S", 0.01)
    monkeypatch.setenv("IMAGECURATE_CACHE", str(tmp_path / "cache"))
    faults.clear()
    yield client, options | {"config_kwargs": {"retries": {"max_attempts": 0}}}, faults
    faults.clear()


def files_below(client: Any, prefix: str) -> dict[str, bytes]:
    """All objects below a prefix."""
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
    keys = [each["Key"] for page in pages for each in page.get("Contents", [])]
    return {key.removeprefix(prefix): client.get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in keys}


def of_folder(folder: Path) -> dict[str, bytes]:
    """All files below a folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def assert_same_shards(found: dict[str, bytes], expected: dict[str, bytes]) -> None:
    """The same files, and the same bytes in all but those that say when it was, and where."""
    assert found.keys() == expected.keys()
    for name, data in expected.items():
        assert name in ("run.json", "manifest.json", "timings.json") or found[name] == data, name


def curated(path: str, **given: Any) -> ic.ImageTextPairDataset:
    """A dataset with two image stages and a filter between them."""
    ds = ic.read_webdataset(path, **given).pipe(Brightness())
    return ds.filter("brightness > 110 or width > 70", name="some").pipe(Corner())


@pytest.mark.parametrize("kinds", [("500", "503"), ("reset", "cut", "lost"), ("short", "slow")])
def test_faults_change_nothing(tmp_path: Path, store: Server, kinds: tuple[str, ...]) -> None:
    """Whatever fails for a moment, the output is byte for byte that of a local run."""
    client, options, faults = store
    folder = write_folder(tmp_path / "data", shards=4, samples_per_shard=4)
    place = f"faults-{kinds[0]}"
    upload(client, folder, f"{place}/in")
    curated(str(folder), workdir=None).to_webdataset(tmp_path / "out", samples_per_shard=5)

    faults.plan = seeded(7, 0.2, kinds)
    remote = curated(f"s3://{BUCKET}/{place}/in", workdir=None, storage_options=options)
    remote.to_webdataset(f"s3://{BUCKET}/{place}/out", samples_per_shard=5)
    faults.plan = None

    assert {kind for kind, _ in faults.happened} >= set(kinds)
    assert_same_shards(files_below(client, f"{place}/out/"), of_folder(tmp_path / "out"))


def test_a_store_behind_a_url(tmp_path: Path, store: Server, decodes: list[int]) -> None:
    """Columns, parts, index and masks lie there; the next run, here or elsewhere, finds them."""
    client, options, faults = store
    folder = write_folder(tmp_path / "data", shards=2, samples_per_shard=70)
    upload(client, folder, "store/in")
    expected = curated(str(folder), workdir=None).metadata.compute()
    decodes.clear()

    def opened() -> ic.ImageTextPairDataset:
        where = f"s3://{BUCKET}/store/work"
        return curated(f"s3://{BUCKET}/store/in", workdir=where, storage_options=options)

    first = opened()
    assert len(first.head(3)) == 3
    parts = [name for name in files_below(client, "store/work/") if ".part-" in name]
    assert len(parts) == 3  # of both stages, and what is found out about pictures
    first.compute()
    assert len(decodes) < 140 + 64
    assert not [name for name in files_below(client, "store/work/") if ".part-" in name]
    decodes.clear()

    faults.requests.clear()
    again = opened()
    pd.testing.assert_frame_equal(again.metadata.compute(), expected)
    of_shards = [request for request in faults.requests if "columns" in request and "stage.json" not in request]
    assert len(of_shards) == 2 * 3 * 2  # of each shard and stage: is it there, and its bytes
    masked = again[again.metadata["width"] > 60]
    assert masked.counts()["left"].iloc[-1] == (expected["width"] > 60).sum()
    assert any("store/masks/" in name for name in files_below(client, "store/work/"))
    assert not decodes


def test_a_large_file_is_sent_in_parts(store: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is sent again where it fails; even a lost answer to the last request does not matter."""
    client, options, faults = store
    monkeypatch.setattr(remote_upload, "BLOCK_BYTES", 5 << 20)  # the least that S3 takes
    data = random.Random(3).randbytes(12 << 20)
    failing: Counter[str] = Counter()

    def plan(method: str, path: str, _: str) -> str | None:
        request = f"{method} {path.split('=')[0]}"  # ?uploads begins, ?uploadId= ends, a PUT sends a part
        if method == "GET" or failing[request] > 6:
            return None
        failing[request] += 1
        return ("500", "lost", "reset", "503")[failing[request] % 4]

    faults.plan = plan
    upload_to = Upload(f"s3://{BUCKET}/large/file", options)
    for start in range(0, len(data), 1 << 20):
        upload_to.write(data[start : start + (1 << 20)])
        assert not files_below(client, "large/")  # nothing to be seen before it is whole
    upload_to.commit()
    upload_to.discard()
    faults.plan = None
    assert {method for _, method in faults.happened} >= {"PUT", "POST"}
    assert files_below(client, "large/") == {"file": data}


def test_what_a_killed_process_leaves(tmp_path: Path, store: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody sees the half file, and the export that goes on where the process was takes it away."""
    client, options, _ = store
    monkeypatch.setattr(remote_upload, "BLOCK_BYTES", 5 << 20)
    killed = Upload(f"s3://{BUCKET}/killed/out/00000.tar", options)
    killed.write(bytes(6 << 20))
    other = Upload(f"s3://{BUCKET}/killed/out/sub/00000.tar", options)  # of an export that has nothing to do with it
    other.write(bytes(6 << 20))
    del killed
    assert not files_below(client, "killed/")
    assert len(client.list_multipart_uploads(Bucket=BUCKET, Prefix="killed/")["Uploads"]) == 2

    ds = curated(str(write_folder(tmp_path / "data", shards=1, samples_per_shard=4)), workdir=None)
    ds._work = dataclasses.replace(ds._work, storage_options=options)
    ds.to_webdataset(f"s3://{BUCKET}/killed/out")
    left = client.list_multipart_uploads(Bucket=BUCKET, Prefix="killed/")["Uploads"]
    assert [each["Key"] for each in left] == ["killed/out/sub/00000.tar"]
    other.discard()
    assert "00000.tar" in files_below(client, "killed/out/")


def test_an_object_that_cannot_be_read(tmp_path: Path, store: Server) -> None:
    """The run ends with an error that names it, keeps what is finished, and goes on when the object is back."""
    client, options, faults = store
    folder = write_folder(tmp_path / "data", shards=3, samples_per_shard=4)
    upload(client, folder, "gone/in")
    ds = curated(f"s3://{BUCKET}/gone/in", workdir=tmp_path / "work", storage_options=options)
    faults.plan = lambda method, path, span: "500" if path.endswith("00001.tar") else None
    with pytest.raises(ShardError, match=f"'s3://{BUCKET}/gone/in/00001.tar' cannot be read: .*tries") as caught:
        ds.compute()
    assert "Hint: what is finished is not lost" in str(caught.value)
    faults.plan = None
    pd.testing.assert_frame_equal(ds.metadata.compute(), curated(str(folder), workdir=None).metadata.compute())


def test_an_object_that_cannot_be_written(tmp_path: Path, store: Server) -> None:
    """The error names it; no half shard is there, and the next run goes on to the same bytes."""
    client, options, faults = store
    folder = write_folder(tmp_path / "data", shards=2, samples_per_shard=4)
    upload(client, folder, "full/in")
    curated(str(folder), workdir=None).to_webdataset(tmp_path / "out", samples_per_shard=2)
    ds = curated(f"s3://{BUCKET}/full/in", workdir=None, storage_options=options)
    faults.plan = lambda method, path, _: "500" if method == "PUT" and path.endswith("out/00001.tar") else None
    with pytest.raises(OutputError, match=f"'s3://{BUCKET}/full/out/00001.tar' cannot be written: "):
        ds.to_webdataset(f"s3://{BUCKET}/full/out", samples_per_shard=2)
    found = files_below(client, "full/out/")
    assert "00001.tar" not in found
    assert "manifest.json" not in found
    faults.plan = None
    ds.to_webdataset(f"s3://{BUCKET}/full/out", samples_per_shard=2)
    assert_same_shards(files_below(client, "full/out/"), of_folder(tmp_path / "out"))


@pytest.mark.parametrize(
    ("change", "message"),
    [("bytes", "another version than the one that was found"), ("size", "another version"), ("gone", "is gone")],
)
def test_an_object_that_changed_is_noticed(tmp_path: Path, store: Server, change: str, message: str) -> None:
    """By its etag when it is opened, even where its size is the same."""
    client, options, _ = store
    folder = write_folder(tmp_path / "data", shards=1, samples_per_shard=4)
    upload(client, folder, f"changed-{change}")
    ds = curated(f"s3://{BUCKET}/changed-{change}", workdir=None, storage_options=options)
    key, data = f"changed-{change}/00000.tar", (folder / "00000.tar").read_bytes()
    if change == "gone":
        client.delete_object(Bucket=BUCKET, Key=key)
    else:
        client.put_object(Bucket=BUCKET, Key=key, Body=data[::-1] if change == "bytes" else data + bytes(1024))
    with pytest.raises(ShardError, match=f"(?s){message}.*changed after it was listed"):
        ds.compute()


def test_an_object_that_changes_while_it_is_read(tmp_path: Path, store: Server) -> None:
    """By its size."""
    client, options, _ = store
    folder = write_folder(tmp_path / "data", shards=1, samples_per_shard=4)
    upload(client, folder, "changing")
    (shard,) = find_shards(f"s3://{BUCKET}/changing", storage_options=options)
    with open_shard(shard, storage_options=options) as source:
        client.put_object(Bucket=BUCKET, Key="changing/00000.tar", Body=b"other")
        for read in (lambda: source.read(0, 1000), lambda: source.read_many([(0, 9), (5 << 20, 9), (3000, 100)])):
            with pytest.raises(ShardError, match=r"00000.tar' no longer has .* bytes: the object was changed"):
                read()


def test_options_by_place(tmp_path: Path, store: Server) -> None:
    """Each bucket or folder has its own; none shows in what is written."""
    client, options, _ = store
    folder = write_folder(tmp_path / "data", shards=1, samples_per_shard=4)
    upload(client, folder, "places/in")
    nowhere = {"key": "x", "secret": "y", "endpoint_url": "http://127.0.0.1:9"}
    mine = options | {"key": "open-sesame", "secret": "open-sesame"}
    places = {"s3://": nowhere, f"s3://{BUCKET}/places": mine, f"s3://{BUCKET}/places/in": options}
    ds = curated(f"s3://{BUCKET}/places/in", workdir=f"s3://{BUCKET}/places/work", storage_options=places)
    ds.to_webdataset(f"s3://{BUCKET}/places/out")
    found = files_below(client, "places/")
    assert {"out/manifest.json", "out/run.json", "work/store/store.json"} <= found.keys()
    assert not [name for name, data in found.items() if b"sesame" in data]
    assert "sesame" not in f"{ds!r} {ds._work!r} {ds._work.store!r}"
    assert pickle.loads(pickle.dumps(ds._work.store)).root.storage_options == mine

    text = f"workdir: null\ninput: s3://{BUCKET}/places/in\noutput: out\nstorage_options: {json.dumps(places)}\n"
    (tmp_path / "pipeline.yaml").write_text(text)
    assert len(ic.Pipeline.from_yaml(tmp_path / "pipeline.yaml").dataset()) == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"s3://a": {"key": "k"}, "secret": "tell-nobody"}, "places .s3://a. and options that belong to none .secret."),
        ({"s3://a": "tell-nobody"}, "storage_options\\['s3://a'\\] must be a mapping, but is a str"),
        (["tell-nobody"], "must be a mapping of names to values, but is a list"),
    ],
)
def test_options_that_cannot_be(options: Any, message: str) -> None:
    """The error shows no value."""
    with pytest.raises(ParameterError, match=message) as caught:
        ic.read_webdataset("s3://a/b", storage_options=options)
    assert "tell-nobody" not in str(caught.value)


def test_no_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The hint says where they are looked for."""
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    nowhere = {"endpoint_url": "http://127.0.0.1:9"}
    message = "(?s)'s3://nobody/data' cannot be {}: there are no credentials.*Hint: set AWS_ACCESS_KEY_ID"
    with pytest.raises(ShardError, match=message.format("read")):
        ic.read_webdataset("s3://nobody/data", storage_options=nowhere)
    with pytest.raises(OutputError, match=r"(?s)'s3://nobody/data/store/store.json.* no credentials.*Hint: set AWS"):
        RemotePath("s3://nobody/data/store/store.json", nowhere).write_bytes(b"1")


def test_a_dataset_stage_with_a_store_behind_a_url(tmp_path: Path, store: Server) -> None:
    """Its result lies in the store; what it keeps in between lies on this machine."""
    client, options, faults = store
    folder = write_folder(tmp_path / "data", shards=2, samples_per_shard=4)
    upload(client, folder, "dataset/in")

    def run() -> pd.DataFrame:
        where = f"s3://{BUCKET}/dataset/work"
        ds = ic.read_webdataset(f"s3://{BUCKET}/dataset/in", workdir=where, storage_options=options)
        return ic.ExactDeduplicator()(ds).drop_duplicates().metadata.compute()

    first = run()
    assert any("ExactDeduplicator" in name for name in files_below(client, "dataset/work/"))
    faults.plan = seeded(5, 0.3, ("500", "reset", "cut", "lost"))
    pd.testing.assert_frame_equal(run(), first)


def test_a_server_that_stalls(tmp_path: Path, store: Server) -> None:
    """What does not come in the time that botocore is given is asked for again."""
    client, options, faults = store
    folder = write_folder(tmp_path / "data", shards=1, samples_per_shard=4)
    upload(client, folder, "stalls")
    options = options | {"config_kwargs": {"retries": {"max_attempts": 0}, "read_timeout": 0.5}}
    faults.slow_s = 1.5
    faults.plan = seeded(1, 1.0, ("slow",), most=1, only=lambda path: path.endswith(".tar"))
    ds = curated(f"s3://{BUCKET}/stalls", workdir=None, storage_options=options)
    pd.testing.assert_frame_equal(ds.metadata.compute(), curated(str(folder), workdir=None).metadata.compute())
    assert faults.happened["slow", "GET"]


def test_workers_share_a_store_behind_a_url(tmp_path: Path, store: Server) -> None:
    """Processes of a Dask cluster read, compute and write there, with faults, and the output is that of one process."""
    client, options, faults = store
    folder = write_folder(tmp_path / "data", shards=4, samples_per_shard=4)
    upload(client, folder, "workers/in")
    curated(str(folder), workdir=None).to_webdataset(tmp_path / "out", samples_per_shard=5)
    faults.plan = seeded(3, 0.2, ("503", "reset", "cut", "lost"), most=1)
    with LocalCluster(n_workers=2, threads_per_worker=2, dashboard_address="127.0.0.1:0") as cluster, Client(cluster):
        where = f"s3://{BUCKET}/workers"
        ds = curated(f"{where}/in", workdir=f"{where}/work", storage_options=options)
        ds.to_webdataset(f"{where}/out", samples_per_shard=5)
    faults.plan = None
    assert sum(faults.happened.values()) > 5
    assert_same_shards(files_below(client, "workers/out/"), of_folder(tmp_path / "out"))


def test_retries_end() -> None:
    """After so many calls, with waits that are random and grow."""
    waits: list[float] = []
    calls = []

    def call() -> None:
        calls.append(1)
        raise ConnectionResetError("gone")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retry.time, "sleep", waits.append)
        with pytest.raises(OutputError, match=r"'s3://b/x' cannot be written: gone \(6 tries\)"):
            retry.with_retries("s3://b/x", call, writing=True)
    assert len(calls) == retry.TRIES
    assert all(0 <= wait <= 2**number for number, wait in enumerate(waits))
    assert len(set(waits)) == retry.TRIES - 1


def test_only_what_may_pass_is_tried_again() -> None:
    """Whatever library it comes from; s3fs translates its errors and keeps the original."""

    class BotoError(Exception):
        def __init__(self, status: int) -> None:
            self.response = {"Error": {"Code": "X"}, "ResponseMetadata": {"HTTPStatusCode": status}}

    class HubError(Exception):
        def __init__(self, status: int) -> None:
            self.response = SimpleNamespace(status_code=status)

    def translated(error: Exception, cause: Exception) -> Exception:
        error.__cause__ = cause
        return error

    passing = [
        TimeoutError(),
        ConnectionRefusedError(),
        BotoError(503),
        HubError(502),
        HubError(429),
        OSError(5, "EIO"),
    ]
    passing += [translated(OSError("slow down"), BotoError(503)), translated(OSError("odd"), BrokenPipeError())]
    lasting = [FileNotFoundError(), PermissionError(), ValueError(), BotoError(400), HubError(404), KeyError(503)]
    lasting += [translated(OSError(5, "odd"), BotoError(400)), translated(PermissionError(), BotoError(403))]
    assert [error for error in passing if not retry.is_transient(error)] == []
    assert [error for error in lasting if retry.is_transient(error)] == []


def test_two_exports_to_one_place(tmp_path: Path, store: Server) -> None:
    """The second is refused while the first lives, and takes its place when it was killed."""
    client, options, _ = store
    write_folder(tmp_path / "in", shards=1, samples_per_shard=3)
    url = f"s3://{BUCKET}/exclusive/out"
    ds = ic.read_webdataset(str(tmp_path / "in"), workdir=tmp_path / "work", storage_options=options)
    first = folder_at(url, options)
    first.claim()
    (key,) = (f"exclusive/out/{name}" for name in files_below(client, "exclusive/out/"))
    claim = json.loads(client.get_object(Bucket=BUCKET, Key=key)["Body"].read())
    with pytest.raises(OutputError, match=r"another process is exporting to 's3://.*/exclusive/out'"):
        ds.to_webdataset(url, progress=False)
    first.release(keep=False)
    client.put_object(
        Bucket=BUCKET, Key=key, Body=json.dumps(claim | {"pid": 2**22 + 1}).encode()
    )  # there is none such
    assert ds.to_webdataset(url, progress=False).samples == 3
    assert not [name for name in files_below(client, "exclusive/out/") if ".export" in name]
