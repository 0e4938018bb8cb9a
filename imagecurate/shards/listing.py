"""Listing folders, local and remote, with one call a folder."""

from __future__ import annotations

import glob
import os
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from imagecurate.errors import ParameterError, ShardError
from imagecurate.remote import StorageOptions, filesystem, local_path, with_retries
from imagecurate.shards.shard import TAR_ENDINGS, names_a_tar

__all__ = ["File", "Folder", "Place", "file_of", "place_of"]

#: Where a file system says which version of a file it has, best first.
_STAMPS = (
    "ETag", "etag", "md5Hash", "blob_id", "generation", "Content-MD5", "Last-Modified",
    "LastModified", "last_modified", "mtime", "updated", "created",
)  # fmt: skip
#: What is listed by name, with its size.
_WANTED = (".parquet", *TAR_ENDINGS)
#: Requests at a time where a file system must be asked file by file.
_REQUESTS = 16


class File(NamedTuple):
    """Size in bytes and version of a file."""

    size: int
    stamp: str


@dataclass(slots=True)
class Folder:
    """What a folder holds: its tars and parquets by name, and how many others of each extension."""

    files: dict[str, File] = field(default_factory=dict)
    others: Counter[str] = field(default_factory=Counter)


class Place(ABC):
    """A file system, as far as finding shards needs one.  Paths have no trailing slash; hidden files do not count."""

    #: False where folders cannot be listed reliably, as on a web server.
    can_list: bool = True
    wildcard: re.Pattern[str] = re.compile(r"[*?[]")

    def is_literal(self, path: str) -> bool:
        """Tell whether a file of this very name exists, wildcards and all."""
        return False

    @abstractmethod
    def normal(self, path: str) -> str:
        """Give the absolute path in this place of what the user wrote, patterns included."""

    @abstractmethod
    def url(self, path: str) -> str:
        """Give what opens a file."""

    @abstractmethod
    def is_folder(self, path: str) -> bool:
        """Tell whether there is a folder."""

    @abstractmethod
    def look_up(self, paths: Sequence[str]) -> dict[str, File]:
        """Ask for files one by one; those that are missing are left out."""

    def words_on(self, path: str) -> str:
        """Give what the place has to say of a path that it does not have, as that nobody is logged in; mostly ""."""
        return ""

    @abstractmethod
    def listing(self, path: str) -> Folder:
        """List one folder, empty where there is none."""

    @abstractmethod
    def tree(self, path: str) -> dict[str, Folder]:
        """List a folder and all below it."""

    @abstractmethod
    def matching(self, pattern: str) -> dict[str, Folder]:
        """List the folders whose path matches a glob pattern."""


class LocalPlace(Place):
    """The local file system."""

    def normal(self, path: str) -> str:
        """Make a path absolute; ``~`` is the home folder."""
        path = os.path.expanduser(local_path(path) or path)  # noqa: PTH111  # there may be 100,000 of them
        return os.path.abspath(path).rstrip("/")  # noqa: PTH100

    def is_literal(self, path: str) -> bool:
        """Tell whether a file of this very name exists."""
        return os.path.lexists(path)

    def url(self, path: str) -> str:
        """Give the path itself."""
        return path

    def is_folder(self, path: str) -> bool:
        """Tell whether there is a folder."""
        return Path(path or "/").is_dir()

    def look_up(self, paths: Sequence[str]) -> dict[str, File]:
        """Ask for files one by one."""
        return {path: _of_stat(os.stat(path)) for path in paths if os.path.isfile(path)}  # noqa: PTH113, PTH116

    def listing(self, path: str) -> Folder:
        """List one folder; only tars and parquets are asked for their size."""
        return self._scan(path)[0] if self.is_folder(path) else Folder()

    def tree(self, path: str) -> dict[str, Folder]:
        """List a folder and all below it, through symbolic links, each real folder once.

        Links wait for everything that is reached without them, and are sorted: paths become names, which must not
        depend on the order in which a disk lists its folders.
        """
        found: dict[str, Folder] = {}
        waiting, links, seen = [path], set[str](), set[str]()
        while waiting or links:
            path = waiting.pop() if waiting else min(links)
            links.discard(path)
            real = os.path.realpath(path)
            if real not in seen:
                seen.add(real)
                found[path], below = self._scan(path)
                linked = {one for one in below if os.path.islink(one)}  # noqa: PTH114
                waiting += [one for one in below if one not in linked]
                links |= linked
        return found

    def matching(self, pattern: str) -> dict[str, Folder]:
        """List the folders that match."""
        paths = sorted({path.rstrip("/") for path in glob.glob(pattern, recursive=True)})  # noqa: PTH207
        return {path: self.listing(path) for path in paths if self.is_folder(path)}

    def _scan(self, path: str) -> tuple[Folder, list[str]]:
        folder = Folder()
        below = []
        with os.scandir(path or "/") as entries:
            for entry in entries:
                name = entry.name
                if name.startswith("."):
                    continue
                if entry.is_dir():
                    below.append(entry.path)
                elif name.endswith(_WANTED):
                    folder.files[name] = _of_entry(entry)
                else:
                    folder.others[_extension(name)] += 1
        return folder, below


class RemotePlace(Place):
    """Any file system that fsspec knows."""

    def __init__(self, url: str, storage_options: StorageOptions) -> None:
        self._options = storage_options
        self._fs, path = filesystem(url, storage_options)
        self._fs.invalidate_cache()  # shards may have come since the last look
        # Some paths begin with the bucket, some leave the host out, those of the web are whole URLs.
        whole = url.rstrip("/")
        self._prefix = whole.removesuffix(path) if whole.endswith(path) else url[: url.rindex("://") + 3]
        if url.startswith(("http://", "https://")):
            self.can_list = False
            self.wildcard = re.compile(r"[*[]")  # a question mark begins a query

    def normal(self, path: str) -> str:
        """Strip the protocol."""
        stripped = filesystem(path, self._options)[1] if "::" in path else self._fs._strip_protocol(path)
        return str(stripped).rstrip("/")

    def url(self, path: str) -> str:
        """Put the protocol back."""
        return self._prefix + path

    def is_folder(self, path: str) -> bool:
        """Tell whether there is a folder."""
        if not self.can_list and names_a_tar(path):
            return False  # fsspec would fetch the tar to look for links in it
        try:
            return bool(with_retries(self.url(path), lambda: self._fs.isdir(path)))
        except ValueError as error:  # no path that it could have
            raise ParameterError(f"{self.url(path)!r} cannot be opened: {error}") from None

    def look_up(self, paths: Sequence[str]) -> dict[str, File]:
        """Ask for files one by one, several at a time."""
        with ThreadPoolExecutor(_REQUESTS) as threads:
            found = dict(zip(paths, threads.map(self._info, paths), strict=True))
        return {path: file_of(info) for path, info in found.items() if info is not None and info["type"] == "file"}

    def words_on(self, path: str) -> str:
        """Give what the file system says of a missing path, where that is a sentence."""
        try:
            self._fs.info(path)
        except OSError as error:
            return str(error) if " " in str(error).replace(path, "") else ""
        return ""

    def listing(self, path: str) -> Folder:
        """List one folder."""
        try:
            infos = with_retries(self.url(path), lambda: self._fs.ls(path, detail=True))
        except (FileNotFoundError, NotADirectoryError):
            return Folder()
        return self._folders(infos).get(path, Folder())

    def tree(self, path: str) -> dict[str, Folder]:
        """List a folder and all below it; in an object store that is one listing."""
        return self._folders(with_retries(self.url(path), lambda: self._fs.find(path, detail=True)).values())

    def matching(self, pattern: str) -> dict[str, Folder]:
        """List the folders that match."""
        try:
            found = with_retries(self.url(pattern), lambda: self._fs.glob(f"{pattern}/*", detail=True))
            return self._folders(found.values())
        except FileNotFoundError as error:
            raise ShardError(f"{self.url(pattern)!r} cannot be listed: {error}") from None

    def _info(self, path: str) -> Mapping[str, Any] | None:
        try:
            info: Mapping[str, Any] = with_retries(self.url(path), lambda: self._fs.info(path))
        except FileNotFoundError:
            return None
        except PermissionError:  # what a bucket that may not be listed answers for a missing file
            if path.endswith(".parquet"):
                return None
            raise
        return info

    def _folders(self, infos: Iterable[Mapping[str, Any]]) -> dict[str, Folder]:
        folders: dict[str, Folder] = {}
        unsized = []
        for info in infos:
            path, _, name = str(info["name"]).rpartition("/")
            folder = folders.setdefault(path, Folder())
            if info["type"] != "file" or not name or name.startswith("."):
                continue
            if not name.endswith(_WANTED):
                folder.others[_extension(name)] += 1
            elif info.get("size") is None:  # web servers list names only
                unsized.append(info["name"])
            else:
                folder.files[name] = file_of(info)
        for whole, file in self.look_up(unsized).items():
            path, _, name = whole.rpartition("/")
            folders[path].files[name] = file
        return folders


def place_of(url: str, storage_options: StorageOptions) -> Place:
    """Give the place that a path or URL is in."""
    return LocalPlace() if local_path(url) is not None else RemotePlace(url, storage_options)


def _of_entry(entry: os.DirEntry[str]) -> File:
    try:
        return _of_stat(entry.stat())
    except FileNotFoundError:
        raise ShardError.because(
            f"{entry.path!r} is a link to a file that does not exist", "remove the link, or mount what it points to"
        ) from None


def _of_stat(status: os.stat_result) -> File:
    return File(status.st_size, str(status.st_mtime_ns))


def file_of(info: Mapping[str, Any]) -> File:
    """Size and version of a file from what fsspec says of it.

    Raises
    ------
    ShardError
        The server does not say how large it is.
    """
    if info.get("size") is None:
        raise ShardError.because(f"the server does not say how large {info['name']!r} is", "copy the shards to a disk")
    stamp = next((info[name] for name in _STAMPS if info.get(name)), "")
    if isinstance(
        stamp, datetime
    ):  # some give seconds where they list a folder and this where they are asked for a file
        stamp = stamp.replace(tzinfo=stamp.tzinfo or UTC).timestamp()
    return File(int(info["size"]), str(stamp).strip('"'))


def _extension(name: str) -> str:
    """Everything after the first dot, to tell ``.tar.gz`` from ``.gz``."""
    return name.partition(".")[2]
