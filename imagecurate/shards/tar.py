"""Walk the headers of a tar without touching the data between them.

Understands V7, USTAR, GNU and PAX.  Damage is data: a walk never raises for what the bytes say, and like GNU tar it
goes on at the next header that is whole, so damage costs the members it hit and no others.

References
----------
"pax Interchange Format" and "ustar Interchange Format" in IEEE Std 1003.1; "Basic Tar Format" in the GNU tar manual.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from imagecurate.shards.compression import MAGIC_SIZE, compression_of
from imagecurate.shards.sources import ByteSource

__all__ = ["BLOCK", "FILE", "HARD_LINK", "OTHER", "SPARSE", "SYMBOLIC_LINK", "Member", "TarReader"]

BLOCK = 512

FILE = "file"
HARD_LINK = "hard link"
SYMBOLIC_LINK = "symbolic link"
SPARSE = "sparse file"
OTHER = "other"  # folders, devices, volume labels

#: name, size, checksum, type, link name, magic, prefix
_HEADER = struct.Struct("100s24x12s12x8sc100s6s82x155s12x")
_KINDS = {b"1": HARD_LINK, b"2": SYMBOLIC_LINK, b"S": SPARSE, **dict.fromkeys((b"0", b"\0", b"7"), FILE)}
#: Types whose size field counts no data in the archive: links, devices, folders, pipes.
_NO_DATA = frozenset((b"1", b"2", b"3", b"4", b"5", b"6"))
#: Headers that say something of the member after them: PAX (Sun's too), GNU long name and long link; and of all after.
_EXTENSIONS = frozenset((b"x", b"X", b"L", b"K", b"g"))
#: Names and PAX records are small; Go's archive/tar draws the line at the same place.
_MOST_EXTENSION_BYTES = 1 << 20
#: PAX records that decide which bytes a member has under which name; times, owners and comments do not.
_DECISIVE = frozenset((b"path", b"linkpath", b"size"))
_SPARSE_RECORD = b"GNU.sparse."

#: Where no header follows damage within so many bytes, the walk ends.
_MOST_SEARCHED = 64 << 20
_SEARCH_STEP = 1 << 20
_MAGIC = np.frombuffer(b"ustar", np.uint8)
#: Archives end in zeros up to a record of 10 KiB, or one of the writer's choice; more is a download with a hole.
_MOST_PADDING = 1 << 20


class Member(NamedTuple):
    """One member of a tar.

    ``start`` is the first header block that belongs to it, its long-name and PAX headers included; ``offset`` and
    ``size`` are its data, which may be cut off by the end of the tar.  ``verbatim`` says that the bytes from ``start``
    to the end of the data mean the same in any other tar.
    """

    name: str
    kind: str
    start: int
    offset: int
    size: int
    link: str
    verbatim: bool


class _Header(NamedTuple):
    name: bytes
    size: int
    kind: bytes
    link: bytes


class _DamageError(Exception):
    """What is at this position is no header, or only the beginning of one."""

    def __init__(self, position: int, reason: str = "", *, is_cut_off: bool = False) -> None:
        super().__init__(reason)
        self.position = position
        self.is_cut_off = is_cut_off


class TarReader:
    """Iterates over the members of a tar, reading a few kilobytes around each header.

    What lies in the window of a header (captions, JSON, the next headers) is served from it: one read does for all
    small members of a sample.

    Parameters
    ----------
    source : ByteSource
        The tar.

    Attributes
    ----------
    damage : str
        What was wrong first, and where; filled while iterating, empty for a sound tar.
    damaged_places : int
        In how many places it was.
    end_mark_missing : bool
        The file ends right behind a whole member, as a download does that stopped between two; filled while iterating.
    """

    def __init__(self, source: ByteSource) -> None:
        self.damage = ""
        self.damaged_places = 0
        self.end_mark_missing = False
        self._source = source
        self._window = b""
        self._window_at = 0
        self._globals: dict[bytes, bytes] = {}

    def read(self, offset: int, size: int) -> bytes:
        """Read ``size`` bytes, fewer at the end of the tar, through the window."""
        first = offset - self._window_at
        if first < 0 or first + size > len(self._window):
            self._window = self._source.read(offset, max(size, self._source.window))
            self._window_at = offset
            first = 0
        return self._window[first : first + size]

    def __iter__(self) -> Iterator[Member]:
        position = 0
        member: Member | None = None
        if not self._source.has(0):
            self._note("empty file")
        while self._source.has(position):
            try:
                member, position = self._member(position)
            except _DamageError as damage:
                member, position = None, self._after_damage(damage)
                continue
            if member is None:
                position = self._after_end_mark(position)
            else:
                yield member
        # a cut may lie in the padding of the last member, too
        self.end_mark_missing = member is not None and 0 <= position - self._source.size < BLOCK

    def _member(self, start: int) -> tuple[Member | None, int]:
        """Read the member whose headers begin at ``start``; it and what comes after it, or None for an end mark."""
        position = start
        records: Mapping[bytes, bytes] = self._globals
        long_name = long_link = None
        is_whole = True
        while True:
            header = self._header(position)
            if header is None:
                return None, position
            offset = position + BLOCK
            if header.kind not in _EXTENSIONS:
                break
            data = self._extension(header, offset)
            if header.kind == b"L":
                long_name = data.partition(b"\0")[0]
            elif header.kind == b"K":
                long_link = data.partition(b"\0")[0]
            elif header.kind == b"g":
                self._globals = {**self._globals, **_records(data, position)}
                records = {**self._globals, **records}
                is_whole = is_whole and position == start
                start = offset + _padded(header.size)  # a global header belongs to no one member
            else:
                records = {**records, **_records(data, position)}
            position = offset + _padded(header.size)

        name, size, kind, link = header
        sort = _KINDS.get(kind, OTHER)
        verbatim = sort == FILE and is_whole and not self._globals
        name, link = long_name or name, long_link or link
        if records:
            name, link = records.get(b"path") or name, records.get(b"linkpath") or link
            if b"size" in records:
                size = _decimal(records[b"size"], position)
            if any(record.startswith(_SPARSE_RECORD) for record in records):
                sort, name, verbatim = SPARSE, records.get(b"GNU.sparse.name") or name, False
        if kind == b"\0" and name.endswith(b"/"):  # a folder, before folders had a type
            sort, verbatim = OTHER, False
        if kind == b"S":
            offset = self._after_sparse_map(position)
        end = offset + (0 if kind in _NO_DATA else _padded(size))
        return Member(_text(name), sort, start, offset, size, _text(link) if link else "", verbatim), end

    def _header(self, position: int) -> _Header | None:
        block = self.read(position, BLOCK)
        if len(block) < BLOCK:
            raise _DamageError(position, is_cut_off=True)
        return _parsed(block, position)

    def _extension(self, header: _Header, offset: int) -> bytes:
        if header.size > _MOST_EXTENSION_BYTES:
            raise _DamageError(offset - BLOCK, f"an extension header of {header.size} bytes")
        data = self.read(offset, header.size)
        if len(data) < header.size:
            raise _DamageError(offset - BLOCK, is_cut_off=True)
        return data

    def _after_sparse_map(self, position: int) -> int:
        """Skip the blocks in which old GNU sparse headers go on."""
        more, offset = self.read(position, BLOCK)[482], position + BLOCK
        while more:
            block = self.read(offset, BLOCK)
            if len(block) < BLOCK:
                raise _DamageError(offset, is_cut_off=True)
            more, offset = block[504], offset + BLOCK
        return offset

    def _after_damage(self, damage: _DamageError) -> int:
        found = self._find_header(damage.position + BLOCK)
        if damage.is_cut_off and self._source.size >= BLOCK:
            self._note(f"truncated tar: the file ends within the header at byte {damage.position}")
        elif found is None and damage.position == 0:
            self._note(self._what_it_is())
        else:
            self._note(f"tar damaged: at byte {damage.position}: {damage}; {_where(found)}")
        return self._source.size if found is None else found

    def _after_end_mark(self, position: int) -> int:
        """Go on behind the zeros that end an archive: where archives were concatenated, another begins."""
        self._globals = {}
        rest = self._source.read(position, _MOST_PADDING)
        zeros = len(rest) - len(rest.lstrip(b"\0"))
        if zeros == self._source.size - position:
            return self._source.size
        found = self._find_header(position)
        is_next_archive = found is not None and found - position <= zeros
        is_litter = found is None and zeros < len(rest)
        if not is_next_archive and not is_litter:  # a download that left a hole
            self._note(f"tar damaged: at byte {position}: zeros where a header belongs; {_where(found)}")
        return self._source.size if found is None else found

    def _note(self, damage: str) -> None:
        self.damage = self.damage or damage
        self.damaged_places += 1

    def _find_header(self, position: int) -> int | None:
        end = min(self._source.size, position + _MOST_SEARCHED)
        step = self._source.window
        while position + BLOCK <= end:
            chunk = self._source.read(position, step)
            blocks = np.frombuffer(chunk, np.uint8, len(chunk) // BLOCK * BLOCK).reshape(-1, BLOCK)
            for number in np.flatnonzero((blocks[:, 257:262] == _MAGIC).all(axis=1)).tolist():
                try:
                    _parsed(chunk[number * BLOCK : (number + 1) * BLOCK], position)
                except _DamageError:
                    continue
                return int(position + number * BLOCK)
            if len(blocks) == 0:
                break
            position += len(blocks) * BLOCK
            step = min(2 * step, _SEARCH_STEP)
        return None

    def _what_it_is(self) -> str:
        compression = compression_of(self._source.read(0, MAGIC_SIZE))
        return f"{compression}-compressed tar, which has to be unpacked first" if compression else "not a tar file"


def _parsed(block: bytes, position: int) -> _Header | None:
    """Read one header block; None where it is all zeros."""
    name, size, checksum, kind, link, magic, prefix = _HEADER.unpack(block)
    try:
        stored = int(checksum.partition(b"\0")[0], 8)
    except ValueError:
        if not block.strip(b"\0"):
            return None
        raise _DamageError(position, "no valid header") from None
    # The low half of Adler-32 is the sum of the bytes plus one, modulo 65521: a sum at the speed of C.  A header's
    # checksum counts its own field as eight spaces.
    total = (zlib.adler32(block) & 0xFFFF) - 1 - sum(checksum) + 8 * 32
    if (stored - total) % 65521:
        signed = sum(struct.unpack("512b", block)) - sum(struct.unpack("8b", checksum)) + 8 * 32
        if stored != signed:  # what the tar of Sun and NeXT wrote
            raise _DamageError(position, "no valid header")
    name = name.partition(b"\0")[0]
    if prefix[0] and magic == b"ustar\0":  # GNU keeps times there
        name = prefix.partition(b"\0")[0] + b"/" + name
    return _Header(name, _number(size, position), kind, link.partition(b"\0")[0])


def _number(field: bytes, position: int) -> int:
    """Read a size: octal text or, where that is too short, a big-endian number behind a byte with the high bit."""
    if field[0] & 0x80:
        value = int.from_bytes(bytes([field[0] & 0x7F if field[0] != 0xFF else 0xFF]) + field[1:], signed=True)
    else:
        try:
            value = int(field.partition(b"\0")[0].strip() or b"0", 8)
        except ValueError:
            raise _DamageError(position, f"a size of {field!r}") from None
    if value < 0:
        raise _DamageError(position, "a negative size")
    return value


def _decimal(value: bytes, position: int) -> int:
    if not value.isdigit() or len(value) > 20:
        raise _DamageError(position, f"a size of {value[:40]!r}")
    return int(value)


def _records(data: bytes, position: int) -> dict[bytes, bytes]:
    """Read PAX records, each a length, a space, ``key=value`` and a line feed; only those that say what a member is."""
    records = {}
    at = 0
    while at < len(data) and data[at]:
        digits = data[at : at + 20].partition(b" ")[0]
        length = int(digits) if digits.isdigit() else 0
        record = data[at : at + length]
        key, equals, value = record[len(digits) + 1 : -1].partition(b"=")
        if not equals or len(record) < length:
            raise _DamageError(position, "a PAX header without sense")
        if key in _DECISIVE or key.startswith(_SPARSE_RECORD):
            records[key] = value
        at += length
    return records


def _where(found: int | None) -> str:
    return "nothing readable after it" if found is None else f"the next whole header is at byte {found}"


def _padded(size: int) -> int:
    return (size + BLOCK - 1) // BLOCK * BLOCK


def _text(name: bytes) -> str:
    """Decode a name; bytes that are no UTF-8 are spelled out in hex, so that different names stay different."""
    return name.decode("utf-8", "backslashreplace")
