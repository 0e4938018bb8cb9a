"""An export to an object store, or whatever else fsspec can write to."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from imagecurate.export.failures import reaching
from imagecurate.export.folder import WORK, Folder, OutputFile
from imagecurate.shards.remote import StorageOptions, filesystem

__all__ = ["RemoteFolder"]

#: Bytes sent at a time, and held by each file being written.
BLOCK_BYTES = 16 << 20


class RemoteFolder(Folder):
    """A folder behind a URL: objects appear when their upload is completed, or as their store will have it.

    Nothing keeps two processes from exporting to it at once.

    Parameters
    ----------
    url : str
        Where.
    storage_options : mapping or None
        For fsspec.
    """

    def __init__(self, url: str, storage_options: StorageOptions) -> None:
        self._url = url
        self._fs, self._root = filesystem(url, storage_options)
        self._made: list[str] = []

    def claim(self) -> bool:
        with reaching(self._url):
            found = self._found(self._root)
            before = found is not None and WORK in found
            if found is None or "ledger" not in found:
                self._made.append(f"{self._root}/ledger")
            if found is None:
                self._made.append(self._root)
            for below in (WORK, "ledger"):  # folders matter to sftp and the like
                self._fs.makedirs(f"{self._root}/{below}", exist_ok=True)
        return before

    def release(self, *, keep: bool) -> None:
        if not keep:
            with suppress(FileNotFoundError):  # an object store has no folder where no object is
                self._fs.rm(f"{self._root}/{WORK}", recursive=True)
            for folder in self._made:
                if self._found(folder):  # asked first: some file systems remove a folder with all that is in it
                    break
                with suppress(OSError):
                    self._fs.rmdir(folder)

    def names(self, below: str = "") -> set[str]:
        return self._found(f"{self._root}/{below}".rstrip("/")) or set()

    def _found(self, path: str) -> set[str] | None:
        """What lies in a folder; None where there is no such folder."""
        self._fs.invalidate_cache()
        with suppress(FileNotFoundError):
            return {found.rstrip("/").rpartition("/")[2] for found in self._fs.ls(path, detail=False)}
        return None

    def size(self, name: str) -> int | None:
        with suppress(FileNotFoundError):
            return int(self._fs.info(f"{self._root}/{name}")["size"])
        return None

    def open(self, name: str) -> Any:
        return self._fs.open(f"{self._root}/{name}", "rb")

    def create(self, name: str, digest: str = "xxh3_128") -> OutputFile:
        raw = self._fs.open(f"{self._root}/{name}", "wb", block_size=BLOCK_BYTES, autocommit=False)
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
