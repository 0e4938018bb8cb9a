"""One header of a tar: what its bytes say.

Understands V7, USTAR, GNU and PAX.

References
----------
"pax Interchange Format" and "ustar Interchange Format" in IEEE Std 1003.1; "Basic Tar Format" in the GNU tar manual.
"""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple

import numpy as np

__all__ = [
    "BLOCK",
    "MAGIC",
    "SPARSE_RECORD",
    "DamageError",
    "Header",
    "decimal",
    "pad",
    "parse_header",
    "parse_records",
    "text",
]

BLOCK = 512

#: name, size, checksum, type, link name, magic, prefix
_HEADER = struct.Struct("100s24x12s12x8sc100s6s82x155s12x")
#: At byte 257 of a header, but for those of V7.
MAGIC = np.frombuffer(b"ustar", np.uint8)
#: PAX records that decide which bytes a member has under which name; times, owners and comments do not.
_DECISIVE = frozenset((b"path", b"linkpath", b"size"))
SPARSE_RECORD = b"GNU.sparse."


class Header(NamedTuple):
    """What a walk needs of a header; ``kind`` is the byte that says what the member is."""

    name: bytes
    size: int
    kind: bytes
    link: bytes


class DamageError(Exception):
    """What is at this position is no header, or only the beginning of one."""

    def __init__(self, position: int, reason: str = "", *, is_cut_off: bool = False) -> None:
        super().__init__(reason)
        self.position = position
        self.is_cut_off = is_cut_off


def parse_header(block: bytes, position: int) -> Header | None:
    """Read one header block; None where it is all zeros."""
    name, size, checksum, kind, link, magic, prefix = _HEADER.unpack(block)
    try:
        stored = int(checksum.partition(b"\0")[0], 8)
    except ValueError:
        if not block.strip(b"\0"):
            return None
        raise DamageError(position, "no valid header") from None
    # The low half of Adler-32 is the sum of the bytes plus one, modulo 65521: a sum at the speed of C.  A header's
    # checksum counts its own field as eight spaces.
    total = (zlib.adler32(block) & 0xFFFF) - 1 - sum(checksum) + 8 * 32
    if (stored - total) % 65521:
        signed = sum(struct.unpack("512b", block)) - sum(struct.unpack("8b", checksum)) + 8 * 32
        if stored != signed:  # what the tar of Sun and NeXT wrote
            raise DamageError(position, "no valid header")
    name = name.partition(b"\0")[0]
    if prefix[0] and magic == b"ustar\0":  # GNU keeps times there
        name = prefix.partition(b"\0")[0] + b"/" + name
    return Header(name, _number(size, position), kind, link.partition(b"\0")[0])


def _number(field: bytes, position: int) -> int:
    """Read a size: octal text or, where that is too short, a big-endian number behind a byte with the high bit."""
    if field[0] & 0x80:
        value = int.from_bytes(bytes([field[0] & 0x7F if field[0] != 0xFF else 0xFF]) + field[1:], signed=True)
    else:
        try:
            value = int(field.partition(b"\0")[0].strip() or b"0", 8)
        except ValueError:
            raise DamageError(position, f"a size of {field!r}") from None
    if value < 0:
        raise DamageError(position, "a negative size")
    return value


def decimal(value: bytes, position: int) -> int:
    """Read a size from a PAX record."""
    if not value.isdigit() or len(value) > 20:
        raise DamageError(position, f"a size of {value[:40]!r}")
    return int(value)


def parse_records(data: bytes, position: int) -> dict[bytes, bytes]:
    """Read PAX records, each a length, a space, ``key=value`` and a line feed; only those that say what a member is."""
    records = {}
    at = 0
    while at < len(data) and data[at]:
        digits = data[at : at + 20].partition(b" ")[0]
        length = int(digits) if digits.isdigit() else 0
        record = data[at : at + length]
        key, equals, value = record[len(digits) + 1 : -1].partition(b"=")
        if not equals or len(record) < length:
            raise DamageError(position, "a PAX header without sense")
        if key in _DECISIVE or key.startswith(SPARSE_RECORD):
            records[key] = value
        at += length
    return records


def pad(size: int) -> int:
    """Bytes that data of this size takes up."""
    return (size + BLOCK - 1) // BLOCK * BLOCK


def text(name: bytes) -> str:
    """Decode a name; bytes that are no UTF-8 are spelled out in hex, so that different names stay different."""
    return name.decode("utf-8", "backslashreplace")
