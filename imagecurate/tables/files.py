"""The files of a table: found, known again, and opened, wherever they lie."""

from __future__ import annotations

import fnmatch
import io
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeAlias

import pyarrow as pa

from imagecurate.errors import ImageCurateError, ParameterError, ShardError, listed
from imagecurate.remote import StorageOptions, local_path
from imagecurate.remote.ranges import RangeFile
from imagecurate.shards.find import expand_braces, shared_depth
from imagecurate.shards.listing import File, Folder, Place, place_of
from imagecurate.shards.sources import ByteSource, LocalSource, RangeSource

__all__ = ["PARQUET", "TableFile", "TablePath", "find_parquets", "named_file", "open_stream", "readable"]

#: A folder, file, glob or brace pattern, or several of them.
TablePath: TypeAlias = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]
PARQUET = ".parquet"

#: What pyarrow and NumPy raise for bytes that are no good file, and file systems for bytes that cannot be had.
_DAMAGE = (pa.ArrowException, OSError, ValueError, EOFError, MemoryError)


class TableFile(NamedTuple):
    """A file of a table.

    Attributes
    ----------
    url : str
        Where it lies.
    name : str
        Its path below the folder that all files of the table share: what it is known by.
    size : int
        Bytes.
    stamp : str
        Version: modification time or etag.
    """

    url: str
    name: str
    size: int
    stamp: str


def find_parquets(path: TablePath, storage_options: StorageOptions = None) -> tuple[TableFile, ...]:
    """Find the parquet files of a table.

    Parameters
    ----------
    path : str, path-like, or iterable of these
        A folder (its ``*.parquet``; where it has none, those of all folders below), a file, a glob or brace pattern,
        or several of them; local or any URL that fsspec knows.
    storage_options : mapping, optional
        For fsspec.

    Returns
    -------
    tuple of TableFile
        In the order given; what one folder or glob pattern finds is sorted.  A file named twice counts once.

    Raises
    ------
    ParameterError
        No path, unbalanced braces, an unknown protocol.
    ShardError
        Nothing was found, or a file that was named does not exist.
    """
    places: dict[str, Place] = {}
    found: dict[str, File] = {}
    for text in _texts(path):
        for pattern in expand_braces(text, "metadata/{0000..0127}.parquet"):
            host = "/".join(pattern.split("/")[:3]) if "://" in pattern else ""
            if host not in places:
                places[host] = place_of(pattern, storage_options)
            place = places[host]
            for one, file in _meant(place, pattern, text).items():
                found.setdefault(place.url(one), file)
    urls = {url: url.split("?")[0] if "://" in url else url for url in found}  # a query may hold a password
    depth = shared_depth([url.split("/")[:-1] for url in urls.values()])
    return tuple(TableFile(url, "/".join(urls[url].split("/")[depth:]), *file) for url, file in found.items())


def named_file(path: str, storage_options: StorageOptions = None) -> TableFile:
    """Look up one file by its name.

    Raises
    ------
    ShardError
        There is none.
    """
    place = place_of(path, storage_options)
    normal = place.normal(path)
    file = place.look_up([normal]).get(normal)
    if file is None:
        raise ShardError.because(f"no file {path!r}", "check the path")
    name = normal.split("?")[0] if "://" in path else normal
    return TableFile(place.url(normal), name.rpartition("/")[2], *file)


@contextmanager
def readable(file: TableFile, hint: str = "see that it is whole and can be reached") -> Iterator[None]:
    """Name the file in what goes wrong with its bytes.

    Raises
    ------
    ShardError
        The bytes are damaged.
    """
    try:
        yield
    except ImageCurateError:
        raise
    except _DAMAGE as error:
        raise ShardError.because(f"{file.url!r} cannot be read: {error}", hint) from error


def open_stream(file: TableFile, storage_options: StorageOptions = None) -> io.RawIOBase:
    """Open a file for reading at any place.

    Raises
    ------
    ShardError
        A local file is gone, or not the one that was found.
    """
    path = local_path(file.url)
    if path is None:
        return _stream(RangeSource(file.url, file.size, storage_options))
    try:
        source = LocalSource(path)
    except OSError as error:
        raise ShardError.because(f"{path!r} was found and cannot be opened: {error.strerror}") from error
    if (source.size, source.stamp) != (file.size, file.stamp):
        source.close()
        raise ShardError.because(f"{path!r} changed after it was found", "open the table again")
    return _stream(source)


def _stream(source: ByteSource) -> RangeFile:
    return RangeFile(lambda start, end: source.read(start, end - start), source.size, source.close)


def _texts(path: Any) -> list[str]:
    paths = [path] if isinstance(path, str | os.PathLike) else path
    if not isinstance(paths, Iterable) or hasattr(paths, "columns"):
        raise ParameterError.because(
            f"expected a path or several, found {type(path).__name__}", "write the table as parquet and give its path"
        )
    texts = [os.fspath(one) if isinstance(one, os.PathLike) else one for one in paths]
    for text in texts:
        if not isinstance(text, str) or not text:
            raise ParameterError(f"expected a path or URL, not {text!r}")
    if not texts:
        raise ParameterError.because(
            "expected at least one path, found an empty list", "name a folder of .parquet files"
        )
    return texts


def _meant(place: Place, pattern: str, text: str) -> dict[str, File]:
    path = place.normal(pattern)
    if place.wildcard.search(path) and not place.is_literal(path):
        parent, name = (path, "*") if path.endswith("/**") else path.rsplit("/", 1)
        folders = place.matching(parent) if place.wildcard.search(parent) else {parent: place.listing(parent)}
        found = _parquets(folders, name) or _parquets(place.matching(path), "*")
        where = f"matches {text!r}"
    elif (place.can_list or PARQUET not in path) and place.is_folder(path):
        found = _parquets({path: place.listing(path)}, "*") or _parquets(place.tree(path), "*")
        where = f"in folder {text!r} or below it"
    else:
        found = place.look_up([path])
        where = f"at {text!r}"
    if not found:
        raise ShardError.because(f"no {PARQUET} file {where}", _hint(place, path))
    return found


def _parquets(folders: Mapping[str, Folder], name: str) -> dict[str, File]:
    matches = re.compile(fnmatch.translate(name)).match
    found = {
        f"{parent}/{file}": folder.files[file]
        for parent, folder in folders.items()
        for file in folder.files
        if file.endswith(PARQUET) and matches(file)
    }
    return dict(sorted(found.items()))


def _hint(place: Place, path: str) -> str:
    folder = path.rpartition("/")[0]
    if place.can_list and not place.wildcard.search(folder):
        there = [name for name in place.listing(folder).files if name.endswith(PARQUET)]
        if there:
            return f"in {folder!r} there is: {listed(sorted(there), 5)}"
    return f"name a folder, a file or a pattern of {PARQUET} files"
