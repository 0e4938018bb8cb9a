"""Which kind of folder a path or URL is."""

from __future__ import annotations

import os
from pathlib import Path

from imagecurate.errors import ParameterError
from imagecurate.export.folder import Folder
from imagecurate.export.folder_local import LocalFolder
from imagecurate.export.folder_remote import RemoteFolder
from imagecurate.remote import StorageOptions, local_path

__all__ = ["folder_at", "output_path"]


def output_path(path: object) -> str:
    """Give the argument that says where an output goes as text.

    Raises
    ------
    ParameterError
        It is no path, or an empty one, which would be the current folder.
    """
    found = os.fspath(path) if isinstance(path, (str, os.PathLike)) else None
    if not isinstance(found, str) or not found:
        raise ParameterError.because(f"path must be a local path or a URL, but is {path!r}", '"out/curated"')
    return found


def folder_at(path: str | os.PathLike[str], storage_options: StorageOptions = None, *, durable: bool = False) -> Folder:
    """Give the folder at a local path or URL; nothing is made yet.

    Parameters
    ----------
    path : str or path
        Local path or any URL that fsspec can write to.
    storage_options : mapping, optional
        For fsspec.
    durable : bool, default=False
        Have a local file on the disk itself before it appears, so that it outlasts a power failure.
    """
    here = local_path(os.fspath(path))
    return RemoteFolder(os.fspath(path), storage_options) if here is None else LocalFolder(Path(here), durable)
