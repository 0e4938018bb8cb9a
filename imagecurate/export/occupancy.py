"""Whether a folder may take an export: it is never mixed with anything else, and nothing of others is touched."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from imagecurate.errors import OutputError, listed
from imagecurate.export.folder import WORK
from imagecurate.export.records import read_json
from imagecurate.remote import local_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from imagecurate.export.folder import Folder
    from imagecurate.shards.shard import Shard

__all__ = ["CLAIM", "MANIFEST", "RUN", "TIMINGS", "check_foreign", "check_not_input", "finished"]

#: Files beside the shards: what is in the folder, what produced it, how long that took.
MANIFEST = "manifest.json"
RUN = "run.json"
TIMINGS = "timings.json"
#: Says whose export it is that lies unfinished in the folder.
CLAIM = f"{WORK}/plan.json"

_OF_AN_EXPORT = re.compile(r".*\.(?:tar|parquet|idx)")


def check_not_input(folders: Iterable[str], shards: Sequence[Shard]) -> None:
    """Raise if the input lies in one of the folders, or anywhere below it.

    Raises
    ------
    OutputError
        It does.
    """
    inputs = {_place(parent) for parent in {shard.url.rpartition("/")[0] for shard in shards}}
    for folder in folders:
        place = _place(folder).rstrip("/") + "/"
        if any(f"{each.rstrip('/')}/".startswith(place) for each in inputs):
            raise OutputError.because(
                f"cannot export to {folder!r}: the input lies there", "name a folder of its own for the output"
            )


def _place(url: str) -> str:
    path = local_path(url)
    return url.rstrip("/") if path is None else os.path.realpath(path)


def finished(folder: Folder, path: str | os.PathLike[str], fingerprint: str) -> dict[str, Any] | None:
    """Look at what lies in the folder.

    Returns
    -------
    dict or None
        The manifest, where this very export is complete; None where it is to be begun or continued.

    Raises
    ------
    OutputError
        Something else lies there.
    """
    claim, manifest = read_json(folder, CLAIM), read_json(folder, MANIFEST)
    there = claim or manifest
    if there is None:
        check_foreign(folder, path, lambda name: False)
        return None
    if there.get("fingerprint") != fingerprint:
        state = "an unfinished export" if claim else "the export"
        raise OutputError.because(
            f"{os.fspath(path)!r} holds {state} of other samples or with other parameters",
            "export to another folder, or remove this one",
        )
    if claim or manifest is None:
        return None
    whole = all(folder.size(name) == entry["bytes"] for name, entry in manifest["files"].items())
    return manifest if whole else None


def check_foreign(folder: Folder, path: str | os.PathLike[str], is_ours: Callable[[str], bool]) -> None:
    """Raise if files lie in the folder that look like those of an export, but are not ours.

    Raises
    ------
    OutputError
        There are.
    """
    found = {name for name in folder.names() if _OF_AN_EXPORT.fullmatch(name) or name in (MANIFEST, RUN, TIMINGS)}
    found |= {f"ledger/{name}" for name in folder.names("ledger") if _OF_AN_EXPORT.fullmatch(name)}
    foreign = sorted(name for name in found if not is_ours(name))
    if foreign:
        raise OutputError.because(
            f"{os.fspath(path)!r} holds files that this export did not write: {listed(foreign, 5)}",
            "export to a new folder; what lies here is left as it is",
        )
