"""Writing a page: a file on the disk, or behind a URL."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from imagecurate.errors import OutputError, ParameterError
from imagecurate.remote import RemotePath, StorageOptions, local_path
from imagecurate.remote.options import options_for
from imagecurate.store import StorePath, write_atomically

__all__ = ["place_for", "save"]


def place_for(path: Any, storage_options: StorageOptions = None) -> StorePath:
    """Give the place of a page to write: a local path, or a URL with its options.

    Raises
    ------
    ParameterError
        It is no path.
    OutputError
        It is a folder.
    """
    text = os.path.expanduser(path) if isinstance(path, str | os.PathLike) else None  # noqa: PTH111 - URLs are no paths
    if not isinstance(text, str) or not text or "\0" in text:
        raise ParameterError.because(f"a page needs a path, but got {path!r}", "'page.html'")
    local = local_path(text)
    if local is None:
        return RemotePath(text, options_for(text, storage_options))
    if Path(local).is_dir():
        raise OutputError.because(f"the page cannot be written at {text!r}: it is a folder", f"{text}/page.html")
    return Path(local)


def save(content: bytes, place: StorePath) -> None:
    """Write a page; a reader sees the old one or the whole new one.

    Raises
    ------
    OutputError
        It cannot be written.
    """
    try:
        write_atomically(place, lambda temporary: temporary.write_bytes(content))
    except OutputError as error:
        raise OutputError(f"the page cannot be written at {str(place)!r}: {error.__cause__ or error}") from error
