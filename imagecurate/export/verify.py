"""Check an export against its manifest."""

from __future__ import annotations

import os
from typing import Any

from imagecurate.errors import OutputError
from imagecurate.export.folder import DIGESTS
from imagecurate.export.folder_at import folder_at
from imagecurate.export.occupancy import MANIFEST
from imagecurate.export.records import read_json
from imagecurate.plan.execute import in_threads
from imagecurate.plan.threads import cores
from imagecurate.shards.remote import StorageOptions

__all__ = ["verify"]


def verify(
    path: str | os.PathLike[str], *, threads: int | None = None, storage_options: StorageOptions = None
) -> list[str]:
    """Compare every file of an export with what its manifest says of it.

    Parameters
    ----------
    path : str or path
        Folder of an export.
    threads : int, optional
        Files read at a time; the number of processors by default.
    storage_options : mapping, optional
        For fsspec, where ``path`` is a URL.

    Returns
    -------
    list of str
        What is wrong, a sentence a file; empty where all is well.

    Raises
    ------
    OutputError
        There is no manifest: this is no export, or an unfinished one.
    """
    folder = folder_at(path, storage_options)
    manifest = read_json(folder, MANIFEST)
    if manifest is None or not _is_ours(manifest):
        raise OutputError.because(
            f"there is no readable {MANIFEST} in {os.fspath(path)!r}", "it is written last: let the export finish"
        )
    name_of_digest = manifest["digest"]

    def check(item: tuple[str, dict[str, Any]]) -> str | None:
        name, entry = item
        size = folder.size(name)
        if size is None:
            return f"{name} is missing"
        if size != entry["bytes"]:
            return f"{name} has {size} bytes, {MANIFEST} promises {entry['bytes']}"
        digest = DIGESTS[name_of_digest]()
        with folder.open(name) as file:
            while block := file.read(1 << 20):
                digest.update(block)
        if digest.hexdigest() != entry[name_of_digest]:
            return f"{name} has {name_of_digest} {digest.hexdigest()}, {MANIFEST} promises {entry[name_of_digest]}"
        return None

    found = in_threads(threads or cores(), check, manifest["files"].items())
    return [problem for problem in found if problem is not None]


def _is_ours(manifest: dict[str, Any]) -> bool:
    """Whether it is the manifest of an export, and not of something else."""
    digest, files = manifest.get("digest"), manifest.get("files")
    return (
        isinstance(digest, str)
        and digest in DIGESTS
        and isinstance(files, dict)
        and all(isinstance(entry, dict) and {"bytes", digest} <= entry.keys() for entry in files.values())
    )
