"""An export to a local disk."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import io
import os
import shutil
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

from imagecurate.errors import OutputError
from imagecurate.export.failures import reaching
from imagecurate.export.folder import WORK, Folder, OutputFile

__all__ = ["LocalFolder"]

#: What file systems say to a request that they do not know.
_UNSUPPORTED = (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)

# Linux has it.  Writing into room found in one piece is a third faster on ext4, and a full disk says so at once.
# os.posix_fallocate is no way to ask: where the file system cannot, glibc writes a byte into every block instead.
_fallocate = getattr(ctypes.CDLL(None, use_errno=True), "fallocate", None)
if _fallocate is not None:
    _fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]


class LocalFolder(Folder):
    """A folder on a disk.

    Parameters
    ----------
    root : Path
        Where.
    durable : bool
        Have each file on the disk itself before it appears.
    """

    def __init__(self, root: Path, durable: bool) -> None:
        self._root = root
        self._durable = durable
        self._lock: io.FileIO | None = None
        self._made: list[Path] = []

    @property
    def scratch(self) -> Path:
        return self._root / WORK

    def __reduce__(self) -> tuple[type[LocalFolder], tuple[Path, bool]]:
        return LocalFolder, (self._root, self._durable)  # without the claim, which is this process's own

    def claim(self, *, shared: bool = False) -> bool:
        with reaching(str(self._root)):
            before = self.scratch.exists()
            self._made = [folder for folder in (self._root, *self._root.parents) if not folder.exists()]
            try:
                self.scratch.mkdir(parents=True, exist_ok=True)
                self._lock = io.FileIO(self.scratch / "lock", "w")
            except OSError:
                self._remove_made()
                raise
        try:
            fcntl.flock(self._lock, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            self.release(keep=True)
            raise OutputError.because(
                f"another process is exporting to {str(self._root)!r}", "wait for it, or name another folder"
            ) from None
        except OSError as error:
            if error.errno not in (*_UNSUPPORTED, errno.ENOLCK):
                raise OutputError.because(f"cannot write to {str(self._root)!r}: {error.strerror}") from error
        if not shared:
            for unfinished in self.scratch.glob("*.tmp"):  # of those that were killed
                unfinished.unlink()
        return before

    def release(self, *, keep: bool) -> None:
        if not keep:
            with suppress(FileNotFoundError):  # another rank, which shared the claim, removed it
                shutil.rmtree(self.scratch)
            self._remove_made()
        if self._lock is not None:
            self._lock.close()

    def _remove_made(self) -> None:
        for folder in self._made:
            with suppress(OSError):  # something lies there, or it was not made after all
                folder.rmdir()

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
        self._temporary = root / WORK / f"{uuid.uuid4().hex}.tmp"  # two ranks may write the same file
        self._durable = durable
        self._reserved = 0
        super().__init__(name, self._temporary.open("wb", buffering=0), digest)

    def reserve(self, size: int) -> None:
        if _fallocate is None or not size:
            return
        if _fallocate(self._raw.fileno(), 0, 0, size) == 0:
            self._reserved = size
        elif ctypes.get_errno() not in (*_UNSUPPORTED, errno.EINTR):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(self._path))

    def commit(self) -> None:
        if self.size < self._reserved:
            self._raw.truncate(self.size)
        if self._durable:
            os.fsync(self._raw.fileno())
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._temporary.replace(self._path)
        if self._durable:
            folder = os.open(self._path.parent, os.O_RDONLY)
            os.fsync(folder)  # the name is there, too
            os.close(folder)

    def close(self) -> None:
        if not self.closed:
            super().close()
            self._raw.close()
            self._temporary.unlink(missing_ok=True)
