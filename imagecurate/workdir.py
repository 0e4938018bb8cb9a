"""Where a dataset's store lies: a named folder, a cache folder, or a temporary one."""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from imagecurate.errors import ImageCurateError, OutputError, ParameterError
from imagecurate.remote import RemotePath, StorageOptions, filesystem, local_path, options_for
from imagecurate.store import Store, StorePath, digest

__all__ = ["cache_folder", "named_folder", "open_store"]


def cache_folder() -> Path:
    """Folder for what can be computed again: ``$IMAGECURATE_CACHE``, or the platform's place for caches."""
    named = os.environ.get("IMAGECURATE_CACHE")
    if named:
        return Path(named)
    default = Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache")
    return Path(os.environ.get("XDG_CACHE_HOME") or default) / "imagecurate"


def named_folder(workdir: str | os.PathLike[str], storage_options: StorageOptions = None) -> StorePath:
    """Give the absolute path of a working folder, or its URL; ``~`` is the home folder.

    Parameters
    ----------
    workdir : path
        A local folder, or a URL that fsspec can write to.
    storage_options : mapping, optional
        For fsspec.

    Raises
    ------
    ParameterError
        There is no such path, or fsspec does not know the protocol.
    MissingDependencyError
        The package for the protocol is not installed.
    """
    url = os.fspath(workdir)
    path = local_path(url)
    if path is None:
        filesystem(url, storage_options)
        return RemotePath(url.rstrip("/"), options_for(url, storage_options))
    if not path:
        raise ParameterError.because(f"workdir must be a folder, but is {url!r}", "name a local folder or a URL")
    return _absolute(path)


def open_store(workdir: str | os.PathLike[str] | None, path: Any, storage_options: StorageOptions = None) -> Store:
    """Give the store of a dataset.

    Parameters
    ----------
    workdir : path or None
        Named folder or URL; "auto" for a cache folder that belongs to ``path``; None for a temporary folder that is
        removed when the program ends.
    path : object
        Where the dataset lies.
    storage_options : mapping, optional
        For fsspec, where ``workdir`` is a URL.

    Raises
    ------
    ParameterError
        ``workdir`` can be no folder.
    OutputError
        The folder cannot be made, or nothing can be written there.
    """
    folder: StorePath
    if workdir is None:
        folder = Path(tempfile.mkdtemp(prefix="imagecurate-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    elif workdir == "auto":
        folder = cache_folder() / "stores" / digest(_identity(path))
    else:
        folder = named_folder(workdir, storage_options)
    try:
        if isinstance(folder, RemotePath):
            return _remote_store(folder)
        (folder / "store").mkdir(parents=True, exist_ok=True)
    except ImageCurateError:
        raise
    except OSError as error:
        raise OutputError.because(
            f"the working folder {str(folder)!r} cannot be made: {error}", "name another one by workdir="
        ) from error
    return Store(folder / "store")


def _remote_store(folder: RemotePath) -> Store:
    """Open a store behind a URL; one that cannot be written is told now, not after the first shard."""
    mark = folder / "store" / "store.json"
    if not mark.exists():
        mark.write_bytes(b'{"format": 1}\n')
    beside = cache_folder() / "stores" / digest(str(folder)) / "store"
    beside.mkdir(parents=True, exist_ok=True)
    return Store(folder / "store", beside)


def _identity(path: Any) -> Any:
    """The same for the same shards, from whatever folder they are named."""
    if isinstance(path, Mapping):
        return {name: _identity(part) for name, part in path.items()}
    if not isinstance(path, str | os.PathLike):
        return [_identity(part) for part in path]
    local = local_path(os.fspath(path))
    return os.fspath(path) if local is None else str(_absolute(local))


def _absolute(path: str) -> Path:
    return Path(os.path.expanduser(path)).absolute()  # noqa: PTH111  # a ~ that is no user's home stays as it is
