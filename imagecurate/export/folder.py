"""The folder that an export goes to, on a local disk or behind a URL.

A file appears under its name whole or not at all.  What is unfinished lies in ``.export/``, which goes when the export
is complete.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import io
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import xxhash

from imagecurate.errors import OutputError
from imagecurate.shards.remote import StorageOptions, filesystem, local_path

__all__ = ["DIGESTS", "WORK", "Folder", "OutputFile", "folder_at"]

#: Where unfinished files lie, and the records of finished ones.
WORK = ".export"

#: By the names that the manifest uses.  xxh3_128 costs next to nothing beside a copy; sha256 halves its speed, and
#: holds against intent as well as against accident.
DIGESTS: dict[str, Callable[[], Any]] = {"xxh3_128": xxhash.xxh3_128, "sha256": hashlib.sha256}

#: Bytes sent to a remote store at a time, and held.
REMOTE_BLOCK = 16 << 20


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

    @property
    def scratch(self) -> Path | None:
        """Where temporary files may go; None for the system's own place."""
        return None

    @abstractmethod
    def claim(self) -> bool:
        """Make the folder and WORK in it and, where it is local, keep other processes from exporting to it.

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
        """Let others export here, and remove WORK unless it is to be kept for the next run."""

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


def folder_at(path: str | os.PathLike[str], storage_options: StorageOptions = None, *, durable: bool = False) -> Folder:
    """Give the folder at a local path or URL; nothing is made yet.

    Parameters
    ----------
    path : str or path
        Local path or any URL that fsspec can write to.
    storage_options : mapping, optional
        For fsspec.
    durable : bool, default=False
        Have a local file on the disk itself before it appears, so that it outlasts a power failure.
    """
    here = local_path(os.fspath(path))
    return _RemoteFolder(os.fspath(path), storage_options) if here is None else _LocalFolder(Path(here), durable)


class _LocalFolder(Folder):
    def __init__(self, root: Path, durable: bool) -> None:
        self._root = root
        self._durable = durable
        self._lock: io.FileIO | None = None

    @property
    def scratch(self) -> Path:
        return self._root / WORK

    def claim(self) -> bool:
        before = self.scratch.exists()
        try:
            self.scratch.mkdir(parents=True, exist_ok=True)
            self._lock = io.FileIO(self.scratch / "lock", "w")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.release(keep=True)
            raise OutputError.because(
                f"another process is exporting to {str(self._root)!r}", "wait for it, or name another folder"
            ) from None
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.ENOLCK):  # a file system without locks
                raise OutputError.because(f"cannot write to {str(self._root)!r}: {error.strerror}") from error
        return before

    def release(self, *, keep: bool) -> None:
        if not keep:
            shutil.rmtree(self.scratch)
        if self._lock is not None:
            self._lock.close()

    def names(self, below: str = "") -> set[str]:
        with suppress(FileNotFoundError):
            return set(os.listdir(self._root / below))  # noqa: PTH208  # names are wanted, not paths
        return set()

    def size(self, name: str) -> int | None:
        with suppress(FileNotFoundError):
            return (self._root / name).stat().st_size
        return None

    def open(self, name: str) -> Any:
        return (self._root / name).open("rb")

    def create(self, name: str, digest: str = "xxh3_128") -> OutputFile:
        return _LocalFile(self._root, name, digest, self._durable)


class _LocalFile(OutputFile):
    def __init__(self, root: Path, name: str, digest: str, durable: bool) -> None:
        self._path = root / name
        self._temporary = root / WORK / f"{xxhash.xxh3_64_hexdigest(name.encode())}.tmp"
        self._durable = durable
        super().__init__(name, self._temporary.open("wb", buffering=0), digest)

    def reserve(self, size: int) -> None:
        # Writing into room that was found in one piece is a third faster on ext4; and a full disk says so at once.
        if size and hasattr(os, "posix_fallocate"):
            try:
                os.posix_fallocate(self._raw.fileno(), 0, size)
            except OSError as error:
                if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):  # what other file systems say
                    raise

    def commit(self) -> None:
        self._raw.truncate(self.size)  # less came than was reserved for
        if self._durable:
            os.fsync(self._raw.fileno())
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._temporary.replace(self._path)

    def close(self) -> None:
        if not self.closed:
            super().close()
            self._raw.close()
            self._temporary.unlink(missing_ok=True)


class _RemoteFolder(Folder):
    """Objects appear when their upload is completed; where a store has no such thing, when they are closed."""

    def __init__(self, url: str, storage_options: StorageOptions) -> None:
        self._url = url
        self._fs, self._root = filesystem(url, storage_options)

    def claim(self) -> bool:
        before = WORK in self.names()
        try:
            for below in (WORK, "ledger"):  # folders matter to sftp and the like
                self._fs.makedirs(f"{self._root}/{below}", exist_ok=True)
        except OSError as error:
            raise OutputError.because(f"cannot write to {self._url!r}: {error}") from error
        return before

    def release(self, *, keep: bool) -> None:
        if not keep:
            with suppress(FileNotFoundError):  # an object store has no folder where no object is
                self._fs.rm(f"{self._root}/{WORK}", recursive=True)

    def names(self, below: str = "") -> set[str]:
        self._fs.invalidate_cache()
        with suppress(FileNotFoundError):
            found = self._fs.ls(f"{self._root}/{below}".rstrip("/"), detail=False)
            return {path.rstrip("/").rpartition("/")[2] for path in found}
        return set()

    def size(self, name: str) -> int | None:
        with suppress(FileNotFoundError):
            return int(self._fs.info(f"{self._root}/{name}")["size"])
        return None

    def open(self, name: str) -> Any:
        return self._fs.open(f"{self._root}/{name}", "rb")

    def create(self, name: str, digest: str = "xxh3_128") -> OutputFile:
        raw = self._fs.open(f"{self._root}/{name}", "wb", block_size=REMOTE_BLOCK, autocommit=False)
        return _RemoteFile(name, raw, digest)


class _RemoteFile(OutputFile):
    _committed = False

    def commit(self) -> None:
        self._raw.close()
        self._raw.commit()
        self._committed = True

    def close(self) -> None:
        if not self.closed:
            super().close()
            if not self._committed:
                self._raw.discard()
