"""A file or folder behind a URL, with as much of pathlib's ways as the store has use for."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from imagecurate.remote.filesystem import filesystem
from imagecurate.remote.options import StorageOptions
from imagecurate.remote.ranges import RangeFile
from imagecurate.remote.reading import range_options
from imagecurate.remote.retry import with_retries
from imagecurate.remote.upload import Upload

__all__ = ["RemotePath"]

#: A file up to here is read in one request when it is opened; of a larger one, what is asked for.
_WHOLE_BYTES = 1 << 20
#: Bytes of the first request where a file is read whole, and all of nearly every file.
_CHUNK_BYTES = 32 << 20


@dataclass(frozen=True)
class RemotePath:
    """A file or folder behind a URL; nothing is asked until a method is called.

    Parameters
    ----------
    url : str
        Without a slash at its end.
    storage_options : mapping, optional
        For fsspec; not shown, and no part of what the path is.
    """

    url: str
    storage_options: StorageOptions = field(default=None, repr=False, compare=False)

    def __str__(self) -> str:
        return self.url

    def __truediv__(self, name: str) -> RemotePath:
        return RemotePath(f"{self.url}/{name}", self.storage_options)

    @property
    def name(self) -> str:
        """The part behind the last slash."""
        return self.url.rpartition("/")[2]

    def exists(self) -> bool:
        """Tell whether there is such a file; one request."""
        return self in self.beginning()

    def beginning(self) -> dict[RemotePath, int]:
        """Files whose names begin with this one's, in the same folder, with their sizes; one request, as a rule."""
        fs, path = filesystem(self.url, self.storage_options)
        folder, _, name = path.rpartition("/")

        def listed() -> dict[str, Any]:
            fs.invalidate_cache()  # others write, too
            with suppress(FileNotFoundError):
                found: dict[str, Any] = fs.find(folder, prefix=name, detail=True)
                return found
            return {}

        place = self.url.rpartition("/")[0]
        found = {str(each).rpartition("/"): info["size"] for each, info in with_retries(self.url, listed).items()}
        return {
            RemotePath(f"{place}/{last}", self.storage_options): size
            for (parent, _, last), size in found.items()
            if parent.strip("/") == folder.strip("/") and last.startswith(name)
        }

    def read_bytes(self) -> bytes:
        """Read it whole.

        Raises
        ------
        FileNotFoundError
            There is none.
        """
        data = self._fetch(0, _CHUNK_BYTES)  # a range, since for a whole file s3fs asks for the size first
        if len(data) < _CHUNK_BYTES or (size := self._size()) == len(data):
            return data
        return data + self._fetch(len(data), size)

    def open_ranges(self, size: int | None = None) -> pa.NativeFile:
        """Open it for Arrow: small ones are read in one request, large ones as they are asked for.

        Parameters
        ----------
        size : int, optional
            Bytes, where they are known from a listing; of a large file that saves a request.

        Raises
        ------
        FileNotFoundError
            There is none.
        """
        if size is None or size <= _WHOLE_BYTES:
            data = self._fetch(0, _WHOLE_BYTES + 1)
            if len(data) <= _WHOLE_BYTES:
                return pa.BufferReader(data)
            size = self._size()
        return pa.PythonFile(RangeFile(self._fetch, size), mode="r")

    def write_bytes(self, data: bytes) -> None:
        """Write it; it appears whole, or not at all.

        Raises
        ------
        OutputError
            The store does not take it.
        """
        upload = Upload(self.url, self.storage_options)
        try:
            upload.write(data)
            upload.commit()
        finally:
            upload.discard()

    def _fetch(self, start: int, end: int) -> bytes:
        fs, path = filesystem(self.url, self.storage_options)

        def fetched() -> bytes:
            data: bytes = fs.cat_file(path, start=start, end=end, **range_options(fs))
            return data

        return with_retries(self.url, fetched)

    def _size(self) -> int:
        fs, path = filesystem(self.url, self.storage_options)

        def asked() -> int:
            fs.invalidate_cache()
            return int(fs.size(path))

        return with_retries(self.url, asked)

    @staticmethod
    def remove(paths: Iterable[RemotePath]) -> None:
        """Remove files of one place, in one request where that can be done; those that are gone do not matter."""
        several = list(paths)
        if not several:
            return
        fs, _ = filesystem(several[0].url, several[0].storage_options)
        names = [str(fs._strip_protocol(path.url)) for path in several]
        with suppress(FileNotFoundError):
            with_retries(several[0].url, lambda: fs.rm(names), writing=True)
