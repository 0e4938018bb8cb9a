"""What is in a store, found out by looking at its folders: while runs write to it, too."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from imagecurate.errors import OutputError
from imagecurate.remote import RemotePath, StorageOptions, filesystem, local_path, with_retries
from imagecurate.store.packs import INDEX, PACK, packs_of
from imagecurate.store.writing import StorePath

__all__ = ["StageFolder", "StoredFile", "files_below", "inventory", "shard_files", "store_in"]

_PART = re.compile(r"^(?P<shard>.+)-[0-9a-f]{12}(?:\.part-(?P<part>\d+))?\.(?:parquet|arrow)$")
#: How the names of files end that are being written, or were when their writer was killed.
TEMPORARY = ".tmp"


class StoredFile(NamedTuple):
    """A file of the store.

    Attributes
    ----------
    path : str
        Below the folder that was looked into, with ``/``.
    size : int
        Bytes.
    modified : float
        Seconds since 1970; 0 where the file system does not say.
    """

    path: str
    size: int
    modified: float

    @property
    def is_temporary(self) -> bool:
        """Whether it is being written, or its writer was killed."""
        return self.path.endswith(TEMPORARY)

    @property
    def shard(self) -> str | None:
        """Source and name of the shard that it belongs to, with ``/``; None for a file of no shard."""
        found = _PART.match(self.path)
        return found["shard"] if found else None

    @property
    def part(self) -> int | None:
        """Number of the part; None for a finished file."""
        found = _PART.match(self.path)
        return int(found["part"]) if found and found["part"] else None

    @property
    def is_pack(self) -> bool:
        """Whether it holds the files of many shards."""
        return self.path.endswith(PACK)

    @property
    def is_of_packs(self) -> bool:
        """Whether it is a pack, or says what is in one: its time is not that of what it holds."""
        return self.path.endswith((PACK, INDEX))


@dataclass
class StageFolder:
    """The columns of one stage.

    Attributes
    ----------
    name : str
        Of the folder: the stage's fingerprint.
    record : dict
        What ``stage.json`` says of the stage; empty where it is not there.
    shards : int
        Shards with a finished file, in packs or not.
    parts : int
        Parts of shards in work.
    packs : int
        Files that hold those of many shards.
    bytes : int
    newest : float
        When the last of its files was written; putting it into a pack does not count.
    """

    name: str
    record: dict[str, Any] = field(default_factory=dict)
    shards: int = 0
    parts: int = 0
    packs: int = 0
    bytes: int = 0
    newest: float = 0.0

    def add(self, file: StoredFile) -> None:
        """Count the file of a shard in."""
        self.newest = max(self.newest, file.modified)
        self.shards += file.part is None
        self.parts += file.part is not None


def store_in(workdir: str | os.PathLike[str], storage_options: StorageOptions = None) -> StorePath:
    """Give the store of a working folder that is there.

    Raises
    ------
    OutputError
        It is not there.
    """
    text = os.fspath(workdir)
    local = local_path(text)
    if local is None:
        return RemotePath(f"{text.rstrip('/')}/store", storage_options)
    folder = Path(os.path.expanduser(local)).absolute()  # noqa: PTH111  # a ~ that is no user's home stays as it is
    root = folder if folder.name == "store" and (folder / "columns").is_dir() else folder / "store"
    if not root.is_dir():
        raise OutputError.because(
            f"there is no store in {text!r}", "name the workdir of a pipeline; 'run --dry-run' shows it"
        )
    return root


def files_below(folder: StorePath) -> Iterator[StoredFile]:
    """Give every file below a folder; a folder that is not there has none."""
    if isinstance(folder, RemotePath):
        yield from _remote_files(folder)
        return
    waiting = [str(folder)]
    start = len(waiting[0]) + 1
    while waiting:
        try:
            entries = list(os.scandir(waiting.pop()))
        except FileNotFoundError:  # others work here, too
            continue
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                waiting.append(entry.path)
                continue
            try:
                status = entry.stat()
            except FileNotFoundError:
                continue
            yield StoredFile(entry.path[start:].replace(os.sep, "/"), status.st_size, status.st_mtime)


def shard_files(folder: StorePath) -> Iterator[StoredFile]:
    """Give every file of a shard in a folder of columns or of indices, those in packs as if they were loose."""
    loose = set()
    for file in files_below(folder):
        if file.shard is not None:
            loose.add(file.path)
            yield file
    if isinstance(folder, RemotePath):
        return
    # read last, so that a file that goes into a pack meanwhile is given once at least
    for each in {file.name: file for file in packs_of(folder).all()}.values():
        if each.name not in loose:
            yield StoredFile(each.name, each.size, each.modified / 1e9)


def inventory(root: StorePath) -> tuple[list[StageFolder], dict[str, tuple[int, int]]]:
    """Look through a store.

    Returns
    -------
    stages : list of StageFolder
        The columns, largest first.
    others : dict of str to (int, int)
        Files and bytes of each other folder: ``index``, ``masks``, ``stages``, ``tables``, …; of files that are being
        written, or were when their writer was killed, under ``unfinished``.
    """
    stages: dict[str, StageFolder] = {}
    others: dict[str, tuple[int, int]] = {}
    for file in files_below(root):
        kind, _, rest = file.path.partition("/")
        if kind == "columns" and not file.is_temporary:
            stage = stages.setdefault(rest.partition("/")[0], StageFolder(rest.partition("/")[0]))
            stage.bytes += file.size
            stage.packs += file.is_pack
        else:
            kind = "unfinished" if file.is_temporary else kind
            count, size = others.get(kind, (0, 0))
            others[kind] = count + 1, size + file.size
    for name, stage in stages.items():
        stage.record = _record(root / "columns" / name / "stage.json")
        for file in shard_files(root / "columns" / name):
            stage.add(file)
    return sorted(stages.values(), key=lambda stage: -stage.bytes), dict(sorted(others.items()))


def _record(path: StorePath) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return record


def _remote_files(folder: RemotePath) -> Iterator[StoredFile]:
    fs, path = filesystem(folder.url, folder.storage_options)

    def listed() -> dict[str, Any]:
        fs.invalidate_cache()  # others write, too
        try:
            found: dict[str, Any] = fs.find(path, detail=True)
        except FileNotFoundError:
            return {}
        return found

    for name, info in with_retries(folder.url, listed).items():
        changed = next((info[key] for key in ("LastModified", "mtime", "updated", "created") if info.get(key)), 0.0)
        if isinstance(changed, datetime):
            changed = changed.timestamp()
        below = str(name).strip("/").removeprefix(path.strip("/")).strip("/")
        yield StoredFile(below, int(info["size"] or 0), float(changed) if isinstance(changed, int | float) else 0.0)
