"""Headers of tar members that get a new one.

Most members keep their header byte for byte.  One that is renamed, a hard link, or a member under a global PAX header
gets a header in GNU format: every reader knows it, and its length follows from the name alone, so that an export can
be planned before a byte is read.

References
----------
"Basic Tar Format" in the GNU tar manual.
"""

from __future__ import annotations

import zlib
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from imagecurate.shards.tar import BLOCK

__all__ = ["RECORD", "header", "header_lengths", "member_name", "padded", "tar_length"]

#: A number, or many.
Size = TypeVar("Size", int, NDArray[np.int64])

#: A tar ends with zero blocks up to a multiple of this.
RECORD = 10_240

_NAME_BYTES = 100
_LONG_NAME = b"././@LongLink"
_NO_LINK = bytes(100)
_NO_PREFIX = bytes(BLOCK - 345)
#: Fields of a header that come from elsewhere: mode, owner and group (0o644, 0, 0), modification time (0).
_NO_ORIGIN = bytes(_NAME_BYTES) + b"0000644\0" + 2 * b"0000000\0" + bytes(12) + b"00000000000\0" + bytes(BLOCK - 148)


def padded(size: Size) -> Size:
    """Bytes that data of this size takes in a tar.

    >>> padded(0), padded(1), padded(512)
    (0, 512, 512)
    """
    return -(-size // BLOCK) * BLOCK


def tar_length(members: int) -> int:
    """Bytes of a tar whose members, headers and padding included, take so many: two zero blocks, a whole record.

    >>> tar_length(0), tar_length(9_216), tar_length(9_728)
    (10240, 10240, 20480)
    """
    return -(-(members + 2 * BLOCK) // RECORD) * RECORD


def member_name(name: str) -> bytes:
    """Bytes of a name in a header."""
    return name.encode("utf-8", "surrogateescape")


def header_lengths(names: NDArray[np.int64]) -> NDArray[np.int64]:
    """Bytes of the headers that ``header`` makes for names of so many bytes.

    >>> header_lengths(np.array([100, 101])).tolist()
    [512, 1536]
    """
    return np.where(names <= _NAME_BYTES, BLOCK, 2 * BLOCK + padded(names + 1))


def header(name: bytes, size: int, origin: bytes | None = None) -> bytes:
    """Make the header blocks of a regular file.

    Parameters
    ----------
    name : bytes
        Full name; one longer than 100 bytes goes into a block of its own in front.
    size : int
        Bytes of data.
    origin : bytes of length 512, optional
        The member's header so far: permissions, owner and whole seconds of its modification time are kept.

    Examples
    --------
    >>> import tarfile
    >>> info = tarfile.TarInfo.frombuf(header(b"a.jpg", 7), "utf-8", "strict")
    >>> info.name, info.size, info.isreg(), oct(info.mode)
    ('a.jpg', 7, True, '0o644')
    """
    if len(name) <= _NAME_BYTES:
        return _block(name, size, b"0", origin or _NO_ORIGIN)
    text = name + b"\0"
    front = _block(_LONG_NAME, len(text), b"L", _NO_ORIGIN) + text.ljust(padded(len(text)), b"\0")
    return front + _block(name[:_NAME_BYTES], size, b"0", origin or _NO_ORIGIN)


def _block(name: bytes, size: int, kind: bytes, origin: bytes) -> bytes:
    octal = b"%011o\0" % size if size < 8**11 else b"\x80" + size.to_bytes(11, "big")
    head = name.ljust(_NAME_BYTES, b"\0") + origin[100:124] + octal + origin[136:148]
    # No link name; GNU's magic; owner, group and device as they were; no prefix.
    tail = kind + _NO_LINK + b"ustar  \0" + origin[265:345] + _NO_PREFIX
    return head + b"%06o\0 " % (_sum(head) + 8 * ord(" ") + _sum(tail)) + tail


def _sum(data: bytes) -> int:
    """Sum of bytes, of which no more than 256 are not zero: the low half of Adler-32 is one more, modulo 65521."""
    return (zlib.adler32(data) & 0xFFFF) - 1
