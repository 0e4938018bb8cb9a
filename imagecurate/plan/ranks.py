"""Several processes that do the same work without a scheduler: they share it out through claims in the working folder.

Each runs the same program.  In front of a pass over shards the ranks fill the store together, each taking shards that
nobody has; then all of them find everything there.  What needs all shards, one rank does while the others wait.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from imagecurate.errors import ParameterError
from imagecurate.plan.claims import Claims
from imagecurate.plan.outcome import PassStats
from imagecurate.plan.stopping import check_stop
from imagecurate.store.writing import StorePath

__all__ = ["LOG", "Rank", "SharedTask", "count_for_rank", "fill", "turn", "working_as", "working_rank"]

#: Seconds between two looks at what the other ranks did.
_LOOK_S = 0.5
#: Owners of a shard that died before it is done piece by piece, in processes that it may kill.
_SUSPECT = 2
#: How the names of files end that say what a rank did.
LOG = ".done"


@dataclass(frozen=True)
class Rank:
    """One of ``world`` processes that share the work; any of them may die, and others may join."""

    rank: int
    world: int
    #: What its passes over shards did so far.
    stats: PassStats = field(default_factory=PassStats, compare=False)


@runtime_checkable
class SharedTask(Protocol):
    """A task whose result lies in the store, so that it need be run by one rank only."""

    @property
    def claims(self) -> StorePath:
        """Folder where the ranks share out this task."""

    def claimed_as(self, item: Any) -> str:
        """Name of an item in that folder."""

    def in_pieces(self, item: Any) -> None:
        """Do an item piece by piece, in processes that it may kill."""

    def __call__(self, item: Any) -> Any: ...


_working: Rank | None = None
_counting = threading.Lock()


def working_rank() -> Rank | None:
    """Which rank this process is, or None."""
    return _working


def count_for_rank(stats: PassStats) -> None:
    """Count in what a pass over a shard did, if this process is a rank."""
    if _working is not None:
        with _counting:
            _working.stats.add(stats)


@contextmanager
def working_as(rank: int, world: int) -> Iterator[Rank]:
    """Inside, this process is one of several that run the same program on the same working folder.

    Parameters
    ----------
    rank : int
        Number of this process, 0 to ``world - 1``: where among the shards it begins.
    world : int
        How many there are, about: any may die, and others may join.

    Raises
    ------
    ParameterError
        There is no such rank.
    """
    global _working
    for name, value, least in (("world", world, 1), ("rank", rank, 0)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ParameterError(f"{name} must be a whole number of at least {least}, but is {value!r}")
    if rank >= world:
        raise ParameterError.because(
            f"rank must be less than world, but is {rank} of {world}", "ranks are counted from 0: --rank 0 --world 1"
        )
    outer, _working = _working, Rank(rank, world)
    try:
        yield _working
    finally:
        _working = outer


def fill(
    task: SharedTask, items: Sequence[Any], run: Callable[[Callable[[Any], bool], Iterable[Any]], Iterator[bool]]
) -> None:
    """Do a task for all items together with the other ranks; it is done when this returns.

    Parameters
    ----------
    task : SharedTask
    items : sequence
    run : callable
        Calls a function for items, several at a time.
    """
    if _working is None:
        raise TypeError("this process is no rank")
    folder = _mounted(task.claims)
    claims, done = Claims(folder), _Done(folder)

    def work_on(item: Any) -> bool:
        name = task.claimed_as(item)
        if name in done or (deaths := claims.take(name)) is None:
            return False
        try:
            done.look()
            if name in done:  # between the look and the claim
                return False
            if deaths >= _SUSPECT:
                task.in_pieces(item)
            task(item)
            done.add(name)
            return True
        finally:
            claims.release(name)

    first = _working.rank * len(items) // _working.world
    mine_first = [(task.claimed_as(item), item) for item in (*items[first:], *items[:first])]
    while True:
        done.look()
        left = [item for name, item in mine_first if name not in done]
        if not left:
            return
        if not sum(run(work_on, left)):
            check_stop()
            time.sleep(_LOOK_S)


@contextmanager
def turn(folder: StorePath, name: str) -> Iterator[None]:
    """Inside, no other rank is: the first does what is to be done, those after it find it done.

    Outside of ``working_as`` this does nothing.

    Parameters
    ----------
    folder : path
        Of the store.
    name : str
        What is to be done.

    Raises
    ------
    ParameterError
        The store lies in no file system.
    """
    if _working is None:
        yield
        return
    claims = Claims(_mounted(folder / "claims" / "turns"))
    while claims.take(name) is None:
        while claims.is_taken(name):
            check_stop()
            time.sleep(_LOOK_S)
    try:
        yield
    finally:
        claims.release(name)


def _mounted(folder: StorePath) -> Path:
    if not isinstance(folder, Path):
        raise ParameterError.because(
            f"ranks share out their work by files, which an object store cannot lock, but the store lies at {folder}",
            "let workdir be a folder that all ranks mount; input and output may be URLs",
        )
    return folder


class _Done:
    """What the ranks did: a file of names for each of them, which only grows, unless a store is put in order."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / f"{uuid.uuid4().hex}{LOG}"
        self._names: set[str] = set()
        self._read: dict[Path, int] = {}
        self._lock = threading.Lock()

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def add(self, name: str) -> None:
        """Say that something is done."""
        self._folder.mkdir(parents=True, exist_ok=True)  # it goes with the logs where they are removed
        with self._path.open("ab", buffering=0) as file:
            file.write(f"{name}\n".encode())
        with self._lock:
            self._names.add(name)

    def look(self) -> None:
        """Read what was added; where a log was removed, as the columns that it speaks of may be, begin anew."""
        with self._lock:
            self._look()

    def _look(self) -> None:
        sizes = {}
        for path in self._folder.glob(f"*{LOG}"):
            with suppress(FileNotFoundError):
                sizes[path] = path.stat().st_size
        if any(sizes.get(path, 0) < read for path, read in self._read.items()):
            self._names.clear()
            self._read.clear()
        for path in sizes:
            with suppress(FileNotFoundError), path.open("rb") as file:
                start = file.seek(self._read.get(path, 0))
                lines, newline, _ = file.read().rpartition(b"\n")  # the last line may be half a line
                self._names.update(lines.decode().split("\n") if newline else ())
                self._read[path] = start + len(lines) + len(newline)
