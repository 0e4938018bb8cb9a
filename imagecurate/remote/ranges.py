"""A file of which only what is read is fetched."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from typing import Any

__all__ = ["RangeFile"]


class RangeFile(io.RawIOBase):
    """Random access to bytes that are had by range, as a Python file.

    Parameters
    ----------
    read_range : callable
        Given the first and the last + 1 byte, gives what is between them.
    size : int
    close : callable, optional
        Called once, when the file is closed.

    Examples
    --------
    >>> file = RangeFile(lambda start, end: b"0123456789"[start:end], 10)
    >>> file.seek(-3, 2), file.read(), file.read()
    (7, b'789', b'')
    """

    def __init__(
        self, read_range: Callable[[int, int], bytes], size: int, close: Callable[[], Any] | None = None
    ) -> None:
        super().__init__()
        self._read_range = read_range
        self._size = size
        self._close = close
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        end = self._size if size is None or size < 0 else min(self._at + size, self._size)
        data = self._read_range(self._at, end) if end > self._at else b""
        self._at += len(data)
        return data

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed and self._close is not None:
            self._close()
        super().close()
