"""An export to an object store, or whatever else fsspec can write to."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from imagecurate.export.failures import reaching
from imagecurate.export.folder import WORK, Folder, OutputFile
from imagecurate.export.lease import Lease
from imagecurate.remote import StorageOptions, Upload, abort_uploads, filesystem, with_retries

__all__ = ["RemoteFolder"]

Result = TypeVar("Result")

_CLAIMS = f"{WORK}/claims"


class RemoteFolder(Folder):
    """A folder behind a URL: objects appear when their upload is completed, or as their store will have it.

    Parameters
    ----------
    url : str
        Where.
    storage_options : mapping or None
        For fsspec.
    """

    def __init__(self, url: str, storage_options: StorageOptions) -> None:
        self._url = url.rstrip("/")
        self._storage_options = storage_options
        self._fs, root = filesystem(url, storage_options)
        self._root = root.rstrip("/")
        self._made: list[str] = []
        self._lease: Lease | None = None

    def __reduce__(self) -> tuple[type[RemoteFolder], tuple[str, StorageOptions]]:
        return RemoteFolder, (self._url, self._storage_options)  # without the claim, which is this process's own

    def claim(self, *, shared: bool = False) -> bool:
        with reaching(self._url):
            found = self._found("")
            before = found is not None and WORK in found
            if found is None or "ledger" not in found:
                self._made.append("ledger")
            if found is None:
                self._made.append("")
            for below in (WORK, _CLAIMS, "ledger"):  # folders matter to sftp and the like
                self._ask(below, functools.partial(self._fs.makedirs, self._path(below), exist_ok=True), writing=True)
            self._lease = Lease(_Claims(self), self._url, shared)
        return before

    def release(self, *, keep: bool) -> None:
        if self._lease is not None:
            self._lease.stop()  # the claim itself lies there until all else is cleaned, so that nobody comes meanwhile
        try:
            if not keep:
                self._clean()
        finally:
            if self._lease is not None:
                self._lease.end()
                self._lease = None

    def _clean(self) -> None:
        for below in ("", "/ledger", f"/{WORK}"):  # of processes that were killed on the way here
            abort_uploads(self._url + below, self._storage_options)
        with suppress(FileNotFoundError):  # an object store has no folder where no object is
            self._ask(WORK, lambda: self._fs.rm(self._path(WORK), recursive=True), writing=True)
        for folder in self._made:
            if self._found(folder):  # asked first: some file systems remove a folder with all that is in it
                break
            with suppress(OSError):
                self._fs.rmdir(self._path(folder))

    def names(self, below: str = "") -> set[str]:
        return self._found(below) or set()

    def _found(self, below: str) -> set[str] | None:
        """What lies in a folder; None where there is no such folder."""

        def listed() -> list[str]:
            self._fs.invalidate_cache()
            paths: list[str] = self._fs.ls(self._path(below), detail=False)
            return paths

        with suppress(FileNotFoundError):
            return {found.rstrip("/").rpartition("/")[2] for found in self._ask(below, listed)}
        return None

    def size(self, name: str) -> int | None:
        with suppress(FileNotFoundError):
            return int(self._ask(name, lambda: self._fs.info(self._path(name)))["size"])
        return None

    def open(self, name: str) -> Any:
        return self._ask(name, lambda: self._fs.open(self._path(name), "rb"))

    def read(self, name: str) -> bytes | None:
        with suppress(FileNotFoundError):
            return bytes(self._ask(name, lambda: self._fs.cat_file(self._path(name))))
        return None

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        with suppress(FileNotFoundError):
            self._ask(name, lambda: self._fs.rm_file(self._path(name)), writing=True)

    def create(self, name: str, digest: str = "xxh3_128") -> OutputFile:
        return _RemoteFile(name, Upload(f"{self._url}/{name}", self._storage_options), digest)

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}".rstrip("/")

    def _ask(self, name: str, call: Callable[[], Result], *, writing: bool = False) -> Result:
        return with_retries(f"{self._url}/{name}".rstrip("/"), call, writing=writing)


class _Claims:
    """The files of those that export here."""

    def __init__(self, folder: RemoteFolder) -> None:
        self._folder = folder

    def names(self) -> set[str]:
        return {name for name in self._folder.names(_CLAIMS) if name.endswith(".json")}

    def read(self, name: str) -> bytes | None:
        return self._folder.read(f"{_CLAIMS}/{name}")

    def write(self, name: str, data: bytes) -> None:
        self._folder.write(f"{_CLAIMS}/{name}", data)

    def remove(self, name: str) -> None:
        self._folder.remove(f"{_CLAIMS}/{name}")


class _RemoteFile(OutputFile):
    def commit(self) -> None:
        self._raw.commit()

    def close(self) -> None:
        if not self.closed:
            super().close()
            self._raw.discard()
