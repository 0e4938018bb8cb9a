"""Reading all headers of a tar at once, with the walk as oracle."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from making import WEBDATASET, tar_bytes, write_tar
from test_hostile_tars import Archive, archives
from test_tar import FILES, FORMATS, Bytes, header, patched, pax

from imagecurate.shards.plain_tar import plain_members
from imagecurate.shards.sources import LocalSource
from imagecurate.shards.tar import FILE, Member, TarReader

FEW = [("000.jpg", b"x" * 700), ("000.txt", b"a dog"), ("001.jpg", b""), ("001.json", b"{}" * 256)]


def is_as_walked(data: bytes) -> bool:
    """Whether the tar is plain; if so, the walk says the same of it, and that it is sound."""
    plain = plain_members(data)
    if plain is None:
        return False
    reader = TarReader(Bytes(data))  # no local file, so walked
    columns = (plain.name, *(values.tolist() for values in plain[1:]))
    made = [Member(name, FILE, *place, "", True) for name, *place in zip(*columns, strict=True)]
    assert made == list(reader)
    assert (reader.damage, reader.damaged_places, reader.end_mark_missing) == ("", 0, False)
    return True


@pytest.mark.parametrize(
    "options",
    [{"format": each} for each in FORMATS.values()] + [WEBDATASET, {"format": tarfile.PAX_FORMAT, "uid": 3e7}],
)
def test_what_writers_write_is_plain(options: dict[str, Any]) -> None:
    """In every format, and with PAX headers that say nothing but times and owners."""
    assert is_as_walked(tar_bytes(FEW, **options))


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    files=FILES,
    variant=st.sampled_from(sorted(FORMATS)),
    cut=st.none() | st.integers(0, 20_000),
    flips=st.lists(st.tuples(st.integers(0), st.integers(1, 255)), max_size=2),
)
@example(files=FEW, variant="gnu", cut=None, flips=[(156, 1)])
def test_it_is_what_a_walk_says(
    files: list[tuple[str, bytes]], variant: str, cut: int | None, flips: list[tuple[int, int]]
) -> None:
    """Whatever is in it, cut off or flipped."""
    try:
        data = bytearray(tar_bytes(files, FORMATS[variant], mtime=0.5)[:cut])
    except ValueError:  # USTAR cannot hold such a name
        return
    for position, change in flips:
        if data:
            data[position % len(data)] ^= change
    is_as_walked(bytes(data))


@settings(max_examples=1000, deadline=None)
@given(archive=archives())
def test_it_is_what_a_walk_says_of_hostile_tars(archive: Archive) -> None:
    """With lies, links, extensions, damage, and archives in archives."""
    is_as_walked(archive.data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(10240),
        b"short",
        tar_bytes(FEW)[:-10240],  # cut off
        tar_bytes(FEW)[: 2 * 512 + 512],  # within data
        tar_bytes(FEW) + b"signed: me",
        tar_bytes(FEW) + tar_bytes(FEW),  # concatenated
        tar_bytes([*FEW, ("n" * 101, b"long")], tarfile.GNU_FORMAT),
        tar_bytes([("d" * 90 + "/" + "n" * 90, b"long")], tarfile.USTAR_FORMAT),
        tar_bytes([("ü" * 60, b"long")], tarfile.PAX_FORMAT),
        tar_bytes([("a.tar", tar_bytes(FEW))]),  # headers that are data
        header("folder/", kind=tarfile.DIRTYPE) + bytes(1024),
        header("a.jpg", kind=tarfile.SYMTYPE, link="b.jpg") + bytes(1024),
        header("a.jpg", link="b.jpg") + bytes(1024),
        patched(header("a.jpg"), 257, bytes(8)) + bytes(1024),  # V7
        patched(header("a.jpg"), 124, b"         700") + bytes(1536),
        patched(header("a\0b.jpg"), 0, b"a\0b") + bytes(1024),
        pax({"size": "3"}) + header("a.jpg") + bytes(1536),
        pax({"comment": "c"}, b"g") + header("a.jpg") + bytes(1024),
        pax({"comment": "c"}) * 2 + header("a.jpg") + bytes(1024),
        header("a.jpg") + pax({"comment": "c"}) + bytes(1024),
        header("a.jpg", 512) + bytes(512),  # no end mark
        header("a.jpg")[:-1] + b"x" + bytes(1024),  # a wrong checksum
    ],
    ids=range(23),  # the bytes themselves are no names
)
def test_what_is_left_to_a_walk(data: bytes) -> None:
    """All that is not plain and sound from the first byte to the last."""
    assert not is_as_walked(data)


def test_small_local_files_are_read_at_once(tmp_path: Path) -> None:
    """Captions then come from what was read."""
    path = write_tar(tmp_path / "0.tar", FEW)
    with LocalSource(str(path)) as source:
        reader = TarReader(source)
        members = list(reader)
    assert members == list(TarReader(Bytes(path.read_bytes())))
    assert [reader.read(member.offset, member.size) for member in members] == [data for _, data in FEW]
