"""Bytes of shards, local, remote and streamed; the remote ones from a real S3 server."""

from __future__ import annotations

import errno
import functools
import http.server
import os
import random
import tarfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fsspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from making import img2dataset_shard, tar_bytes, write_folder
from s3 import BUCKET, Requests, upload

from imagecurate.errors import ShardError
from imagecurate.shards import Shard, discover_schema, find_shards, index_shard, open_shard
from imagecurate.shards.ranges import MAX_GAP, MAX_JOINED, join_ranges
from imagecurate.shards.sources import LocalSource


def test_a_local_file(tmp_path: Path) -> None:
    """Reads stop at the end, wherever they begin."""
    path = tmp_path / "0.tar"
    path.write_bytes(bytes(range(200)))
    (shard,) = find_shards(path)
    with open_shard(shard) as source:
        assert source.size == 200
        assert source.read(10, 3) == bytes([10, 11, 12])
        assert source.read(198, 10) == bytes([198, 199])
        assert source.read(200, 10) == source.read(900, 10) == source.read(5, 0) == b""
        assert source.read_many([(3, 1), (0, 2), (199, 9)]) == [bytes([3]), bytes([0, 1]), bytes([199])]


def test_reads_that_the_system_cuts_short_are_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Linux gives at most 2 GB at a time."""
    path = tmp_path / "0.tar"
    path.write_bytes(bytes(range(200)))
    pread = os.pread
    monkeypatch.setattr(os, "pread", lambda file, size, offset: pread(file, min(size, 7), offset))
    with LocalSource(str(path)) as source:
        assert source.read(1, 150) == bytes(range(1, 151))
        assert source.read(190, 100) == bytes(range(190, 200))


def test_a_local_file_that_is_gone(tmp_path: Path) -> None:
    """Says which shard it was."""
    shard = Shard("default", "00007", str(tmp_path / "00007.tar"), 1, "", None, "")
    message = r"shard '00007' was found at '.*' and cannot be opened: No such file.*\n\nHint: load the dataset again"
    with pytest.raises(ShardError, match=message):
        open_shard(shard)


def test_a_local_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was moved, so the hint is another; root may read all, so the system is made to refuse."""
    shard = Shard("default", "00007", str(tmp_path / "00007.tar"), 1, "", None, "")

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(ShardError, match=r"cannot be opened: Permission denied\n\nHint: check its permissions$"):
        open_shard(shard)
    monkeypatch.undo()
    (tmp_path / "00007.tar").mkdir()
    with pytest.raises(ShardError, match=r"cannot be opened: Is a directory$"):
        open_shard(shard)


@pytest.mark.parametrize("size", [200, 201])
def test_a_local_file_that_changed_after_it_was_found(tmp_path: Path, size: int) -> None:
    """Other bytes are not read under the old name: size and time tell, where times count."""
    path = tmp_path / "0.tar"
    path.write_bytes(bytes(200))
    (timed,), (untimed,) = find_shards(path), find_shards(path, identity="size")
    path.write_bytes(bytes(size))
    os.utime(path, ns=(0, int(timed.stamp) + 1))
    change = "has another modification time" if size == timed.size else "was indexed with 200 bytes and now has 201"
    message = (
        rf"shard '0' of source 'default' {change}: '.*' changed after it was found\n\nHint: open the dataset again"
    )
    with pytest.raises(ShardError, match=message):
        open_shard(timed)
    if size == untimed.size:
        open_shard(untimed).close()
    else:
        with pytest.raises(ShardError, match="changed after it was found"):
            open_shard(untimed)


@given(
    st.lists(
        st.tuples(st.integers(0, 1 << 28), st.integers(0, 1 << 25)).map(lambda s: (s[0], s[0] + s[1])), max_size=20
    )
)
def test_joined_ranges_cover_what_was_asked(spans: list[tuple[int, int]]) -> None:
    """Each once, in blocks that are no larger than they must be."""
    blocks = join_ranges(spans)
    for start, end, numbers in blocks:
        assert start == min(spans[number][0] for number in numbers)
        assert end == max(spans[number][1] for number in numbers)
        assert len(numbers) == 1 or end - start <= MAX_JOINED
    covered = [number for _, _, numbers in blocks for number in numbers]
    assert sorted(covered) == [number for number, (start, end) in enumerate(spans) if start < end]


def test_s3_is_listed_once(tmp_path: Path, s3: tuple[Any, dict[str, Any], Requests]) -> None:
    """Sizes, etags and parquets come with the listing."""
    client, options, requests = s3
    upload(client, write_folder(tmp_path, shards=20), "many")
    requests.lines.clear()
    shards = find_shards(f"s3://{BUCKET}/many", storage_options=options)
    assert len(requests.lines) == 1
    assert [shard.name for shard in shards] == [f"{number:05d}" for number in range(20)]
    head = client.head_object(Bucket=BUCKET, Key="many/00003.tar")
    assert (shards[3].size, shards[3].stamp) == (head["ContentLength"], head["ETag"].strip('"'))
    assert shards[3].parquet_url == f"s3://{BUCKET}/many/00003.parquet"
    for pattern in (
        f"s3://{BUCKET}/many/*.tar",
        f"s3://{BUCKET}/many/{{00000..00019}}.tar",
        f"s3://{BUCKET}/ma*/*.tar",
    ):
        found = find_shards(pattern, storage_options=options)
        assert [shard.url for shard in found] == [shard.url for shard in shards]
    with pytest.raises(ShardError, match=f"no file or folder 's3://{BUCKET}/many/00020.tar'"):
        find_shards(f"s3://{BUCKET}/many/00020.tar", storage_options=options)


@pytest.mark.parametrize("stream", [False, True])
def test_s3_gives_the_bytes_of_the_file(tmp_path: Path, s3: tuple[Any, dict[str, Any], Requests], stream: bool) -> None:
    """By ranges and streamed, one by one and many, from many threads."""
    client, options, _ = s3
    data = random.Random(0).randbytes(300_000)
    client.put_object(Bucket=BUCKET, Key="noise/0.tar", Body=data)
    (shard,) = find_shards(f"s3://{BUCKET}/noise/0.tar", storage_options=options)
    ranges = [(100, 50), (0, 10), (299_990, 100), (5, 0), (100, 50), (70, 60), (400_000, 5)]
    expected = [data[offset : offset + size] for offset, size in ranges]
    with open_shard(shard, storage_options=options, stream=stream) as source:
        assert source.size == len(data)
        assert [source.read(*one) for one in ranges] == expected
        assert source.read_many(ranges) == expected
        assert source.read_many([]) == []
        with ThreadPoolExecutor(8) as threads:
            assert list(threads.map(lambda one: source.read(*one), ranges * 5)) == expected * 5


def test_a_streamed_index_and_its_pixels_cost_one_get(tmp_path: Path, s3: tuple[Any, dict[str, Any], Requests]) -> None:
    """The pass that finds the headers pays for everything, and one request for the parquet."""
    client, options, requests = s3
    path = img2dataset_shard(tmp_path, count=30)
    upload(client, tmp_path, "stream")
    (local,) = find_shards(path)
    (shard,) = find_shards(f"s3://{BUCKET}/stream", storage_options=options)
    schema = discover_schema([shard], storage_options=options)
    assert schema == discover_schema([local])
    requests.lines.clear()
    with open_shard(shard, storage_options=options, stream=True) as source:
        table = index_shard(source, shard, schema, storage_options=options)
        ranges = list(zip(table["_image_offset"].to_pylist(), table["_image_size"].to_pylist(), strict=True))
        pictures = source.read_many(ranges)
    assert len(requests.of("GET", "/stream/00000.tar")) == 1
    assert len(requests.of("GET", "/stream/00000.parquet")) == 1
    with open_shard(local) as source:
        assert table.equals(index_shard(source, local, schema), check_metadata=True)
        assert pictures == source.read_many(ranges)


def test_a_stream_goes_only_as_far_as_reads(
    tmp_path: Path, s3: tuple[Any, dict[str, Any], Requests], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chunk by chunk, each once; from the second on one ahead."""
    monkeypatch.setattr("imagecurate.shards.sources.STREAM_CHUNK", 1000)
    client, options, requests = s3
    data = random.Random(1).randbytes(9_500)
    client.put_object(Bucket=BUCKET, Key="chunks/0.tar", Body=data)
    (shard,) = find_shards(f"s3://{BUCKET}/chunks/0.tar", storage_options=options)
    requests.lines.clear()
    with open_shard(shard, storage_options=options, stream=True) as source:
        assert source.read(0, 10) == data[:10]
        assert source.read(900, 100) == data[900:1000]
        assert len(requests.of("GET", "/chunks/0.tar")) == 1
        assert source.read(4_000, 500) == data[4_000:4_500]
        assert source.read(0, 9_999) == data
    assert len(requests.of("GET", "/chunks/0.tar")) == 10


def test_near_ranges_are_one_request(s3: tuple[Any, dict[str, Any], Requests]) -> None:
    """Far ones are one each."""
    client, options, requests = s3
    data = random.Random(2).randbytes(2 * MAX_GAP + 1000)
    client.put_object(Bucket=BUCKET, Key="gaps/0.tar", Body=data)
    (shard,) = find_shards(f"s3://{BUCKET}/gaps/0.tar", storage_options=options)
    requests.lines.clear()
    with open_shard(shard, storage_options=options) as source:
        assert len(requests.of("GET", "/gaps/0.tar")) == 1  # its first bytes, to see whether it is compressed
        ranges = [(2 * MAX_GAP, 900), (0, 10), (500, 20)]
        assert source.read_many(ranges) == [data[offset : offset + size] for offset, size in ranges]
    assert len(requests.of("GET", "/gaps/0.tar")) == 3


def test_far_ranges_of_a_file_system_that_takes_them_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Are fetched several at a time all the same, as on a hub."""
    monkeypatch.setattr("imagecurate.shards.ranges.MAX_GAP", 100)
    data = random.Random(3).randbytes(50_000)
    fs = fsspec.filesystem("memory")
    assert not fs.async_impl
    fs.pipe("/far/0.tar", data)
    (shard,) = find_shards("memory://far/0.tar")
    ranges = [(start, 50) for start in range(49_950, 0, -1_000)]
    with open_shard(shard) as source:
        assert source.read_many(ranges) == [data[offset : offset + size] for offset, size in ranges]
    fs.rm("/far", recursive=True)


@pytest.mark.parametrize("size", [4000, 6000])
def test_an_object_of_another_size_is_an_error(s3: tuple[Any, dict[str, Any], Requests], size: int) -> None:
    """Not a truncated tar: the next listing shows another shard."""
    client, options, _ = s3
    client.put_object(Bucket=BUCKET, Key="changed/0.tar", Body=bytes(5000))
    by_size, by_etag = (
        find_shards(f"s3://{BUCKET}/changed/0.tar", storage_options=options, identity=identity)[0]
        for identity in ("size", "mtime")
    )
    client.put_object(Bucket=BUCKET, Key="changed/0.tar", Body=bytes(size))
    for stream, shard, message in (
        (False, by_size, "no longer has 5000 bytes: the object was changed after it was listed"),
        (True, by_size, "no longer has 5000 bytes"),
        (True, by_etag, "another version than the one that was found"),
    ):
        with (
            pytest.raises(ShardError, match=message),
            open_shard(shard, storage_options=options, stream=stream) as source,
        ):
            source.read(0, 5000)


def test_a_failed_chunk_can_be_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of the network that outlasts all tries is not remembered."""
    monkeypatch.setattr("imagecurate.remote.retry.TRIES", 1)
    monkeypatch.setattr("imagecurate.shards.sources.STREAM_CHUNK", 1000)
    fs = fsspec.filesystem("memory")
    fs.pipe("/flaky/0.tar", bytes(range(250)) * 20)
    (shard,) = find_shards("memory://flaky/0.tar")
    fetch, faults = fs.cat_file, iter([False, True, False, True])

    def flaky(path: str, **options: Any) -> bytes:
        if next(faults, False):
            raise ConnectionError("reset")
        data: bytes = fetch(path, **options)
        return data

    monkeypatch.setattr(fs, "cat_file", flaky)
    with open_shard(shard, stream=True) as source:
        for _ in range(2):
            with pytest.raises(ShardError, match=r"'memory://.*flaky/0.tar' cannot be read: reset"):
                source.read(0, 5000)
        assert source.read(0, 5000) == bytes(range(250)) * 20
    fs.rm("/flaky", recursive=True)


class Quiet(http.server.SimpleHTTPRequestHandler):
    """A web server that ignores ranges, as Python's own does."""

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base class calls it so
        pass


@pytest.mark.parametrize("stream", [False, True])
def test_a_web_server_that_ignores_ranges(tmp_path: Path, stream: bool) -> None:
    """The right bytes come out all the same; shards are asked for by name, a query is no part of theirs."""
    members = [("0.jpg", b"x" * 5000), ("0.txt", b"words")]
    (tmp_path / "0.tar").write_bytes(tar_bytes(members, tarfile.GNU_FORMAT))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(tmp_path)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_port}/0.tar?token=abc"
        (shard,) = find_shards(url)
        assert (shard.name, shard.url, shard.parquet_url) == ("0", url, None)
        with open_shard(shard, stream=stream) as source:
            table = index_shard(source, shard, discover_schema([shard]))
            assert table["caption"].to_pylist() == ["words"]
            assert source.read(table["_image_offset"][0].as_py(), 5000) == b"x" * 5000
        with pytest.raises(ShardError, match="no file or folder"):
            find_shards(url.replace("0.tar", "1.tar"))
        (listed,) = find_shards(f"http://127.0.0.1:{server.server_port}/")
        assert (listed.name, listed.size) == ("0", shard.size)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
