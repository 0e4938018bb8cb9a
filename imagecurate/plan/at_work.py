"""What the threads of a process are at work on, noted so that whoever comes after it knows what it died of.

A process without a cluster dies of a row that crashes a library, and would die again at the same row.  So each block
is noted in a file of the process while it is worked on: a write of some bytes to a page of memory that outlives the
process.  Blocks at which two processes died are done piece by piece, in processes that they may kill,
before all else; one death proves nothing, for most are a kill from outside.
"""

from __future__ import annotations

import atexit
import json
import logging
import mmap
import os
import threading
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from imagecurate.plan.claims import Owner
from imagecurate.plan.outcome import Positions
from imagecurate.store import write_atomically

__all__ = ["NOTES", "Crashable", "at_work_on", "crashes_first", "is_of_the_dead", "unnoted"]

_log = logging.getLogger(__name__)

#: Folder of a store where processes note what they are at work on.
NOTES = "working"

#: Bytes of a note, of which it takes some forty, and how many threads of a process have room for one.
_SLOT, _THREADS = 64, 1024
#: Processes that died of the same block before it is done piece by piece.
_SUSPECT = 2

_is_unnoted = False
#: Of this process, by folder.
_notes: dict[str, _Notes] = {}
_making = threading.Lock()


class _Block(NamedTuple):
    """Rows of a shard that were worked on at once."""

    shard: str
    first: int
    last: int


@runtime_checkable
class Crashable(Protocol):
    """A task that can be done piece by piece, in processes that it may kill."""

    @property
    def notes(self) -> Path:
        """Folder where processes note what they are at work on."""

    def noted_as(self, item: Any) -> str:
        """Name of an item there."""

    def in_pieces(self, item: Any, rows: Positions | None = None) -> None:
        """Do some rows of an item piece by piece; all by default."""


@contextmanager
def at_work_on(folder: Path, shard: str, rows: Positions) -> Iterator[None]:
    """Note inside that this process is at work on rows of a shard.

    Parameters
    ----------
    folder : Path
        Where; other processes look there, too.
    shard : str
        Token of the shard.
    rows : array of int
        In order.
    """
    if _is_unnoted:
        yield
        return
    notes = _notes.get(str(folder)) or _begun(folder)
    slot = notes.add(_Block(shard, int(rows[0]), int(rows[-1])))
    try:
        yield
    finally:
        notes.clear(slot)


def unnoted() -> None:
    """Let this process note nothing: somebody waits for its end and knows what it does."""
    global _is_unnoted
    _is_unnoted = True


@contextmanager
def crashes_first(task: Crashable, items: Iterable[Any]) -> Iterator[None]:
    """Do first what processes before this one died of, in processes that it may kill; forget it when all is done.

    Parameters
    ----------
    task : Crashable
    items : iterable
        All that there is to do.
    """
    left = {path: blocks for path in task.notes.glob("*.json") if (blocks := _left_by_the_dead(path)) is not None}
    deaths = Counter(block for blocks in left.values() for block in set(blocks))
    suspects = {block for block, count in deaths.items() if count >= _SUSPECT}
    named = {task.noted_as(item): item for item in items} if deaths else {}
    for name, item in named.items():
        for block in sorted(block for block in suspects if block.shard == name):
            _log.warning(
                "%d processes died while at work on rows %d to %d of shard %s; these are done first, piece by piece",
                deaths[block], block.first, block.last, getattr(item, "name", item),
            )  # fmt: skip
            task.in_pieces(item, np.arange(block.first, block.last + 1))
    yield
    for path, blocks in left.items():
        if all(block.shard in named for block in blocks):
            path.unlink(missing_ok=True)


def is_of_the_dead(path: Path) -> bool:
    """Whether the notes in a file are those of a process of this machine that has ended."""
    return _left_by_the_dead(path) is not None


def _left_by_the_dead(path: Path) -> list[_Block] | None:
    """What a process died of; None where it lives, or nothing can be told of it."""
    with suppress(FileNotFoundError, ValueError, KeyError, TypeError):
        owner, *notes = path.read_text().splitlines()
        found = Owner(**json.loads(owner))
        if found.is_here and not found.lives():
            return [_Block(*json.loads(note)) for note in notes if note.strip()]
    return None


class _Notes:
    """The file of this process in a folder, removed as it ends: a line that says who it is, and one for each thread."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / f"{uuid.uuid4().hex}.json"
        self._owner = os.getpid()
        self._blank = b" " * (_SLOT - 1) + b"\n"
        head = json.dumps(asdict(Owner.me())).encode() + b"\n"
        self._start = len(head)
        self._free = list(range(_THREADS))
        write_atomically(self._path, lambda temporary: temporary.write_bytes(head + self._blank * _THREADS))
        with self._path.open("rb+") as file:
            self._slots = mmap.mmap(file.fileno(), 0)
        atexit.register(self._remove)

    def add(self, block: _Block) -> int:
        slot = self._free.pop()  # whole under the interpreter's lock, as append is
        self._put(slot, b'["%s", %d, %d]' % (block.shard.encode(), block.first, block.last))
        return slot

    def clear(self, slot: int) -> None:
        self._put(slot, self._blank)
        self._free.append(slot)

    def _put(self, slot: int, text: bytes) -> None:
        start = self._start + slot * _SLOT
        self._slots[start : start + len(text)] = text

    def _remove(self) -> None:
        if self._owner == os.getpid():  # a child that was forked inherits what is done at the end
            self._path.unlink(missing_ok=True)


def _begun(folder: Path) -> _Notes:
    with _making:
        if str(folder) not in _notes:
            _notes[str(folder)] = _Notes(folder)
        return _notes[str(folder)]


def _forget() -> None:
    global _making
    _notes.clear()
    _making = threading.Lock()  # another thread of the parent may have held it


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
