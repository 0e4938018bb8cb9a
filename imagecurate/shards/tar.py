"""Walk the headers of a tar without touching the data between them.

Understands V7, USTAR, GNU and PAX.  Damage is data: a walk never raises for what the bytes say, and like GNU tar it
goes on at the next header that is whole, so damage costs the members it hit and no others.

References
----------
"pax Interchange Format" and "ustar Interchange Format" in IEEE Std 1003.1; "Basic Tar Format" in the GNU tar manual.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from imagecurate.shards.compression import MAGIC_SIZE, compression_of
from imagecurate.shards.plain_tar import PlainMembers, plain_members
from imagecurate.shards.sources import ByteSource, LocalSource
from imagecurate.shards.tar_headers import (
    BLOCK,
    MAGIC,
    SPARSE_RECORD,
    DamageError,
    Header,
    decimal,
    pad,
    parse_header,
    parse_records,
    text,
)

__all__ = ["BLOCK", "FILE", "HARD_LINK", "OTHER", "SPARSE", "SYMBOLIC_LINK", "Member", "TarReader"]

FILE = "file"
HARD_LINK = "hard link"
SYMBOLIC_LINK = "symbolic link"
SPARSE = "sparse file"
OTHER = "other"  # folders, devices, volume labels

_KINDS = {b"1": HARD_LINK, b"2": SYMBOLIC_LINK, b"S": SPARSE, **dict.fromkeys((b"0", b"\0", b"7"), FILE)}
#: Types whose size field counts no data in the archive: links, devices, folders, pipes.
_NO_DATA = frozenset((b"1", b"2", b"3", b"4", b"5", b"6"))
#: Headers that say something of the member after them: PAX (Sun's too), GNU long name and long link; and of all after.
_EXTENSIONS = frozenset((b"x", b"X", b"L", b"K", b"g"))
#: Names and PAX records are small; Go's archive/tar draws the line at the same place.
_MOST_EXTENSION_BYTES = 1 << 20
#: A local tar up to here is read whole: that takes no longer than to read around each header.
_SMALL = 8 << 20
#: Where no header follows damage within so many bytes, the walk ends.
_MOST_SEARCHED = 64 << 20
_SEARCH_STEP = 1 << 20
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


class TarReader:
    """Iterates over the members of a tar, reading a few kilobytes around each header, or all of a small local file.

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
        self._plain: PlainMembers | None = None
        self._was_asked = False  # not a cached_property, whose lock all readers would share before Python 3.12

    def read(self, offset: int, size: int) -> bytes:
        """Read ``size`` bytes, fewer at the end of the tar, through the window."""
        first = offset - self._window_at
        if first < 0 or first + size > len(self._window):
            self._window = self._source.read(offset, max(size, self._source.window))
            self._window_at = offset
            first = 0
        return self._window[first : first + size]

    @property
    def plain(self) -> PlainMembers | None:
        """All members of a small local tar that is plain, at once; None for any other."""
        if not self._was_asked and isinstance(self._source, LocalSource) and self._source.size <= _SMALL:
            self._plain = plain_members(self.read(0, self._source.size))
        self._was_asked = True
        return self._plain

    def __iter__(self) -> Iterator[Member]:
        return self._walk() if self.plain is None else self._each_of(self.plain)

    def _each_of(self, plain: PlainMembers) -> Iterator[Member]:
        columns = (plain.name, plain.start.tolist(), plain.offset.tolist(), plain.size.tolist())
        for name, start, offset, size in zip(*columns, strict=True):
            yield Member(name, FILE, start, offset, size, "", True)

    def _walk(self) -> Iterator[Member]:
        position = 0
        member: Member | None = None
        if not self._source.has(0):
            self._note("empty file")
        while self._source.has(position):
            try:
                member, position = self._member(position)
            except DamageError as damage:
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
                self._globals = {**self._globals, **parse_records(data, position)}
                records = {**self._globals, **records}
                is_whole = is_whole and position == start
                start = offset + pad(header.size)  # a global header belongs to no one member
            else:
                records = {**records, **parse_records(data, position)}
            position = offset + pad(header.size)

        name, size, kind, link = header
        sort = _KINDS.get(kind, OTHER)
        verbatim = sort == FILE and is_whole and not self._globals
        name, link = long_name or name, long_link or link
        if records:
            name, link = records.get(b"path") or name, records.get(b"linkpath") or link
            if b"size" in records:
                size = decimal(records[b"size"], position)
            if any(record.startswith(SPARSE_RECORD) for record in records):
                sort, name, verbatim = SPARSE, records.get(b"GNU.sparse.name") or name, False
        if kind == b"\0" and name.endswith(b"/"):  # a folder, before folders had a type
            sort, verbatim = OTHER, False
        if kind == b"S":
            offset = self._after_sparse_map(position)
        end = offset + (0 if kind in _NO_DATA else pad(size))
        return Member(text(name), sort, start, offset, size, text(link) if link else "", verbatim), end

    def _header(self, position: int) -> Header | None:
        block = self.read(position, BLOCK)
        if len(block) < BLOCK:
            raise DamageError(position, is_cut_off=True)
        return parse_header(block, position)

    def _extension(self, header: Header, offset: int) -> bytes:
        if header.size > _MOST_EXTENSION_BYTES:
            raise DamageError(offset - BLOCK, f"an extension header of {header.size} bytes")
        data = self.read(offset, header.size)
        if len(data) < header.size:
            raise DamageError(offset - BLOCK, is_cut_off=True)
        return data

    def _after_sparse_map(self, position: int) -> int:
        """Skip the blocks in which old GNU sparse headers go on."""
        more, offset = self.read(position, BLOCK)[482], position + BLOCK
        while more:
            block = self.read(offset, BLOCK)
            if len(block) < BLOCK:
                raise DamageError(offset, is_cut_off=True)
            more, offset = block[504], offset + BLOCK
        return offset

    def _after_damage(self, damage: DamageError) -> int:
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
            for number in np.flatnonzero((blocks[:, 257:262] == MAGIC).all(axis=1)).tolist():
                try:
                    parse_header(chunk[number * BLOCK : (number + 1) * BLOCK], position)
                except DamageError:
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


def _where(found: int | None) -> str:
    return "nothing readable after it" if found is None else f"the next whole header is at byte {found}"
