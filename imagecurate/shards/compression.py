"""Compressed tars: told by their first bytes, unpacked from front to back.

Arrow's codecs do the work; like the tools themselves they take files of several members or frames.

References
----------
RFC 1952 (gzip), RFC 8878 (zstd), and the magic numbers in the manuals of bzip2 and xz.
"""

from __future__ import annotations

import re
from typing import Any, Protocol

import pyarrow as pa

__all__ = ["MAGIC_SIZE", "Unpacker", "can_unpack", "compression_of"]

_MAGIC = {
    "gzip": re.compile(rb"\x1f\x8b\x08"),
    "zstd": re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18"),  # pzstd begins with a skippable frame
    "bzip2": re.compile(rb"BZh[1-9](1AY&SY|\x17rE8P\x90)"),  # in full: the first name in a tar may begin with BZh
    "xz": re.compile(rb"\xfd7zXZ\0"),
}
#: Bytes that tell a compression.
MAGIC_SIZE = 10
#: What Arrow calls those that it knows.
_CODECS = {"gzip": "gzip", "zstd": "zstd", "bzip2": "bz2"}
#: What its streams raise for bytes that make no sense, and for those that cannot be had.
_ERRORS = (OSError, pa.ArrowException)

#: What zlib says of a member whose header is nothing but zeros.
_NO_MEMBER = "unknown compression method"

#: Bytes unpacked at a time, and packed bytes read at a time for them.
_CHUNK = 256 << 10
_PIECE = 64 << 10

#: A shard may unpack to so many bytes, or to so many times its size: far more than tars of tiny samples need, and less
#: than fills a disk because somebody packed zeros.
_MOST_UNPACKED = 4 << 30
_MOST_EXPANSION = 100


class Packed(Protocol):
    """The bytes of a compressed file."""

    size: int

    def read(self, offset: int, size: int) -> bytes:
        """Read a range."""


def compression_of(beginning: bytes) -> str:
    r"""Name the compression of a file by its first ``MAGIC_SIZE`` bytes, "" where it has none.

    >>> compression_of(b"\x1f\x8b\x08\0\0\0\0\0\0\x03"), compression_of(b"BZhang.jpg")
    ('gzip', '')
    """
    return next((name for name, magic in _MAGIC.items() if magic.match(beginning)), "")


def can_unpack(compression: str) -> bool:
    """Tell whether there is an `Unpacker` for it.

    >>> can_unpack("zstd"), can_unpack("xz"), can_unpack("")
    (True, False, False)
    """
    return compression in _CODECS


class Unpacker:
    """Unpacks a file from front to back, up to the very byte where it is damaged.

    Parameters
    ----------
    packed : Packed
        The compressed file.
    compression : str
        As `compression_of` names it.

    Attributes
    ----------
    damage : str
        Why nothing comes any more before the end was reached; "" where nothing is wrong so far.
    """

    def __init__(self, packed: Packed, compression: str) -> None:
        self.damage = ""
        self._is_over = False
        self._packed = packed
        self._compression = compression
        self._most = max(_MOST_UNPACKED, _MOST_EXPANSION * packed.size)
        self._position = -1

    def read_from(self, position: int) -> bytes:
        """Give the next bytes, none at the end.

        Parameters
        ----------
        position : int
            How many bytes the caller has.  Where an error lost those that it should have had by now, unpacking starts
            again from the front.

        Raises
        ------
        OSError
            The packed bytes cannot be had, which says nothing about whether they are good.
        """
        if position != self._position:
            self._pieces, self._stream = self._opened(position, self._packed.size)
            self._is_over = False
        elif self._is_over:
            return b""
        self._position = -1
        before = self._pieces.position
        try:
            chunk: bytes = self._stream.read(_CHUNK)
        except _ERRORS as error:
            if self._pieces.failed:
                raise
            chunk, end = self._salvaged(position, before - _PIECE)
            if not self._is_padded(error, end):
                self.damage = self._described(error, position + len(chunk))
            self._is_over = True
        self._position = position + len(chunk)
        if self._position > self._most:
            self._is_over = True
            self.damage = f"{self._compression}-compressed tar of {self._packed.size} bytes that unpacks to more than "
            self.damage += str(self._most)
        return chunk

    def _opened(self, position: int, fine_from: int) -> tuple[_Pieces, Any]:
        pieces = _Pieces(self._packed, fine_from)
        stream = pa.CompressedInputStream(pa.PythonFile(pieces, mode="r"), _CODECS[self._compression])
        for start in range(0, position, _CHUNK):
            stream.read(min(_CHUNK, position - start))
        return pieces, stream

    def _salvaged(self, position: int, fine_from: int) -> tuple[bytes, int]:
        """Unpack byte by byte where a larger read failed, for with its error it lost what it had.

        Also give how many packed bytes were read until it failed again.
        """
        pieces, stream = self._opened(position, fine_from)
        found = bytearray()
        try:
            while byte := stream.read(1):
                found += byte
        except _ERRORS:
            if pieces.failed:
                raise
        return bytes(found), pieces.position

    def _is_padded(self, error: Exception, end: int) -> bool:
        """Tell whether it failed at zeros behind a whole member of gzip, with which tools fill up blocks."""
        if self._compression != "gzip" or _NO_MEMBER not in str(error):
            return False
        start = end - 2  # the first two bytes of what should be a member
        while start < self._packed.size:
            zeros = self._packed.read(start, _CHUNK)
            if not zeros or zeros.strip(b"\0"):
                return False
            start += len(zeros)
        return True

    def _described(self, error: Exception, position: int) -> str:
        what = "cut off" if "Truncated" in str(error) else f"damaged: {error}"
        return f"{self._compression}-compressed tar {what}; it unpacks to byte {position}"


class _Pieces:
    """A file for Arrow to read from front to back, from some byte on in pieces of one."""

    closed = False

    def __init__(self, packed: Packed, fine_from: int) -> None:
        self.position = 0
        self.failed = False
        self._packed = packed
        self._fine_from = fine_from

    def read(self, size: int) -> bytes:
        room = self._fine_from - self.position
        try:
            data = self._packed.read(self.position, max(1, min(size, room, _PIECE)))
        except OSError:
            self.failed = True
            raise
        self.position += len(data)
        return data

    def close(self) -> None:
        self.closed = True
