"""Compressed tars: which they are, what comes out of them, and what does where they are damaged."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import random
import tempfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from making import img2dataset_shard, tar_bytes
from s3 import BUCKET, Requests, upload

from imagecurate.errors import ShardError
from imagecurate.shards import discover_schema, find_shards, index_shard, open_shard
from imagecurate.shards.compression import MAGIC_SIZE, Unpacker, can_unpack, compression_of
from imagecurate.shards.sources import LocalSource, UnpackedSource
from imagecurate.shards.tar import TarReader


def zstd(data: bytes) -> bytes:
    """One frame of zstd; Python has it from 3.14 on."""
    packed: bytes = pa.Codec("zstd").compress(data, asbytes=True)
    return packed


PACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda data: gzip.compress(data, 1, mtime=0),
    "bzip2": bz2.compress,
    "zstd": zstd,
}
#: A skippable frame, as pzstd puts before each of its own.
SKIPPED = b"\x50\x2a\x4d\x18" + (4).to_bytes(4, "little") + b"pzst"

NOISE = random.Random(0).randbytes(700_000)


class Given:
    """Packed bytes in memory, whose reads fail while ``faults`` says so."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.size = len(data)
        self.faults = 0

    def read(self, offset: int, size: int) -> bytes:
        if self.faults and offset:
            self.faults -= 1
            raise ConnectionError("reset")
        return self.data[offset : offset + size]


def unpacked(packed: bytes, compression: str) -> tuple[bytes, str]:
    """All that comes out, and what was wrong."""
    unpacker = Unpacker(Given(packed), compression)
    found = b""
    while chunk := unpacker.read_from(len(found)):
        found += chunk
    return found, unpacker.damage


def pieces_of(packed: bytes, compression: str) -> bytes:
    """What Python's own decompressors give byte by byte until they meet damage."""
    decompressor: Any = zlib.decompressobj(wbits=31) if compression == "gzip" else bz2.BZ2Decompressor()
    found = bytearray()
    with suppress(zlib.error, OSError):
        for byte in packed:
            found += decompressor.decompress(bytes([byte]))
    return bytes(found)


@pytest.mark.parametrize("compression", PACK)
@given(parts=st.lists(st.binary(max_size=300), max_size=4), noise=st.lists(st.integers(0, 200_000), max_size=2))
def test_archives_of_several_parts_are_unpacked(compression: str, parts: list[bytes], noise: list[int]) -> None:
    """Members and frames that were put together with ``cat`` come out as one, empty ones among them."""
    parts = [*parts, *(NOISE[:size] for size in noise)]
    if compression == "bzip2":  # Arrow takes nothing behind an empty member, which no tool writes
        parts = [part for part in parts if part]
    packed = b"".join(map(PACK[compression], parts)) or PACK[compression](b"")
    assert unpacked(packed, compression) == (b"".join(parts), "")
    assert compression_of(packed[:MAGIC_SIZE]) == compression
    assert can_unpack(compression)


def test_frames_that_say_to_be_skipped() -> None:
    """Parallel zstd writes them, the first before anything else."""
    packed = SKIPPED + zstd(b"abc") + SKIPPED + zstd(b"def") + SKIPPED
    assert compression_of(packed[:MAGIC_SIZE]) == "zstd"
    assert unpacked(packed, "zstd") == (b"abcdef", "")


@pytest.mark.parametrize(
    ("beginning", "compression"),
    [
        (b"", ""),
        (b"\x1f", ""),
        (b"BZhang.jpg", ""),
        (tar_bytes([("BZh9.jpg", b"")])[:10], ""),
        (lzma.compress(b"x")[:10], "xz"),
        (b"\x1f\x8b\x08", "gzip"),
    ],
)
def test_what_is_told_by_first_bytes(beginning: bytes, compression: str) -> None:
    """A name in a tar is not taken for a compression."""
    assert compression_of(beginning) == compression
    assert not can_unpack("xz")


@pytest.mark.parametrize("compression", PACK)
@pytest.mark.parametrize("left", [3, 30_000, 299_000, 300_030])
def test_what_was_cut_off_gives_what_is_there(compression: str, left: int) -> None:
    """To the last byte that the codec itself has."""
    packed = PACK[compression](NOISE[:300_000])[:left]
    found, damage = unpacked(packed, compression)
    assert NOISE[:300_000].startswith(found)
    if compression == "zstd":
        assert len(found) >= left // (128 << 10) * (128 << 10)  # whole blocks
    else:
        assert found == pieces_of(packed, compression)
    if left < len(PACK[compression](NOISE[:300_000])):
        assert damage == f"{compression}-compressed tar cut off; it unpacks to byte {len(found)}"


@pytest.mark.parametrize("part", [0.01, 0.4, 0.95])
def test_damage_costs_what_is_behind_it(part: float) -> None:
    """Up to the byte where the codec finds out."""
    text = b" ".join(str(number * 7919 % 100_003).encode() for number in range(200_000))
    packed = PACK["gzip"](text)
    at = int(part * len(packed))
    packed = packed[:at] + bytes(2000) + packed[at + 2000 :]
    found, damage = unpacked(packed, "gzip")
    assert found == pieces_of(packed, "gzip")
    assert len(found) < len(text)
    assert damage.startswith("gzip-compressed tar damaged: ")
    assert damage.endswith(f"; it unpacks to byte {len(found)}")


@pytest.mark.parametrize("compression", PACK)
def test_what_is_no_part_of_it_is_damage(compression: str) -> None:
    """All that is whole before it comes out."""
    found, damage = unpacked(PACK[compression](NOISE) + b"litter" * 9, compression)
    assert found == NOISE
    assert damage.startswith(f"{compression}-compressed tar damaged: ")


@pytest.mark.parametrize("zeros", [2, 512, 1_000_000])
def test_zeros_behind_gzip_are_no_damage(zeros: int) -> None:
    """Tools fill up blocks with them; zeros in place of what was cut off, or in front of something, are damage."""
    packed = PACK["gzip"](NOISE)
    assert unpacked(packed + bytes(zeros), "gzip") == (NOISE, "")
    assert unpacked(packed + packed + bytes(zeros), "gzip") == (NOISE + NOISE, "")
    assert unpacked(packed + bytes(zeros) + packed, "gzip")[1] != ""
    assert unpacked(packed[:-8] + bytes(8 + zeros), "gzip")[1] != ""
    assert unpacked(packed[: len(packed) // 2] + bytes(zeros), "gzip")[1] != ""


@pytest.mark.parametrize("compression", PACK)
def test_faults_of_the_network_are_not_damage(compression: str) -> None:
    """Nor do they cost or repeat a byte: what was lost is unpacked again, as after a full disk."""
    packed = Given(PACK[compression](NOISE))
    unpacker = Unpacker(packed, compression)
    found = b""
    for number in range(100):
        packed.faults = number % 3 == 1
        try:
            chunk = unpacker.read_from(len(found))
        except ConnectionError:
            continue
        if number % 5 != 2:  # else lost by the caller
            found += chunk
            if not chunk:
                break
    assert found == NOISE
    assert unpacker.damage == ""


def test_faults_of_the_network_while_damage_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second look at what was cut off may fail as well, and be repeated."""
    packed = Given(PACK["gzip"](NOISE)[:400_000])
    read, faults = packed.read, iter([True, True])

    def flaky(offset: int, size: int) -> bytes:
        if size == 1 and next(faults, False):
            raise ConnectionError("reset")
        return read(offset, size)

    monkeypatch.setattr(packed, "read", flaky)
    unpacker = Unpacker(packed, "gzip")
    found, failed = b"", 0
    while not unpacker.damage:
        try:
            found += unpacker.read_from(len(found))
        except ConnectionError:
            failed += 1
    assert found == pieces_of(packed.data, "gzip")
    assert failed == 2


def test_a_bomb_is_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    """Zeros by the terabyte do not fill the disk."""
    monkeypatch.setattr("imagecurate.shards.compression._MOST_UNPACKED", 1 << 20)
    monkeypatch.setattr("imagecurate.shards.compression._MOST_EXPANSION", 5)
    found, damage = unpacked(zstd(bytes(64 << 20)), "zstd")
    assert 1 << 20 <= len(found) < 2 << 20
    assert damage.endswith(" bytes that unpacks to more than 1048576")
    assert unpacked(zstd(NOISE * 2), "zstd")[1] == ""


@pytest.mark.parametrize("name", ["0.tar.gz", "0.tar"])
@pytest.mark.parametrize("compression", PACK)
def test_a_compressed_shard_is_its_tar(tmp_path: Path, compression: str, name: str) -> None:
    """Whatever it is called; the index is that of the tar, and so is every byte."""
    path = img2dataset_shard(tmp_path / "plain", count=12)
    (tmp_path / "packed").mkdir()
    (tmp_path / "packed" / name).write_bytes(PACK[compression](path.read_bytes()))
    (plain,), (packed,) = find_shards(path), find_shards(tmp_path / "packed")
    schema = discover_schema([plain])
    with open_shard(plain) as expected, open_shard(packed) as source:
        assert isinstance(source, UnpackedSource)
        assert source.read(3_000, 20) == expected.read(3_000, 20)
        assert not source.has(expected.size)
        assert source.has(expected.size - 1)
        assert source.size == expected.size
        assert source.read(source.size - 3, 100) == expected.read(source.size - 3, 100)
        bare = [
            index_shard(one, shard, schema).drop_columns("_error")
            for one, shard in ((expected, packed), (source, packed))
        ]
        assert bare[0].equals(bare[1])
        assert source.read_many([(0, 512), (512, 5)]) == [expected.read(0, 512), expected.read(512, 5)]
        assert source.damage == ""


def test_a_shard_is_unpacked_only_as_far_as_reads_reach(tmp_path: Path) -> None:
    """So that a look at its first members costs no more than these."""
    tar = tar_bytes([(f"{number}.jpg", NOISE[:200_000]) for number in range(40)])
    (tmp_path / "0.tar.gz").write_bytes(PACK["gzip"](tar))
    (shard,) = find_shards(tmp_path)
    with open_shard(shard) as source:
        first, second = (member for _, member in zip(range(2), TarReader(source), strict=False))
        assert (first.name, second.name) == ("0.jpg", "1.jpg")
        assert isinstance(source, UnpackedSource)
        assert source._spooled < 1_000_000
        assert source.size == len(tar)


def test_a_damaged_shard_says_so_with_its_last_byte(tmp_path: Path) -> None:
    """Members before the damage are whole."""
    tar = tar_bytes([(f"{number}.jpg", NOISE[:200_000]) for number in range(10)])
    packed = PACK["gzip"](tar)
    (tmp_path / "0.tgz").write_bytes(packed[: len(packed) // 2])
    (shard,) = find_shards(tmp_path)
    with open_shard(shard) as source:
        assert source.damage == ""
        members = list(TarReader(source))
        assert source.damage == f"gzip-compressed tar cut off; it unpacks to byte {source.size}"
        assert len(members) in (5, 6)
        assert source.read(members[3].offset, members[3].size) == NOISE[:200_000]


def test_what_is_compressed_otherwise_is_left_as_it_is(tmp_path: Path) -> None:
    """And named where it is walked."""
    (tmp_path / "0.tar").write_bytes(lzma.compress(tar_bytes([("0.jpg", b"x")])))
    (tmp_path / "1.tar.gz").write_bytes(tar_bytes([("0.jpg", b"x")]))
    misnamed, plain = find_shards(tmp_path)
    with open_shard(misnamed) as source:
        reader = TarReader(source)
        assert list(reader) == []
        assert reader.damage == "xz-compressed tar, which has to be unpacked first"
    with open_shard(plain) as source:
        assert isinstance(source, LocalSource)
        assert [member.name for member in TarReader(source)] == ["0.jpg"]


def test_a_compressed_shard_that_changed(tmp_path: Path) -> None:
    """Size and time are those of the compressed file."""
    path = tmp_path / "0.tar.gz"
    path.write_bytes(PACK["gzip"](tar_bytes([("0.jpg", b"x")])))
    (shard,) = find_shards(path)
    assert shard.size == path.stat().st_size
    path.write_bytes(path.read_bytes() + b"more")
    with pytest.raises(ShardError, match=f"was indexed with {shard.size} bytes and now has {shard.size + 4}"):
        open_shard(shard)


def test_a_full_disk_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What could not be kept comes again once there is room."""
    tar = tar_bytes([("0.jpg", NOISE)])
    (tmp_path / "0.tar.gz").write_bytes(PACK["gzip"](tar))
    (shard,) = find_shards(tmp_path)
    pwrite, full = os.pwrite, iter([False, True])

    def write(file: int, data: Any, offset: int) -> int:
        if next(full, False):
            raise OSError(28, "No space left on device")
        return pwrite(file, data, offset)

    with open_shard(shard) as source:
        monkeypatch.setattr(os, "pwrite", write)
        with pytest.raises(OSError, match="No space left"):
            source.read(0, len(tar))
        assert source.read(0, len(tar)) == tar
        assert source.damage == ""


def test_spools_leave_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They have no name from the start: a killed process leaves none either."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "spool"))
    (tmp_path / "spool").mkdir()
    (tmp_path / "0.tar.gz").write_bytes(PACK["gzip"](tar_bytes([("0.jpg", NOISE)])))
    (shard,) = find_shards(tmp_path / "0.tar.gz")
    with open_shard(shard) as source:
        source.read(0, 1000)
        assert list((tmp_path / "spool").iterdir()) == []


@pytest.mark.parametrize("stream", [False, True])
def test_a_remote_compressed_shard_is_read_once(
    tmp_path: Path,
    s3: tuple[Any, dict[str, Any], Requests],
    monkeypatch: pytest.MonkeyPatch,
    stream: bool,
) -> None:
    """In chunks, each once, but for the few bytes that told what it is where it was not to be streamed."""
    monkeypatch.setattr("imagecurate.shards.sources.STREAM_CHUNK", 100_000)
    client, options, requests = s3
    tar = tar_bytes([("0.jpg", NOISE)])
    (tmp_path / "0.tar.gz").write_bytes(PACK["gzip"](tar))
    upload(client, tmp_path, "packed")
    (shard,) = find_shards(f"s3://{BUCKET}/packed", storage_options=options)
    requests.lines.clear()
    with open_shard(shard, storage_options=options, stream=stream) as source:
        assert source.size == len(tar)
        assert source.read(0, len(tar)) == io.BytesIO(tar).read()
    assert len(requests.of("GET", "/packed/0.tar.gz")) == -(-shard.size // 100_000) + (not stream)
