"""The tar reader, with the standard library's as oracle."""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from making import tar_bytes

from imagecurate.shards.sources import ByteSource, LocalSource
from imagecurate.shards.tar import FILE, HARD_LINK, OTHER, SPARSE, SYMBOLIC_LINK, Member, TarReader

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}

NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/"), min_size=1, max_size=40)
LONG = st.integers(1, 300).map(lambda length: "n" * length)
PATHS = st.lists(NAMES | LONG, min_size=1, max_size=4).map("/".join)
FILES = st.lists(st.tuples(PATHS, st.binary(max_size=1500)), max_size=8)


class Bytes(ByteSource):
    """A tar in memory, read through as small a window as possible."""

    window = 512

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.size = len(data)

    def read(self, offset: int, size: int) -> bytes:
        return self.data[offset : offset + size]

    def close(self) -> None:
        pass


def walked(data: bytes) -> tuple[list[Member], str]:
    reader = TarReader(Bytes(data))
    return list(reader), reader.damage


def header(
    name: str = "a.jpg", size: int = 0, kind: bytes = tarfile.REGTYPE, link: str = "", **fields: object
) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = size, kind, link
    for field, value in fields.items():
        setattr(info, field, value)
    return info.tobuf(tarfile.GNU_FORMAT)


def patched(block: bytes, at: int, value: bytes) -> bytes:
    """Change a header block and make its checksum right again."""
    block = block[:at] + value + block[at + len(value) :]
    total = sum(block[:148]) + 8 * 32 + sum(block[156:])
    return block[:148] + b"%06o\0 " % total + block[156:]


@pytest.mark.parametrize("variant", FORMATS)
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(files=FILES)
@example(files=[("n" * 101, b"x"), ("d" * 120 + "/" + "n" * 90, b""), ("ü" * 90, b"y" * 512), ("z" * 1000, b"")])
def test_members_are_those_of_tarfile(variant: str, files: list[tuple[str, bytes]]) -> None:
    """Names, offsets and sizes agree for every format; long names, Unicode and folders among them."""
    try:
        data = tar_bytes(files, FORMATS[variant])
    except ValueError:  # USTAR cannot hold such a name
        return
    members, damage = walked(data)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        expected = [(info.name, info.offset, info.offset_data, info.size) for info in tar]
    assert [(member.name, member.start, member.offset, member.size) for member in members] == expected
    assert all(member.verbatim and member.kind == FILE for member in members)
    assert damage == ""


@given(
    files=FILES, cut=st.integers(0, 20_000), flips=st.lists(st.tuples(st.integers(0), st.integers(1, 255)), max_size=4)
)
@settings(deadline=None)
def test_no_damage_raises(files: list[tuple[str, bytes]], cut: int, flips: list[tuple[int, int]]) -> None:
    """Whatever is cut off or flipped, a walk ends, and its members lie where they can."""
    data = bytearray(tar_bytes(files, tarfile.PAX_FORMAT, mtime=0.5)[:cut])
    for position, change in flips:
        if data:
            data[position % len(data)] ^= change
    members, _ = walked(bytes(data))
    starts = [member.start for member in members]
    assert starts == sorted(set(starts))
    assert all(member.offset <= len(data) and member.size >= 0 for member in members)


@given(st.binary(max_size=3000))
@settings(deadline=None)
def test_noise_is_no_tar(data: bytes) -> None:
    """Random bytes give no member and a reason."""
    members, damage = walked(data)
    assert not members
    assert damage or not data.strip(b"\0")


@pytest.mark.parametrize("variant", FORMATS)
def test_what_precedes_and_follows_damage_is_read(variant: str) -> None:
    """One bad header costs its member alone, as in GNU tar."""
    files = [(f"{number:03d}.jpg", bytes([number]) * 700) for number in range(5)]
    data = bytearray(tar_bytes(files, FORMATS[variant]))
    members, _ = walked(bytes(data))
    bad = members[2].offset - 512
    data[bad : bad + 20] = b"\xff" * 20
    members, damage = walked(bytes(data))
    assert [member.name for member in members] == ["000.jpg", "001.jpg", "003.jpg", "004.jpg"]
    assert damage == f"tar damaged: at byte {bad}: no valid header; the next whole header is at byte {bad + 3 * 512}"


def test_damage_without_anything_after_it() -> None:
    """The walk ends with the byte where it went wrong."""
    data = header("a.jpg", 3) + b"abc".ljust(512, b"\0") + b"x" * 2048
    members, damage = walked(data)
    assert [member.name for member in members] == ["a.jpg"]
    assert damage == "tar damaged: at byte 1024: no valid header; nothing readable after it"


@pytest.mark.parametrize(
    ("data", "damage"),
    [
        (b"", "empty file"),
        (bytes(10240), ""),
        (b"<!DOCTYPE html><title>403 Forbidden</title>" * 40, "not a tar file"),
        (b"short", "not a tar file"),
        (gzip.compress(tar_bytes([("a.jpg", b"x")]), mtime=0), "gzip-compressed tar, which has to be unpacked first"),
        (b"\x28\xb5\x2f\xfd" + b"z" * 900, "zstd-compressed tar, which has to be unpacked first"),
        (tar_bytes([("a.jpg", b"x")])[:700], ""),  # ends within padding
        (tar_bytes([("a.jpg", b"x")])[:1024], ""),  # no end mark
        (
            tar_bytes([("a.jpg", b"x"), ("b.jpg", b"y")])[:1100],
            "truncated tar: the file ends within the header at byte 1024",
        ),
        (bytes(3 << 20), "tar damaged: at byte 0: zeros where a header belongs; nothing readable after it"),
    ],
    ids=range(10),  # the bytes themselves are no names
)
def test_what_is_no_whole_tar(data: bytes, damage: str) -> None:
    """Empty, foreign, compressed and cut-off files are told apart."""
    assert walked(data)[1] == damage


@pytest.mark.parametrize(
    ("size", "is_missing"), [(1024, True), (2048, True), (700, True), (1100, False), (2560, False), (None, False)]
)
def test_a_tar_that_ends_behind_a_whole_member(size: int | None, is_missing: bool) -> None:
    """Only the end mark says that nothing more was meant to come."""
    reader = TarReader(Bytes(tar_bytes([("a.jpg", b"x"), ("b.jpg", b"y")])[:size]))
    list(reader)
    assert reader.end_mark_missing == is_missing


def test_a_member_that_is_cut_off_keeps_its_size() -> None:
    """So that whoever reads it sees that it ends behind the file."""
    (member,), damage = walked(tar_bytes([("a.jpg", b"x" * 5000)])[:2000])
    assert member.offset + member.size == 5512
    assert damage == ""


def test_concatenated_archives_are_read_to_the_end() -> None:
    """The zeros between archives that were put together with ``cat`` are no damage."""
    data = tar_bytes([("a.jpg", b"x")]) + tar_bytes([("b.jpg", b"y")])
    members, damage = walked(data)
    assert [member.name for member in members] == ["a.jpg", "b.jpg"]
    assert damage == ""


def test_a_hole_in_a_download_is_damage() -> None:
    """Zeros by the megabyte are no padding."""
    first, second = tar_bytes([("a.jpg", b"x")])[:1024], tar_bytes([("b.jpg", b"y")])
    members, damage = walked(first + bytes(2 << 20) + second)
    assert [member.name for member in members] == ["a.jpg", "b.jpg"]
    assert damage.startswith(
        "tar damaged: at byte 1024: zeros where a header belongs; the next whole header is at byte 20"
    )


def test_litter_behind_the_end_is_ignored() -> None:
    """Bytes that no header begins, as a signature, are no part of the archive."""
    assert walked(tar_bytes([("a.jpg", b"x")]) + b"signed: me")[1] == ""


def test_kinds_of_members() -> None:
    """Links, folders, devices and sparse files are told from files, and only files move as they are."""
    data = (
        header("folder/", kind=tarfile.DIRTYPE)
        + header("old-folder/", kind=tarfile.AREGTYPE)
        + header("a.jpg", 1)
        + b"x".ljust(512, b"\0")
        + header("hard.jpg", kind=tarfile.LNKTYPE, link="a.jpg")
        + header("soft.jpg", kind=tarfile.SYMTYPE, link="k" * 200)
        + header("pipe.jpg", kind=tarfile.FIFOTYPE)
        + header("contiguous.jpg", kind=tarfile.CONTTYPE)
    )
    members, damage = walked(data + bytes(1024))
    found = [(member.name, member.kind, member.verbatim) for member in members]
    assert found == [
        ("folder/", OTHER, False),
        ("old-folder/", OTHER, False),
        ("a.jpg", FILE, True),
        ("hard.jpg", HARD_LINK, False),
        ("soft.jpg", SYMBOLIC_LINK, False),
        ("pipe.jpg", OTHER, False),
        ("contiguous.jpg", FILE, True),
    ]
    assert [member.link for member in members if member.link] == ["a.jpg", "k" * 200]
    assert damage == ""


def test_a_long_name_is_no_folder_for_being_cut_at_a_slash() -> None:
    """The header itself holds the first 100 letters, which may end in one."""
    name = "d" * 99 + "/a.jpg"
    block = patched(header("x"), 0, name[:100].encode())
    for kind in (tarfile.REGTYPE, tarfile.AREGTYPE):
        members, _ = walked(pax({"path": name}) + patched(block, 156, kind))
        assert [(member.name, member.kind, member.verbatim) for member in members] == [(name, FILE, True)]


def test_old_gnu_sparse_headers_go_on_in_blocks_of_their_own() -> None:
    """A sparse file is skipped with all its maps."""
    first = patched(patched(header("sparse.jpg", 512), 156, b"S"), 482, b"\1")
    more, last = bytes(504) + b"\1" + bytes(7), bytes(512)
    data = first + more + last + b"d" * 512 + header("b.jpg") + bytes(1024)
    members, damage = walked(data)
    assert [(member.name, member.kind, member.offset) for member in members] == [
        ("sparse.jpg", SPARSE, 3 * 512),
        ("b.jpg", FILE, 5 * 512),
    ]
    assert damage == ""


def pax(records: dict[str, str], kind: bytes = b"x") -> bytes:
    info = tarfile.TarInfo("a.jpg")
    return info._create_pax_generic_header(records, kind, "utf-8")  # type: ignore[attr-defined,no-any-return]


def test_pax_records_override_name_and_size() -> None:
    """The header says something else than its records."""
    data = pax({"path": "dir/ünï.jpg", "size": "3"}) + header("x", 0) + b"abc".ljust(512, b"\0") + header("b.jpg")
    members, _ = walked(data)
    assert [(member.name, member.size, member.start) for member in members] == [
        ("dir/ünï.jpg", 3, 0),
        ("b.jpg", 0, 2048),
    ]


def test_a_global_header_between_a_member_and_its_own_costs_the_copy() -> None:
    """What belongs to the member is then not in one piece."""
    data = pax({"path": "real.jpg"}) + pax({"comment": "a"}, b"g") + pax({"comment": "b"}, b"g") + header("x")
    (member,), _ = walked(data)
    assert (member.name, member.verbatim) == ("real.jpg", False)


@pytest.mark.parametrize(
    ("records", "moves"), [({"comment": "git"}, True), ({"path": "p.jpg"}, False), ({"size": "0"}, False)]
)
def test_global_headers_count_where_they_change_something(records: dict[str, str], moves: bool) -> None:
    """A comment does not; a name or size does, for all members after it, which then cannot be copied as they are."""
    members, _ = walked(pax(records, b"g") + header("a.jpg") + header("b.jpg"))
    assert [member.verbatim for member in members] == [moves, moves]
    assert members[0].start == len(pax(records, b"g"))
    assert members[0].name == records.get("path", "a.jpg")


def test_pax_sparse_files_are_recognised() -> None:
    """By their records; the header says that they are plain."""
    records = {"GNU.sparse.major": "1", "GNU.sparse.name": "real.jpg"}
    (member,), _ = walked(pax(records) + header("GNUSparseFile.0/real.jpg"))
    assert (member.name, member.kind, member.verbatim) == ("real.jpg", SPARSE, False)


@pytest.mark.parametrize(
    ("field", "size"),
    [
        (b"00000001234\0", 0o1234),
        (b"       1234 ", 0o1234),
        (b"1234\0\0\0\0\0\0\0\0", 0o1234),
        (b"777777777777", 0o777777777777),
        (b"\x80" + (2**40).to_bytes(11, "big"), 2**40),
        (b"\0" * 12, 0),
        (b"            ", 0),
    ],
)
def test_sizes_in_every_notation(field: bytes, size: int) -> None:
    """Octal with zeros, blanks, without end, and base 256."""
    (member,), _ = walked(patched(header("a.jpg"), 124, field))
    assert member.size == size


@pytest.mark.parametrize(
    ("field", "reason"), [(b"\xff" * 12, "a negative size"), (b"12x4\0\0\0\0\0\0\0\0", "a size of ")]
)
def test_absurd_sizes_are_damage(field: bytes, reason: str) -> None:
    """They are no reason to stop, nor to ask for memory."""
    members, damage = walked(patched(header("a.jpg"), 124, field) + header("b.jpg"))
    assert [member.name for member in members] == ["b.jpg"]
    assert reason in damage


@pytest.mark.parametrize("kind", [b"L", b"x"])
def test_absurd_extension_headers_are_damage(kind: bytes) -> None:
    """A long name of 2**60 bytes is none."""
    data = patched(patched(header("a.jpg"), 156, kind), 124, b"\x80" + (2**60).to_bytes(11, "big"))
    members, damage = walked(data + header("b.jpg"))
    assert [member.name for member in members] == ["b.jpg"]
    assert "an extension header of 1152921504606846976 bytes" in damage


@pytest.mark.parametrize("records", [b"999 path=x\n", b"x path=y\n", b"8 nothing\n", b"-5 a=b\n", b"12 size=-33\n"])
def test_pax_headers_without_sense_are_damage(records: bytes) -> None:
    """Whatever they say, the walk goes on behind them."""
    block = patched(header("PaxHeader", len(records)), 156, b"x")
    members, damage = walked(block + records.ljust(512, b"\0") + header("a.jpg") + header("b.jpg"))
    assert members[-1].name == "b.jpg"
    assert damage.startswith("tar damaged: at byte")


def test_signed_checksums_are_accepted() -> None:
    """The tar of Sun summed signed characters."""
    block = bytearray(header("\xe9\xe8.jpg"))
    total = sum(byte - 256 if byte > 127 else byte for byte in block[:148] + b" " * 8 + block[156:])
    block[148:156] = b"%06o\0 " % total
    (member,), damage = walked(bytes(block))
    assert (member.name, damage) == ("éè.jpg", "")


def test_names_that_are_no_utf8_stay_different() -> None:
    """Latin-1 names become text that Arrow can hold."""
    members, _ = walked(patched(header("x.jpg"), 0, b"caf\xe9") + patched(header("x.jpg"), 0, b"caf\xe8"))
    assert [member.name for member in members] == ["caf\\xe9g", "caf\\xe8g"]


def test_v7_headers_have_no_magic(tmp_path: Path) -> None:
    """The oldest format, through a real file and window."""
    block = patched(header("old.jpg", 2), 257, bytes(8))
    path = tmp_path / "v7.tar"
    path.write_bytes(block + b"ab".ljust(512, b"\0") + bytes(1024))
    with LocalSource(str(path)) as source:
        reader = TarReader(source)
        (member,) = reader
        assert reader.read(member.offset, member.size) == b"ab"
    assert (member.name, reader.damage) == ("old.jpg", "")
