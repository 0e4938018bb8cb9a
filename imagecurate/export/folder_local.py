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
        self._work = root / WORK
        self._durable = durable
        self._lock: io.FileIO | None = None
        self._made: list[Path] = []

    def __reduce__(self) -> tuple[type[LocalFolder], tuple[Path, bool]]:
        return LocalFolder, (self._root, self._durable)  # without the claim, which is this process's own

    def claim(self, *, shared: bool = False) -> bool:
        with reaching(str(self._root)):
            before = self._work.exists()
            self._made = [folder for folder in (self._root, *self._root.parents) if not folder.exists()]
            try:
                while not self._locked(shared):
                    pass  # who had it until now removed it meanwhile
            except BlockingIOError:
                self.release(keep=True)
                raise OutputError.because(
                    f"another process is exporting to {str(self._root)!r}", "wait for it, or name another folder"
                ) from None
            except OSError:
                self.release(keep=True)
                self._remove_made()
                raise
        if not shared:
            for unfinished in self._work.glob("*.tmp"):  # of those that were killed
                unfinished.unlink(missing_ok=True)
        return before

    def _locked(self, shared: bool) -> bool:
        """Lock the lock file, if it is still there then."""
        path = self._work / "lock"
        self._work.mkdir(parents=True, exist_ok=True)
        # Open for both: a network file system makes other locks of these, and to share one takes reading.
        self._lock = io.FileIO(path, "w+")
        try:
            fcntl.flock(self._lock, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (*_UNSUPPORTED, errno.ENOLCK):
                raise
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(self._lock.fileno()), path.stat()):
                return True
        self._lock.close()
        return False

    def release(self, *, keep: bool) -> None:
        try:
            if not keep:
                self._empty()
        finally:
            if self._lock is not None:
                self._lock.close()
                self._lock = None
        if not keep:
            with suppress(OSError):  # another rank, which shared the claim, removed it; or somebody came and has it now
                self._work.rmdir()
            self._remove_made()

    def _empty(self) -> None:
        """Remove all that lies in WORK, the lock last: on NFS a folder does not go while a file in it is open."""
        names = self.names(WORK) - {"lock"}
        for path in (self._work / name for name in (*names, "lock")):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

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
