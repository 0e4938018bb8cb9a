"""The folder that an export goes to, on a local disk or behind a URL.

A file appears under its name whole or not at all.  What is unfinished lies in ``.export/``, which goes when the export
is complete.
"""

from __future__ import annotations

import hashlib
import io
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import xxhash

__all__ = ["DIGESTS", "WORK", "Folder", "OutputFile"]

#: Where unfinished files lie, and the records of finished ones.
WORK = ".export"

#: By the names that the manifest uses.  xxh3_128 costs next to nothing beside a copy; sha256 halves its speed, and
#: holds against intent as well as against accident.
DIGESTS: dict[str, Callable[[], Any]] = {"xxh3_128": xxhash.xxh3_128, "sha256": hashlib.sha256}


class OutputFile(io.RawIOBase):
    """A file being written; it counts and digests what passes, and appears under its name with ``commit``.

    Closed without that, it leaves nothing.

    Parameters
    ----------
    name : str
        Name in the folder.
    raw : file
        Takes the bytes.
    digest : {"xxh3_128", "sha256"}
    """

    def __init__(self, name: str, raw: Any, digest: str) -> None:
        super().__init__()
        self.name = name
        self.size = 0
        self._raw = raw
        self._digest = DIGESTS[digest]()

    @property
    def digest(self) -> str:
        """Digest of what was written, in hex."""
        return str(self._digest.hexdigest())

    def writable(self) -> bool:
        """Tell that bytes can be written."""
        return True

    def write(self, data: Any) -> int:
        """Write all of the data."""
        left = memoryview(data).cast("B")
        count = len(left)
        self._digest.update(left)
        while left:  # one call takes 2 GB at most
            left = left[self._raw.write(left) :]
        self.size += count
        return count

    def reserve(self, size: int) -> None:
        """Say how many bytes will come at most, for a file system that makes use of it."""

    @abstractmethod
    def commit(self) -> None:
        """Let the file appear under its name."""


class Folder(ABC):
    """Where an export goes.  Names in it are relative, with ``/``."""

    @abstractmethod
    def claim(self, *, shared: bool = False) -> bool:
        """Make the folder and WORK in it, and keep other processes from exporting to it.

        Parameters
        ----------
        shared : bool, default=False
            Let those in that share it, too.

        Returns
        -------
        bool
            True where WORK was there before: some export is unfinished.

        Raises
        ------
        OutputError
            It cannot be made, or another process holds it.
        """

    @abstractmethod
    def release(self, *, keep: bool) -> None:
        """Let others export here, and remove WORK unless it is to be kept for the next run.

        With WORK go the folders that ``claim`` had to make, if nothing lies in them.
        """

    @abstractmethod
    def names(self, below: str = "") -> set[str]:
        """Names of files and folders directly below the folder or one in it; empty where there is none."""

    @abstractmethod
    def size(self, name: str) -> int | None:
        """Bytes of a file, or None where there is none."""

    @abstractmethod
    def open(self, name: str) -> Any:
        """Open a file for reading, as a context manager.

        Raises
        ------
        FileNotFoundError
            There is none.
        """

    @abstractmethod
    def create(self, name: str, digest: str = "xxh3_128") -> OutputFile:
        """Begin a file, as a context manager."""

    def read(self, name: str) -> bytes | None:
        """Read a whole file; None where there is none."""
        with suppress(FileNotFoundError), self.open(name) as file:
            return bytes(file.read())
        return None

    def write(self, name: str, data: bytes, digest: str = "xxh3_128") -> OutputFile:
        """Write a small file."""
        with self.create(name, digest) as file:
            file.write(data)
            file.commit()
        return file
