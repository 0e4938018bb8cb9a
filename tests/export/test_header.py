"""Headers that the export writes itself."""

# ruff: noqa: A002  # tarfile calls it ``format`` too

from __future__ import annotations

import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagecurate.export.header import header, padded, tar_length

names = st.text(
    st.characters(blacklist_categories=["Cs"], blacklist_characters="\0/"), min_size=1, max_size=300
).filter(lambda name: name.strip(".") != "")


def parsed(blocks: bytes, size: int) -> tarfile.TarInfo:
    with tarfile.open(fileobj=io.BytesIO(blocks + bytes(padded(size)) + bytes(1024))) as tar:
        (member,) = tar.getmembers()
    return member


@given(names, st.integers(0, 2000))
def test_tarfile_reads_any_name(name: str, size: int) -> None:
    """A name of any length and script comes back from the standard library's reader."""
    member = parsed(header(name.encode(), size), size)
    assert (member.name, member.size, member.isreg()) == (name, size, True)


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_origin_is_kept(format: int) -> None:
    """Permissions, owner and whole seconds of the time survive a new name, whatever the format was."""
    info = tarfile.TarInfo("before/with/a/folder/" + "n" * 90 + ".jpg")
    info.mode, info.uid, info.gid, info.mtime, info.uname, info.gname = 0o600, 17, 18, 1_700_000_000, "ann", "staff"
    origin = info.tobuf(format)[-512:]
    member = parsed(header(b"after.jpg", 5, origin), 5)
    assert (member.name, member.size) == ("after.jpg", 5)
    kept = (member.mode, member.uid, member.gid, member.mtime, member.uname, member.gname)
    assert kept == (0o600, 17, 18, 1_700_000_000, "ann", "staff")


def test_a_hard_links_header_becomes_a_files() -> None:
    """Type and link name of the origin are not kept."""
    info = tarfile.TarInfo("link.jpg")
    info.type, info.linkname = tarfile.LNKTYPE, "target.jpg"
    member = parsed(header(b"link.jpg", 3, info.tobuf()), 3)
    assert member.isreg() and member.linkname == ""


@pytest.mark.parametrize("size", [8**11 - 1, 8**11, 1 << 40])
def test_sizes_beyond_eight_gigabytes(size: int) -> None:
    """A size that octal digits cannot hold is written as GNU does."""
    assert tarfile.TarInfo.frombuf(header(b"a.jpg", size), "utf-8", "strict").size == size


def test_tar_length_is_a_whole_record_with_two_zero_blocks() -> None:
    """The end of an archive is what GNU tar writes."""
    for members in range(0, 30_000, 512):
        length = tar_length(members)
        assert length % 10_240 == 0 and 1024 <= length - members < 1024 + 10_240
