"""Tars with hostile structure: no crash, no lost readable sample, no file outside the output folder.

Hypothesis puts an archive together from *pieces*: members of sound samples, and among them what a broken disk, a cut
download or an attacker would write.  Then it flips bytes and cuts the end off.  Of a sound sample this is promised
(`Archive.promised` says it in code):

- It is kept, with its bytes, if the walk comes to all of its members and reads them as they were written.
- The walk goes by what valid headers say.  It never comes to what lies within the bytes that a header claims as its
  member's data, rightly or not; from where such a claim ends it goes on.
- Where no valid header is, it goes on at the next valid one that has the magic ``ustar``, which V7 lacks.  So a damaged
  header costs its own member, and V7 members up to the next header of a younger format.
- A member is not read as it was written where a byte of it was flipped, where the file ends before it does, where an
  extension header without a member of its own precedes it and renames it, where a global PAX header renames or
  resizes all that follow up to an end mark that the walk comes to (not one amid damage), or where its key was there
  before.
"""

from __future__ import annotations

import random
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from making import tar_bytes, write_shard

import imagecurate as ic
from imagecurate.shards import InputSchema, find_shards, index_shard, open_shard
from imagecurate.shards.naming import is_unsafe, without_dots

BLOCK = 512
#: Random, so that none of it looks like a header or an end mark; byte 504 would make it go on as a sparse map.
NOISE = random.Random(0).randbytes(504) + bytes(1) + random.Random(1).randbytes(4 * BLOCK - 505)
NO_COLUMNS = InputSchema({"caption": pa.string()}, {}, metadata="none")


@dataclass(frozen=True)
class Piece:
    """Some blocks of an archive, and what they do to the blocks behind them.

    Every header in a piece but the first is harmless where the walk comes upon it alone.
    """

    data: bytes
    sample: tuple[str, str] | None = None  # key and field, of a member that may be promised
    content: bytes = b""  # of that member
    repeats: str = ""  # a key that this piece has too
    claims: int = 0  # bytes behind the piece that its header says are its own
    renames: bool = False  # the next member
    is_extension: bool = False  # has no member of its own, so that what was pending stays so
    taints: str = ""  # "archive": members up to the end mark are not as they were written; "all": no end mark mends it
    is_end_mark: bool = False
    is_damage: bool = False  # the walk does not know where the piece ends
    has_magic: bool = True

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # what Hypothesis prints
        printer.text(f"Piece({self.data[:8]!r}…{self.data[156:157]!r}…, {self.sample=}, {self.claims=})")


@dataclass
class Archive:
    """Pieces in order, one flipped byte for some of their blocks, and where the file ends."""

    pieces: list[Piece]
    flips: dict[int, tuple[int, int, int]] = field(default_factory=dict)  # piece -> block, byte, value
    cut: int | None = None

    def __post_init__(self) -> None:
        self.starts = [0]
        for piece in self.pieces:
            self.starts.append(self.starts[-1] + len(piece.data))
        data = bytearray(b"".join(piece.data for piece in self.pieces))
        for number, (block, byte, value) in self.flips.items():
            data[self.starts[number] + block % (len(self.pieces[number].data) // BLOCK) * BLOCK + byte] ^= value
        self.data = bytes(data[: self.cut])

    def promised(self) -> dict[str, dict[str, bytes]]:
        """The samples that must be kept: their fields with their bytes, by key."""
        sound: dict[str, dict[str, bytes]] = {}
        broken: set[str] = set()
        for piece, is_read, end in self._walk():
            if piece.repeats:
                broken |= {piece.repeats} - set(sound)  # it comes first, or the first is not read
            if piece.sample is None:
                continue
            key, name = piece.sample
            if is_read and end - -len(piece.content) % BLOCK <= len(self.data):
                sound.setdefault(key, {})[name] = piece.content
            else:
                broken.add(key)
        repeated = {piece.repeats for piece in self.pieces}
        scattered = {key for key in repeated & set(sound) if self._goes_on_behind_repetition(key)}
        return {key: fields for key, fields in sound.items() if key not in broken | scattered}

    def _walk(self) -> Iterator[tuple[Piece, bool, int]]:
        """Each piece, whether the walk reads it as it was written, and where it ends."""
        claimed_to = 0
        is_searching = is_renamed = False
        taint = ""
        for number, piece in enumerate(self.pieces):
            start, end = self.starts[number : number + 2]
            is_whole = False
            if end <= claimed_to:
                pass
            elif piece.is_end_mark:
                taint = taint if taint == "all" or is_searching else ""  # a search goes from header to header
                is_searching, is_renamed = True, False
            elif start < claimed_to:
                is_searching, is_renamed = True, False
            elif is_searching and not piece.has_magic:
                pass
            elif number in self.flips:
                is_searching = True  # and what it did it may still do
                is_renamed = piece.renames or (is_renamed and piece.is_extension)
            else:
                is_whole = not is_renamed and not taint
                is_searching = piece.is_damage
                is_renamed = piece.renames or (is_renamed and piece.is_extension)
                taint = piece.taints if taint != "all" and piece.taints else taint
                claimed_to = end + piece.claims
            yield piece, is_whole, end

    def _goes_on_behind_repetition(self, key: str) -> bool:
        """Members behind a repeated one belong to the repetition, so that the first sample lacks them."""
        numbers = [number for number, piece in enumerate(self.pieces) if piece.sample and piece.sample[0] == key]
        return any(piece.repeats == key for piece in self.pieces[numbers[0] : numbers[-1]])


def header(
    name: bytes, size: int | bytes = 0, kind: bytes = b"0", link: bytes = b"", magic: bytes = b"ustar\x0000"
) -> bytes:
    """One header block, its checksum right whatever else it says; a ``size`` of bytes is written as it is."""
    if isinstance(size, int):
        octal = 0 <= size < 8**11
        size = b"%011o\0" % size if octal else (size + (1 << 95 if size >= 0 else 1 << 96)).to_bytes(12)
    front = (
        name[:100].ljust(100, b"\0") + b"0000644\0" + b"0000000\0" * 2 + size[:12].ljust(12, b"\0") + b"0" * 11 + b"\0"
    )
    rest = kind + link[:100].ljust(100, b"\0") + magic
    block = (front + b" " * 8 + rest).ljust(BLOCK, b"\0")
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % BLOCK)


def records(*pairs: tuple[bytes, bytes]) -> bytes:
    """PAX records with right lengths."""
    made = b""
    for key, value in pairs:
        body = b" " + key + b"=" + value + b"\n"
        length = len(body) + next(n for n in range(1, 9) if len(str(len(body) + n)) == n)
        made += str(length).encode() + body
    return made


def extension(kind: bytes, data: bytes, size: int | bytes | None = None) -> bytes:
    return header(b"././@LongLink", len(data) if size is None else size, kind) + padded(data)


def planted(key: str, name: str, data: bytes, variant: str) -> Piece:
    """A member of a sound sample in one of the formats that tars have."""
    if variant == "v7":
        head = header(name.encode(), len(data), magic=b"")
    elif variant == "large":  # what has more than 8 GiB says its size like this
        head = extension(b"x", records((b"size", b"%d" % len(data)))) + header(name.encode(), 0)
    else:
        info = tarfile.TarInfo(name)
        info.size = len(data)
        info.mtime = 0.5 if variant == "pax" else 0  # a fraction makes an extra header
        head = info.tobuf(
            {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}[variant]
        )
    return Piece(head + padded(data), (key, name.rpartition(".")[2]), data, has_magic=variant != "v7")


#: Names that would leave the folder, are none at all, or more than a file system takes; no key of a sound sample.
NAMES = st.sampled_from(
    [
        *(b"evil.jpg", b"evil.txt", b"evil.json", b"/evil.jpg", b"../evil.jpg", b"a/../../evil.txt", b"./../evil.jpg"),
        *(
            b"//evil.jpg",
            b"..",
            b".",
            b"/",
            b"",
            b"\0",
            b"ev\0il.jpg",
            b"evil\xff\xfe.jpg",
            b"evil.jpg/",
            b"~/evil.jpg",
        ),
        *(b"C:\\evil.jpg", b"evil\n.jpg", b"\xe2\x80\xaeevil.jpg", b"evil", b".evil.jpg", b"evil..jpg"),
        *(b"evil.\xc3\xa4.jpg", b"x/" * 49 + b"ev", b"e" * 96 + b".jpg"),
    ]
)
LONG_NAMES = NAMES | st.sampled_from([b"e" * 300 + b".jpg", b"d/" * 2000 + b"evil.jpg", b"../" * 90 + b"evil.jpg"])
CONTENT = st.sampled_from(
    [b"", b"{", b"[" * 3000, NOISE[:1], NOISE[:BLOCK], NOISE[:700], tar_bytes([("nested.jpg", b"n")])]
)


def honest(name: bytes, content: bytes) -> Piece:
    return Piece(header(name, len(content)) + padded(content))


def long_named(kind: bytes, name: bytes, content: bytes) -> Piece:
    """A name, or the target of a link, in an extension header of its own."""
    data = records((b"path" if name else b"comment", name)) if kind in b"xX" else name + b"\0"
    return Piece(extension(kind, data) + header(b"evil.jpg", len(content)) + padded(content))


def lying(name: bytes, content: bytes, blocks: int, how: str) -> Piece:
    """A header that claims more blocks than the piece has, or all that is left and more."""
    more = blocks * BLOCK if blocks else {"octal": 8**11 - BLOCK * 2, "binary": 1 << 70, "pax": 10**18}[how]
    size = len(padded(content)) + more
    if how == "pax":
        front = extension(b"x", records((b"size", str(size).encode()))) + header(name, len(content))
    else:
        front = header(name, size if how == "octal" or not blocks else b"\x80" + size.to_bytes(11))
    return Piece(front + padded(content), claims=more)


def link(kind: bytes, name: bytes, target: bytes, size: int) -> Piece:
    """Links, devices and folders have no data, whatever their size says."""
    return Piece(header(name, size, kind, target))


def sparse(name: bytes, content: bytes, blocks_of_map: int) -> Piece:
    """An old GNU sparse file, with more blocks of its map behind the header."""
    more = [bytes(504) + bytes([left > 0]) + bytes(7) for left in range(blocks_of_map - 1, -1, -1)]
    return Piece(sparse_header(name, len(content), blocks_of_map > 0) + b"".join(more) + padded(content))


def sparse_header(name: bytes, size: int, goes_on: bool) -> bytes:
    block = bytearray(header(name, size, b"S", magic=b"ustar  \0"))
    block[482] = goes_on
    block[148:156] = b"%06o\0 " % (sum(block) - sum(block[148:156]) + 8 * 32)
    return bytes(block)


TARGETS = st.sampled_from(
    [
        b"",
        b"evil.jpg",
        b"./evil.jpg",
        b"/etc/passwd",
        b"../../../evil.jpg",
        b".",
        b"../work",
        b"loop.jpg",
        b"nowhere.jpg",
    ]
)

#: Extension headers with sizes that none has, and PAX records without sense: the walk goes on behind the header.
BAD_SIZES = st.sampled_from([-1, -(2**80), b"99999999999\0", b"rubbish", b"-0000001\0", b"0x10\0", b"1 2\0"])
BAD_EXTENSIONS = st.sampled_from([-1, 1 << 21, 8**11 - 1, 1 << 80, b"rubbish"])
BAD_RECORDS = st.sampled_from(
    [b"x", b"7 a=b", b"9" * 20 + b" path=a\n", b"5 =\n\n", b"-5 path=a\n", b"0 path=a\n", b"path=evil.jpg\n"]
)
BAD_RECORDED_SIZES = st.sampled_from([b"-5", b"9" * 30, "٣".encode(), b"0x7"])


def unknown(kind: bytes, name: bytes, content: bytes) -> Piece:
    """A member of a type that nobody knows is skipped by its size."""
    return Piece(header(name, len(content), kind) + padded(content))


def bad_size(name: bytes, size: int | bytes, content: bytes) -> Piece:
    return Piece(header(name, size) + padded(content), is_damage=True)


def bad_extension(size: int | bytes, kind: bytes) -> Piece:
    return Piece(extension(kind, b"", size), is_damage=True)


def bad_records(data: bytes) -> Piece:
    return Piece(extension(b"x", data) + header(b"evil.jpg"))


def bad_recorded_size(size: bytes) -> Piece:
    return Piece(extension(b"x", records((b"size", size))) + header(b"evil.jpg") + NOISE[:BLOCK], is_damage=True)


def too_long(is_recorded: bool) -> Piece:
    """A member whose data is longer than its size says."""
    front = extension(b"x", records((b"size", b"0"))) + header(b"evil.jpg", 700) if is_recorded else header(b"evil.jpg")
    return Piece(front + NOISE[: 2 * BLOCK], is_damage=True)


def noise(blocks: int) -> Piece:
    return Piece((NOISE * 25)[: blocks * BLOCK], is_damage=True, has_magic=False)


def end_mark(blocks: int) -> Piece:
    return Piece(bytes(blocks * BLOCK), is_end_mark=True)


def memberless(kind: bytes, name: bytes) -> Piece:
    """A long name whose member is gone, so that the next one has it."""
    return Piece(
        extension(kind, name + b"\0" if kind == b"L" else records((b"path", name))), renames=True, is_extension=True
    )


def global_header(key: bytes, value: bytes, taints: str) -> Piece:
    return Piece(extension(b"g", records((key, value))), is_extension=True, taints=taints)


EXTENSIONS = st.sampled_from([b"x", b"g", b"L", b"K"])
HOSTILE: st.SearchStrategy[Piece] = st.one_of(
    st.builds(honest, NAMES, CONTENT),
    st.builds(long_named, st.sampled_from([b"x", b"X", b"L", b"K"]), LONG_NAMES, CONTENT),
    st.builds(lying, NAMES, CONTENT, st.integers(0, 9), st.sampled_from(["octal", "binary", "pax"])),
    st.builds(link, st.sampled_from([b"1", b"2", b"3", b"4", b"5", b"6"]), NAMES, TARGETS, st.integers(0, 8**11 - 1)),
    st.builds(link, st.sampled_from([b"1", b"2"]), st.just(b"loop.jpg"), TARGETS, st.just(0)),
    st.builds(unknown, st.sampled_from([b"\0", b"7", b"9", b"A", b"D", b"M", b"V", b"\xff", b" "]), NAMES, CONTENT),
    st.builds(sparse, NAMES, st.sampled_from([b"", NOISE[:700]]), st.integers(0, 2)),
    st.builds(lambda name: Piece(sparse_header(name, 0, goes_on=True), claims=BLOCK), NAMES),
    st.builds(bad_size, NAMES, BAD_SIZES, CONTENT),
    st.builds(bad_extension, BAD_EXTENSIONS, EXTENSIONS),
    st.builds(bad_records, BAD_RECORDS),
    st.builds(bad_recorded_size, BAD_RECORDED_SIZES),
    st.builds(too_long, st.booleans()),
    st.builds(noise, st.sampled_from([1, 2, 7, 33, 34, 97])),
    st.builds(end_mark, st.integers(1, 20)),
    st.builds(memberless, st.sampled_from([b"x", b"L"]), LONG_NAMES.filter(bool)),
    st.builds(
        global_header, st.sampled_from([b"comment", b"linkpath", b"mtime"]), st.just(b"/etc/passwd"), st.just("")
    ),
    st.builds(global_header, st.just(b"path"), st.sampled_from([b"../evil.jpg", b"evil.jpg"]), st.just("archive")),
    st.builds(global_header, st.just(b"GNU.sparse.major"), st.just(b"1"), st.just("archive")),
    st.builds(global_header, st.just(b"size"), st.sampled_from([b"0", b"513", b"1000000000000"]), st.just("all")),
)

FOLDERS = st.sampled_from(["", "", "./", "folder/", "v1.0/a b/", "ünï/", "l" * 120 + "/"])


@st.composite
def archives(draw: st.DrawFn) -> Archive:
    """Sound samples of one to three members, hostile pieces between them, flipped bytes, a cut."""
    pieces: list[Piece] = []
    for number, is_planted in enumerate(draw(st.lists(st.sampled_from([True, True, False]), min_size=2, max_size=10))):
        if not is_planted:
            pieces.append(draw(HOSTILE))
            continue
        folder, variant = draw(FOLDERS), draw(st.sampled_from(["ustar", "gnu", "pax", "large", "v7"]))
        folder = folder if len(folder) < 90 or variant not in ("v7", "large") else ""
        key = f"{folder.removeprefix('./')}sound-{number * 7919:06d}"
        for extension_ in ("jpg", "txt", "json")[: draw(st.integers(1, 3))]:
            data = (
                NOISE[number : number + draw(st.sampled_from([1, 511, 512, 513, 1500]))]
                + f"{key}.{extension_}".encode()
            )
            name = f"{folder}{key.rpartition('/')[2]}.{extension_}"
            pieces.append(planted(key, name, data, variant))
    members = [number for number, piece in enumerate(pieces) if piece.sample]
    if members:
        for number in draw(st.lists(st.sampled_from(members), max_size=2, unique=True)):
            pieces.append(pieces[number])  # far from its sample
            pieces[number] = draw(HOSTILE)
        for number in draw(st.lists(st.sampled_from(members), max_size=1)):
            piece = pieces[number]
            if piece.sample:
                copy = Piece(piece.data, repeats=piece.sample[0], has_magic=piece.has_magic)
                pieces.insert(draw(st.integers(0, len(pieces))), copy)
    # A flip may or may not break a header, so only pieces where that makes no difference to those behind are hit.
    hit = [number for number, piece in enumerate(pieces) if not (piece.claims or piece.taints or piece.is_end_mark)]
    if not hit:
        return Archive(pieces)
    # Byte 504 would make a header block go on as a sparse map; one byte a block cannot keep its checksum right.
    byte = st.integers(0, 503) | st.sampled_from([0, 124, 131, 133, 156, 257, 345])
    flip = st.tuples(st.integers(0, 9), byte, st.integers(1, 255))
    flips = draw(st.dictionaries(st.sampled_from(hit), flip, max_size=3))
    size = sum(len(piece.data) for piece in pieces)
    return Archive(pieces, flips, draw(st.none() | st.integers(0, size)))


def rows_of(path: Path) -> list[dict[str, object]]:
    (shard,) = find_shards(path)
    with open_shard(shard) as source:
        return index_shard(source, shard, NO_COLUMNS).to_pylist()


def fields_of(members: list[tuple[str, bytes]]) -> dict[str, bytes]:
    return {name.rpartition(".")[2]: data for name, data in members}


@settings(max_examples=5000, suppress_health_check=[HealthCheck.function_scoped_fixture])  # half a minute
@given(archive=archives())
def test_every_sample_that_can_be_reached_is_indexed(archive: Archive, tmp_path: Path) -> None:
    """Sound, and with its bytes; no range goes beyond the file."""
    path = tmp_path / "0.tar"
    path.write_bytes(archive.data)
    sound = {}
    for row in rows_of(path):
        ranges = [(member["name"], member["offset"], member["size"]) for member in row["_members"]]
        assert all(0 <= offset <= offset + size <= len(archive.data) for _, offset, size in ranges)
        assert row["key"] is not None or row["_error"]
        if row["_error"] is None:
            assert row["key"] not in sound
            sound[row["key"]] = fields_of([(name, archive.data[at : at + size]) for name, at, size in ranges])
    for key, fields in archive.promised().items():
        assert fields.items() <= sound[key].items()


@settings(max_examples=400)  # the other half
@given(archive=archives())
def test_hostile_shards_from_open_to_export(archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Nothing is written but into the output folder, no link, no name that leads out of it, no byte of our own."""
    root = tmp_path_factory.mktemp("hostile") / "root"
    write_shard(root / "data/1.tar", [("plain", {"jpg": b"plain", "txt": b"a caption"})])
    (root / "data/0.tar").write_bytes(archive.data)
    before = listing(root.parent)
    ds = ic.read_webdataset(str(root / "data"), workdir=None)
    ledger = ds.ledger().compute()
    summary = ds.to_webdataset(root / "out", samples_per_shard=3, progress=False)
    after = listing(root.parent)

    assert {path: after.pop(path) for path in before} == before
    assert all(path.is_relative_to(root / "out") and not path.is_symlink() for path in after)
    exported = dict(member for path in sorted(root.glob("out/*.tar")) for member in regular_members(path))
    assert not any(is_unsafe(name) for name in exported)
    assert all(data in archive.data + b"plain, a caption" for data in exported.values())
    kept = ledger[ledger.status == "kept"]
    assert len(ledger) == len(ds) == len(kept) + (ledger.status == "failed").sum()
    assert len(kept) == summary.samples == len(pd.concat(map(pd.read_parquet, root.glob("out/*.parquet"))))
    for key, fields in (archive.promised() | {"plain": {"jpg": b"plain", "txt": b"a caption"}}).items():
        assert key in set(kept.key)
        assert all(exported[f"{key}.{name}"] == data for name, data in fields.items())


def listing(folder: Path) -> dict[Path, bytes | None]:
    """Every file and folder, with the bytes that it has."""
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def regular_members(path: Path) -> Iterator[tuple[str, bytes]]:
    """The members of an exported tar, of which none may be anything but a file."""
    with tarfile.open(path, errorlevel=2) as tar:
        for member in tar:
            assert member.isreg()
            data = tar.extractfile(member)
            assert data is not None
            yield without_dots(member.name), data.read()
