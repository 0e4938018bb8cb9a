"""The whole job on shards that lie in an object store or on a hub."""

from __future__ import annotations

import gzip
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from hub import REPOSITORY, hub
from making import write_folder
from s3 import BUCKET, Requests, upload
from toys import Brightness, Corner

import imagecurate as ic
from imagecurate.errors import ImageCurateError, ParameterError, ShardError
from imagecurate.remote import is_on_own_disk
from imagecurate.shards import find_shards, open_shard


def test_shards_in_an_object_store(
    tmp_path: Path, s3: tuple[Any, dict[str, Any], Requests], decodes: list[int]
) -> None:
    """Indexing and pixels come from one reading of each tar; export copies ranges; results are those of local data."""
    client, options, requests = s3
    folder = write_folder(tmp_path / "data", shards=3, samples_per_shard=4)
    upload(client, folder, "whole-job")

    def curated(path: str, **given: Any) -> ic.ImageTextPairDataset:
        ds = ic.read_webdataset(path, **given).pipe(Brightness())
        return ds.filter("brightness > 110 or width > 70", name="some").pipe(Corner())

    remote = curated(f"s3://{BUCKET}/whole-job", workdir=tmp_path / "work", storage_options=options)
    before = {number: len(requests.of("GET", f"/whole-job/{number:05d}.tar")) for number in range(3)}
    remote.compute()
    fetched = {number: len(requests.of("GET", f"/whole-job/{number:05d}.tar")) for number in range(3)}
    assert {number: fetched[number] - before[number] for number in range(3)} == {0: 1, 1: 1, 2: 1}
    assert len(decodes) == 12

    local = curated(str(folder), workdir=None)
    pd.testing.assert_frame_equal(remote.metadata.compute(), local.metadata.compute())
    remote.to_webdataset(tmp_path / "from-remote", samples_per_shard=3)
    local.to_webdataset(tmp_path / "from-local", samples_per_shard=3)
    names = sorted(path.name for path in (tmp_path / "from-local").glob("*.tar"))
    assert names
    for name in names:
        assert (tmp_path / "from-remote" / name).read_bytes() == (tmp_path / "from-local" / name).read_bytes()

    remote.to_webdataset(f"s3://{BUCKET}/out", samples_per_shard=3)
    again = ic.read_webdataset(f"s3://{BUCKET}/out", workdir=None, storage_options=options)
    assert len(again) == len(remote.metadata)


def on_the_hub(folder: Path) -> Path:
    """A repository of two tars, called as people publish them, and nothing beside but a card."""
    write_folder(folder / "data", shards=2, samples_per_shard=4)
    for number in range(2):
        (folder / f"data/{number:05d}.parquet").unlink()
        (folder / f"data/{number:05d}.tar").rename(folder / f"data/train-{number:05d}-of-00002.tar")
    (folder / "README.md").write_text("# Pairs")
    return folder


def test_shards_on_a_hub_are_found_by_folder_and_glob(tmp_path: Path) -> None:
    """With sizes and versions out of the listing, however many pages it has."""
    with hub(on_the_hub(tmp_path)) as (options, requests):
        url = f"hf://datasets/{REPOSITORY}"
        expected = find_shards(f"{url}/data", storage_options=options)
        assert [shard.name for shard in expected] == ["train-00000-of-00002", "train-00001-of-00002"]
        assert expected[0].url == f"{url}/data/train-00000-of-00002.tar"
        assert expected[0].size == (tmp_path / "data/train-00000-of-00002.tar").stat().st_size
        assert len({shard.stamp for shard in expected}) == 2
        for pattern in ("data/*.tar", "data/train-{00000..00001}-of-00002.tar"):
            assert find_shards(f"{url}/{pattern}", storage_options=options) == expected
        for pattern in ("", "*/*.tar", "**/*.tar"):
            found = find_shards(f"{url}/{pattern}", storage_options=options)
            assert [(shard.url, shard.stamp) for shard in found] == [(shard.url, shard.stamp) for shard in expected]
        assert not any("resolve" in request for request in requests)


@pytest.mark.parametrize(
    ("url", "error", "message"),
    [
        ("hf://datasets/someone/other/data", ShardError, "(?s)no file or folder.*repository not found.*authenticated"),
        ("hf://datasets/someone/other/*/*.tar", ShardError, "(?s)cannot be listed.*repository not found"),
        (f"hf://datasets/{REPOSITORY}/dat", ShardError, "no file or folder '.*/dat'$"),
        (
            f"hf://datasets/{REPOSITORY}/data/train-00002-of-00002.tar",
            ShardError,
            f"Hint: did you mean 'hf://datasets/{REPOSITORY}/data/train-0000",
        ),
        ("hf://datasets/someone", ParameterError, "'hf://datasets/someone' cannot be opened: "),
    ],
)
def test_what_a_hub_does_not_have(tmp_path: Path, url: str, error: type[ImageCurateError], message: str) -> None:
    """In the words of the hub, where it has some."""
    with hub(on_the_hub(tmp_path)) as (options, _), pytest.raises(error, match=message):
        find_shards(url, storage_options=options)


def test_ranges_on_a_hub_are_those_asked_for(tmp_path: Path) -> None:
    """Its file system would read 5 MB ahead of each."""
    with hub(on_the_hub(tmp_path)) as (options, requests):
        shard, _ = find_shards(f"hf://datasets/{REPOSITORY}/data", storage_options=options)
        data = (tmp_path / "data/train-00000-of-00002.tar").read_bytes()
        with open_shard(shard, storage_options=options) as source:
            del requests[:]
            assert source.read(512, 100) == data[512:612]
            assert source.read_many([(700, 10), (0, 5)]) == [data[700:710], data[:5]]
        served = f"GET /elsewhere/data/{shard.name}.tar"
        assert [request for request in requests if "elsewhere" in request] == [
            f"{served} bytes=512-611",
            f"{served} bytes=0-709",
        ]


def test_shards_on_a_hub(tmp_path: Path, decodes: list[int]) -> None:
    """Each is read once from front to back, and gives what it gives on a disk."""
    folder = on_the_hub(tmp_path / "repository")
    with hub(folder) as (options, requests):
        url = f"hf://datasets/{REPOSITORY}/data"
        remote = ic.read_webdataset(url, workdir=tmp_path / "work", storage_options=options).pipe(Brightness())
        del requests[:]
        remote.compute()
        assert len([request for request in requests if "elsewhere" in request]) == 2
        assert len(decodes) == 8
        found = remote.metadata.compute()
        remote.to_webdataset(tmp_path / "out", samples_per_shard=10)
    local = ic.read_webdataset(str(folder / "data"), workdir=None).pipe(Brightness())
    pd.testing.assert_frame_equal(found, local.metadata.compute())
    assert found["brightness"].notna().all()
    assert len(ic.read_webdataset(str(tmp_path / "out"), workdir=None)) == 8


def test_compressed_shards_in_an_object_store(tmp_path: Path, s3: tuple[Any, dict[str, Any], Requests]) -> None:
    """One request each serves index and pixels, and the export has the members of the tars that were packed."""
    client, options, requests = s3
    folder = write_folder(tmp_path / "data", shards=2, samples_per_shard=4)
    (tmp_path / "packed").mkdir()
    for path in folder.iterdir():
        packed = path.suffix == ".tar"
        data = gzip.compress(path.read_bytes()) if packed else path.read_bytes()
        (tmp_path / "packed" / (f"{path.name}.gz" if packed else path.name)).write_bytes(data)
    upload(client, tmp_path / "packed", "compressed")
    remote = ic.read_webdataset(f"s3://{BUCKET}/compressed", workdir=tmp_path / "work", storage_options=options)
    remote = remote.pipe(Brightness())
    requests.lines.clear()
    remote.compute()
    for number in range(2):
        assert len(requests.of("GET", f"/compressed/{number:05d}.tar.gz")) == 1
    remote.to_webdataset(tmp_path / "from-remote", samples_per_shard=3)
    local = ic.read_webdataset(str(folder), workdir=None).pipe(Brightness())
    local.to_webdataset(tmp_path / "from-local", samples_per_shard=3)
    names = sorted(path.name for path in (tmp_path / "from-local").glob("*.tar"))
    assert len(names) == 3
    for name in names:
        assert (tmp_path / "from-remote" / name).read_bytes() == (tmp_path / "from-local" / name).read_bytes()


@pytest.mark.parametrize(
    ("kind", "expected"), [("ext4", True), ("NTFS", True), ("nfs4", False), ("lustre", False), ("fuse.sshfs", False)]
)
def test_disks_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, expected: bool) -> None:
    """The innermost mount says what a folder lies on, by whatever links it is reached."""
    scratch, data = tmp_path / "scratch", tmp_path / "scratch" / "data"
    data.mkdir(parents=True)
    (tmp_path / "link").symlink_to(data)
    mounts = [("/", "nfs"), (str(scratch), "ext4"), (str(data), kind)]
    partitions = [SimpleNamespace(mountpoint=place, fstype=name) for place, name in mounts]
    monkeypatch.setattr("psutil.disk_partitions", lambda all: partitions)  # noqa: A006
    is_on_own_disk.cache_clear()
    try:
        assert [
            is_on_own_disk(place) for place in (tmp_path, scratch, data / "store", tmp_path / "link" / "store")
        ] == [
            False,
            True,
            expected,
            expected,
        ]
    finally:
        is_on_own_disk.cache_clear()
