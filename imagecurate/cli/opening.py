"""Shards as the command line names them, and what is said while they are opened."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from imagecurate.dataset import ImageTextPairDataset

__all__ = ["differences_unlogged", "input_of", "opened", "silent"]


def opened(paths: list[str], **options: Any) -> ImageTextPairDataset:
    """Open what was named; ``options`` are those of ``from_webdataset``."""
    from imagecurate.dataset import read_webdataset

    return read_webdataset(input_of(paths), **options)


def input_of(paths: list[str]) -> Any:
    """Give what a pipeline has under ``input`` for some paths, each perhaps with the name of its source.

    >>> input_of(["data"]), input_of(["a", "b"]), input_of(["cc12m=a", "b"])
    ('data', ['a', 'b'], {'cc12m': ['a'], 'default': ['b']})
    """
    named = [source_and_path(text) for text in paths]
    if not any(source for source, _ in named):
        return paths if len(paths) > 1 else paths[0]
    sources: dict[str, list[str]] = {}
    for source, path in named:
        sources.setdefault(source or "default", []).append(path)
    return sources


def source_and_path(text: str) -> tuple[str, str]:
    """Split ``source=path``; the folder ``year=2024`` is a path where it is there.

    >>> source_and_path("cc12m=data/cc12m"), source_and_path("data/a=b"), source_and_path("s3://bucket/x?y=z")
    (('cc12m', 'data/cc12m'), ('', 'data/a=b'), ('', 's3://bucket/x?y=z'))
    """
    source, equals, path = text.partition("=")
    is_path = not (source and equals) or "/" in source or Path(text.partition("/")[0]).exists()
    return ("", text) if is_path else (source, path)


@contextmanager
def differences_unlogged() -> Iterator[None]:
    """Keep what differs between files out of the log: it is printed among the results."""
    from imagecurate.dataset.opening import DIFFERENCES

    DIFFERENCES.disabled = True
    try:
        yield
    finally:
        DIFFERENCES.disabled = False


@contextmanager
def silent() -> Iterator[None]:
    """Show no progress inside."""
    before = os.environ.get("IMAGECURATE_PROGRESS")
    os.environ["IMAGECURATE_PROGRESS"] = "0"
    try:
        yield
    finally:
        if before is None:
            del os.environ["IMAGECURATE_PROGRESS"]
        else:
            os.environ["IMAGECURATE_PROGRESS"] = before
