"""Check an export against its manifest."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from imagecurate.errors import OutputError
from imagecurate.export.folder import DIGESTS, Folder
from imagecurate.export.folder_at import folder_at
from imagecurate.export.occupancy import MANIFEST
from imagecurate.export.records import read_json
from imagecurate.plan.execute import in_threads
from imagecurate.plan.threads import cores
from imagecurate.remote import StorageOptions

__all__ = ["file_fault", "is_manifest", "verify"]


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
    if manifest is None or not is_manifest(manifest):
        raise OutputError.because(
            f"there is no readable {MANIFEST} in {os.fspath(path)!r}", "it is written last: let the export finish"
        )
    name_of_digest = manifest["digest"]

    def check(item: tuple[str, dict[str, Any]]) -> str:
        return file_fault(folder, *item, name_of_digest)

    found = in_threads(threads or cores(), check, manifest["files"].items())
    return [fault for fault in found if fault]


def file_fault(folder: Folder, name: str, entry: Mapping[str, Any], digest: str | None) -> str:
    """What is wrong with a file that a manifest lists, as a sentence, or ``""``; by size alone without a digest."""
    size = folder.size(name)
    if size is None:
        return f"{name} is missing"
    if size != entry["bytes"]:
        return f"{name} has {size} bytes, {MANIFEST} promises {entry['bytes']}"
    if digest is None:
        return ""
    found = DIGESTS[digest]()
    with folder.open(name) as file:
        while block := file.read(1 << 20):
            found.update(block)
    same = found.hexdigest() == entry[digest]
    return "" if same else f"{name} has {digest} {found.hexdigest()}, {MANIFEST} promises {entry[digest]}"


def is_manifest(document: Mapping[str, Any]) -> bool:
    """Whether it is the manifest of an export, and not of something else."""
    digest, files = document.get("digest"), document.get("files")
    return (
        isinstance(digest, str)
        and digest in DIGESTS
        and isinstance(files, dict)
        and all(isinstance(entry, dict) and {"bytes", digest} <= entry.keys() for entry in files.values())
    )
