"""Files that may lie beside shards and speak of them."""

from __future__ import annotations

import json
from typing import Any

from imagecurate.errors import ImageCurateError
from imagecurate.remote import StorageOptions, local_path, read_whole

__all__ = ["read_document", "read_errors", "sentence_of", "split_url"]


def read_document(url: str, storage_options: StorageOptions) -> tuple[dict[str, Any] | None, str]:
    """Read a JSON object that may lie beside a shard; where there is something else, say what."""
    name = split_url(url)[1]
    try:
        document = json.loads(read_whole(url, storage_options))
    except FileNotFoundError:
        return None, ""
    except (ValueError, RecursionError):
        return None, f"{name} is no JSON: not compared"
    except read_errors(url) as error:
        # a bucket that may not be listed refuses what it does not have
        refused = isinstance(error, PermissionError) or getattr(error, "status", None) in (401, 403)
        return None, "" if refused and local_path(url) is None else f"{name} cannot be read: {sentence_of(error)}"
    return (document, "") if isinstance(document, dict) else (None, f"{name} is no JSON object: not compared")


def read_errors(url: str) -> tuple[type[Exception], ...]:
    """What reading may raise: elsewhere anything, for errors of aiohttp and botocore are no ``OSError``."""
    return (Exception,) if local_path(url) is None else (OSError,)


def sentence_of(error: Exception) -> str:
    """What happened, without the path that the row names anyway, and without a hint of ours."""
    if isinstance(error, ImageCurateError):
        return str(error).partition("\n\n")[0]
    return getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"


def split_url(url: str) -> tuple[str, str]:
    """Folder and name of what a path or URL leads to."""
    folder, _, name = url.rpartition("/")
    return folder, name
