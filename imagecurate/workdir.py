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

from imagecurate.errors import OutputError, ParameterError
from imagecurate.shards.remote import local_path
from imagecurate.store import Store, digest

__all__ = ["cache_folder", "named_folder", "open_store"]


def cache_folder() -> Path:
    """Folder for what can be computed again: ``$IMAGECURATE_CACHE``, or the platform's place for caches."""
    named = os.environ.get("IMAGECURATE_CACHE")
    if named:
        return Path(named)
    default = Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache")
    return Path(os.environ.get("XDG_CACHE_HOME") or default) / "imagecurate"


def named_folder(workdir: str | os.PathLike[str]) -> Path:
    """Give the absolute path of a working folder; ``~`` is the home folder.

    Raises
    ------
    ParameterError
        It does not lie in a file system.
    """
    path = local_path(os.fspath(workdir))
    if not path:
        raise ParameterError.because(
            f"workdir must be a folder on a disk, but is {str(workdir)!r}",
            "name a local folder, or for a cluster one that all machines mount; input and output may be URLs",
        )
    return _absolute(path)


def open_store(workdir: str | os.PathLike[str] | None, path: Any) -> Store:
    """Give the store of a dataset.

    Parameters
    ----------
    workdir : path or None
        Named folder; "auto" for a cache folder that belongs to ``path``; None for a temporary folder that is removed
        when the program ends.
    path : object
        Where the dataset lies.

    Raises
    ------
    ParameterError
        ``workdir`` does not lie in a file system.
    OutputError
        The folder cannot be made.
    """
    if workdir is None:
        folder = Path(tempfile.mkdtemp(prefix="imagecurate-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    else:
        folder = cache_folder() / "stores" / digest(_identity(path)) if workdir == "auto" else named_folder(workdir)
    try:
        (folder / "store").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError.because(
            f"the working folder {str(folder)!r} cannot be made: {error}", "name another one by workdir="
        ) from error
    return Store(folder / "store")


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
