"""Reading small files, and the ends of files, wherever they lie."""

from __future__ import annotations

from typing import Any

from imagecurate.remote.filesystem import filesystem, local_path
from imagecurate.remote.options import StorageOptions
from imagecurate.remote.retry import with_retries

__all__ = ["range_options", "read_end", "read_whole"]


def range_options(fs: Any) -> dict[str, Any]:
    """Give what ``cat_file`` of a file system needs to fetch the range that it is asked for and no more.

    Hugging Face's opens a buffered file for it, which would read 5 MB ahead.
    """
    return {"cache_type": "none"} if fs.protocol == "hf" else {}


def read_whole(url: str, storage_options: StorageOptions = None) -> bytes:
    """Read a small file, as the parquet beside a tar."""
    path = local_path(url)
    if path is not None:
        with open(path, "rb") as file:  # noqa: PTH123  # a path from scandir needs no Path
            return file.read()
    fs, path = filesystem(url, storage_options)
    data: bytes = with_retries(url, lambda: fs.cat_file(path))
    return data


def read_end(url: str, size: int, storage_options: StorageOptions = None) -> bytes:
    """Read the last ``size`` bytes of a file, all of it where it is smaller."""
    path = local_path(url)
    if path is not None:
        with open(path, "rb") as file:  # noqa: PTH123
            file.seek(-min(size, file.seek(0, 2)), 2)
            return file.read()
    fs, path = filesystem(url, storage_options)

    def fetched() -> bytes:
        end = fs.size(path)
        data: bytes = fs.cat_file(path, start=max(0, end - size), end=end)
        return data

    return with_retries(url, fetched)
