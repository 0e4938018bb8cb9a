"""Which file system a URL belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from imagecurate.errors import MissingDependencyError, ParameterError

__all__ = ["StorageOptions", "filesystem", "local_path", "range_options", "read_end", "read_whole"]

#: What fsspec is told about a file system: credentials, endpoints.  Never kept and never shown.
StorageOptions = Mapping[str, Any] | None


def local_path(url: str) -> str | None:
    """The path of a local file, or None for what lies elsewhere.

    >>> local_path("file:///data/00000.tar"), local_path("data/00000.tar"), local_path("s3://data/00000.tar")
    ('/data/00000.tar', 'data/00000.tar', None)
    """
    if "://" not in url:
        return url
    if url.startswith(("file://", "local://")):
        return str(LocalFileSystem._strip_protocol(url))
    return None


def filesystem(url: str, storage_options: StorageOptions) -> tuple[Any, str]:
    """Give the fsspec file system of a URL and the path in it.

    Raises
    ------
    ParameterError
        fsspec does not know the protocol.
    MissingDependencyError
        The package for the protocol is not installed.
    """
    try:
        fs, path = fsspec.core.url_to_fs(url, **(storage_options or {}))
    except ImportError as error:
        protocol = url.partition("://")[0]
        raise MissingDependencyError.because(f"reading {protocol}:// needs a package: {error}") from None
    except ValueError as error:
        if "rotocol" not in str(error):
            raise
        raise ParameterError.because(
            f"{url!r} cannot be opened: {error}", "use a local path or a URL that fsspec knows"
        ) from None
    return fs, str(path)


def range_options(fs: Any) -> dict[str, Any]:
    """Give what ``cat_file`` of a file system needs to fetch the range that it is asked for and no more.

    Hugging Face's opens a buffered file for it, which would read 5 MB ahead.
    """
    return {"cache_type": "none"} if fs.protocol == "hf" else {}


def read_whole(url: str, storage_options: StorageOptions = None) -> bytes:
    """Read a small file, as the parquet beside a tar, in one request."""
    path = local_path(url)
    if path is not None:
        with open(path, "rb") as file:  # noqa: PTH123  # a path from scandir needs no Path
            return file.read()
    fs, path = filesystem(url, storage_options)
    data: bytes = fs.cat_file(path)
    return data


def read_end(url: str, size: int, storage_options: StorageOptions = None) -> bytes:
    """Read the last ``size`` bytes of a file, all of it where it is smaller."""
    path = local_path(url)
    if path is not None:
        with open(path, "rb") as file:  # noqa: PTH123
            file.seek(-min(size, file.seek(0, 2)), 2)
            return file.read()
    fs, path = filesystem(url, storage_options)
    end = fs.size(path)
    data: bytes = fs.cat_file(path, start=max(0, end - size), end=end)
    return data
