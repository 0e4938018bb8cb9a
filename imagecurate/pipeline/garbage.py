"""What of a store nobody needs any more."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from imagecurate.backend.machines import POSSIBLE, assuming
from imagecurate.errors import MissingDependencyError, OutputError
from imagecurate.pipeline.pipeline import Pipeline
from imagecurate.plan.at_work import NOTES, is_of_the_dead
from imagecurate.plan.ranks import LOG
from imagecurate.plan.steps import Stored
from imagecurate.store import StorePath
from imagecurate.store.compact import discard
from imagecurate.store.inventory import StoredFile, files_below
from imagecurate.store.packs import INDEX, PACK, packs_of

__all__ = ["Garbage", "collect", "garbage_in"]

#: Seconds after which a file that is being written counts as left behind: no write takes as long.
LEFT_BEHIND_S = 3_600.0

#: Why a file can go that was being written.
_LEFT = "left by a killed process"
_ENDED = "of processes that have ended"
_FOR_LONG = "not written to for long"

#: Folder of what was found out about the columns of some shards: a file of some hundred bytes for each set of them.
_SCHEMAS = "schemas"

#: Folder where ranks tell each other what they do; those at work touch theirs every few seconds.
_CLAIMS = "claims"

#: Folders of the store that hold one folder for each of what is kept there.
_KEPT_BY_NAME = ("columns", "index", "stages", "masks")


@dataclass(frozen=True)
class Garbage:
    """Files that can go, and why."""

    why: str
    folder: str
    files: tuple[str, ...]
    bytes: int


@dataclass(frozen=True)
class _Kept:
    """What pipelines need: names of folders, and in each the shards' files."""

    folders: frozenset[str]
    files: frozenset[str]


def garbage_in(
    store: StorePath, keep: Iterable[Pipeline] = (), older_than_s: float | None = None, now: float | None = None
) -> list[Garbage]:
    """Look for what can go; removes nothing.

    Parameters
    ----------
    store : Path
    keep : iterable of Pipeline
        Where some are given, all that none of them would read can go: columns of other stages and of other parameters,
        and those of shards that were changed since.  Their inputs and weights are looked at.
    older_than_s : float, optional
        Columns of stages for which nothing was written for so long can go, kept or not.
    now : float, optional
        Seconds since 1970.

    Raises
    ------
    OutputError
        The store lies behind a URL.
    ParameterError
        A pipeline has another store.
    """
    if not isinstance(store, Path):
        raise OutputError.because(
            f"what can go is found on disks alone, not in {str(store)!r}", "remove folders there by the bucket's tools"
        )
    now = time.time() if now is None else now
    kept = [_kept_by(pipeline, store) for pipeline in keep]
    files = list(files_below(store))
    packed = list(_packed_in(store, files))
    newest: dict[str, float] = {}
    for file in [*(file for file in files if not file.is_of_packs), *packed]:
        folder = _folder_of(file.path)
        newest[folder] = max(newest.get(folder, 0.0), file.modified)
    folders = {folder: _why_all(folder, kept, now - last, older_than_s) for folder, last in newest.items()}
    whole = {file.path.removesuffix(INDEX) for file in files}
    finished = {_stem(file.path): file.modified for file in [*files, *packed] if file.shard and file.part is None}
    found: dict[tuple[str, str], list[StoredFile]] = {}
    for file in files:
        folder = _folder_of(file.path)
        is_taken_in = file.part is not None and file.modified < finished.get(_stem(file.path), 0.0)
        if file.is_temporary or is_taken_in or (file.is_pack and file.path.removesuffix(PACK) not in whole):
            why = _LEFT if now - file.modified > LEFT_BEHIND_S else None
        elif folder == _SCHEMAS:
            why = _FOR_LONG if older_than_s is not None and now - file.modified > older_than_s else None
        elif folder == NOTES:
            gone = now - file.modified > LEFT_BEHIND_S and is_of_the_dead(store / file.path)
            why = _ENDED if gone else None
        else:
            why = folders.get(folder) or _why(file, folder, kept)
        if why:
            found.setdefault((why, folder), []).append(file)
    for file in packed:
        folder = _folder_of(file.path)
        if folders[folder] is None and (why := _why(file, folder, kept)):
            found.setdefault((why, folder), []).append(file)
    if any(why != _LEFT and why != _ENDED and folder != _SCHEMAS for why, folder in found):
        # Ranks would take for done what goes; one at work finds its log gone, and looks at every shard again.
        for file in files:
            folder = _folder_of(file.path)
            if file.path.endswith(LOG) and not folders.get(folder):
                found.setdefault(("tells ranks of columns that go", folder), []).append(file)
    return [
        Garbage(why, folder, tuple(file.path for file in group), sum(file.size for file in group))
        for (why, folder), group in sorted(found.items())
    ]


def collect(store: Path, garbage: Iterable[Garbage]) -> int:
    """Remove files; those that are gone do not matter, and folders that are empty go, too.  Gives the bytes.

    Packs that hold some of them are written anew without these.
    """
    removed = 0
    for group in garbage:
        for name in group.files:
            (store / name).unlink(missing_ok=True)
        discard(store / group.folder, {name[len(group.folder) + 1 :] for name in group.files})
        for folder in {(store / name).parent for name in group.files}:
            _remove_empty(folder, store)
        if not any(files_below(store / group.folder)):  # what was compacted left folders behind
            for empty, _, _ in os.walk(store / group.folder, topdown=False):
                _remove_empty(Path(empty), store)
        removed += group.bytes
    return removed


def _remove_empty(folder: Path, store: Path) -> None:
    """Remove a folder of the store, and those around it, as far as they are empty."""
    while folder != store:
        try:
            folder.rmdir()
        except FileNotFoundError:  # others did it
            pass
        except OSError:  # it is not empty
            return
        folder = folder.parent


def _packed_in(store: Path, files: Iterable[StoredFile]) -> Iterator[StoredFile]:
    """The files in packs, those that count no more among them."""
    for folder in dict.fromkeys(_folder_of(file.path) for file in files if file.is_pack):
        for packed in packs_of(store / folder).all():
            yield StoredFile(f"{folder}/{packed.name}", packed.size, packed.modified / 1e9)


def _why_all(folder: str, kept: list[_Kept], age_s: float, older_than_s: float | None) -> str | None:
    """Why a folder can go; None where it cannot."""
    kind, _, name = folder.partition("/")
    if kind == _CLAIMS:
        return _ENDED if age_s > LEFT_BEHIND_S else None
    if kind not in _KEPT_BY_NAME:
        return None
    if older_than_s is not None and age_s > older_than_s:
        return _FOR_LONG
    if not kept:
        return None
    if kind == "stages":
        return "work files of deduplicators, kept for other thresholds and preferences"
    return None if any(name in each.folders for each in kept) else "read by no pipeline that is kept"


def _why(file: StoredFile, folder: str, kept: list[_Kept]) -> str | None:
    """Why a file of a folder that is kept can go; None where it cannot."""
    if not kept or not folder.startswith("columns/"):
        return None
    is_of_a_shard = file._replace(path=file.path[len(folder) + 1 :]).shard is not None
    if is_of_a_shard and not any(_stem(file.path) in each.files for each in kept):
        return "of shards that were changed or are not read"
    return None


def _folder_of(path: str) -> str:
    return "/".join(path.split("/")[:-1][:2])


def _stem(path: str) -> str:
    """Path of a shard's file, be it finished or a part."""
    return path.removesuffix(".parquet").partition(".part-")[0]


def _kept_by(pipeline: Pipeline, store: Path) -> _Kept:
    """What a run of a pipeline would read, on whatever hardware it runs."""
    rehearsal = pipeline.rehearse()
    opened = rehearsal.opened
    if opened._work.store.root != store:
        raise OutputError.because(
            f"the pipeline keeps its columns in {str(opened._work.store.root)!r}, not in {str(store)!r}",
            "name the workdir of the pipeline",
        )
    start = len(f"{store}/")
    folders = {str(opened._work.index(shard))[start:].split("/")[1] for shard in opened._shards}
    files: set[str] = set()
    for hardware in POSSIBLE:
        with assuming(hardware), suppress(MissingDependencyError):  # what the pipeline asks for, that one has not
            for step in rehearsal.unsettled().planned()._ready.plan.steps:
                if isinstance(step, Stored) and step.fingerprint is not None and step.fingerprint not in folders:
                    folders.add(step.fingerprint)
                    stage = opened._work.store.stage(step.fingerprint, reads_metadata=step.reads_metadata)
                    files |= {_stem(str(stage.path(shard))[start:]) for shard in opened._shards}
    return _Kept(frozenset(folders), frozenset(files))
