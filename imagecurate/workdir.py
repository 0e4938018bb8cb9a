"""Where a dataset's store lies: a named folder, a cache folder, or a temporary one."""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from imagecurate.store import Store, digest

__all__ = ["cache_folder", "open_store"]


def cache_folder() -> Path:
    """Folder for what can be computed again: ``$IMAGECURATE_CACHE``, or the platform's place for caches."""
    named = os.environ.get("IMAGECURATE_CACHE")
    if named:
        return Path(named)
    default = Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache")
    return Path(os.environ.get("XDG_CACHE_HOME") or default) / "imagecurate"


def open_store(workdir: str | os.PathLike[str] | None, path: Any) -> Store:
    """Give the store of a dataset.

    Parameters
    ----------
    workdir : path or None
        Named folder; "auto" for a cache folder that belongs to ``path``; None for a temporary folder that is removed
        when the program ends.
    path : object
        Where the dataset lies.
    """
    if workdir is None:
        folder = tempfile.mkdtemp(prefix="imagecurate-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        return Store(Path(folder) / "store")
    if workdir == "auto":
        return Store(cache_folder() / "stores" / digest(_absolute(path)) / "store")
    return Store(Path(workdir).absolute() / "store")


def _absolute(path: Any) -> Any:
    if isinstance(path, dict):
        return {name: _absolute(part) for name, part in path.items()}
    if isinstance(path, list | tuple):
        return [_absolute(part) for part in path]
    text = os.fspath(path)
    return text if "://" in text else str(Path(text).absolute())
