"""Claims in a shared folder: who works on what, and whether that process still lives.

A claim is a file.  Its owner touches it every few seconds; on the owner's own machine the process table tells at once
whether it lives, elsewhere a claim that was not touched for long is that of the dead.  Two that take a dead one's claim
at the same moment both work: they write the same bytes, so a claim saves work and guards nothing.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import platform
import threading
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from imagecurate.store import write_atomically

__all__ = ["BEAT_S", "STALE_S", "Claims", "Owner"]

#: Seconds between two touches of a claim, and without one after which its owner counts as dead.  A file server may show
#: times that are half a minute old.
BEAT_S = 10.0
STALE_S = 90.0


@dataclass(frozen=True)
class Owner:
    """A process: ``host`` is a machine since its last start, or a container on one, where ``pid`` means something."""

    host: str
    pid: int
    started: float

    @classmethod
    def me(cls) -> Owner:
        """Give the owner that is this process."""
        return cls(_host(), os.getpid(), _started(os.getpid()))

    @property
    def is_here(self) -> bool:
        """Whether this process can tell if that one lives."""
        return self.host == _host()

    def lives(self) -> bool:
        """Whether a process of this machine still runs; another that was given its number later does not count."""
        try:
            process = psutil.Process(self.pid)
            # the time of a start is kept in ticks since the machine's, which is corrected now and then
            return bool(process.status() != psutil.STATUS_ZOMBIE and abs(process.create_time() - self.started) < 5)
        except psutil.NoSuchProcess:
            return False
        except psutil.AccessDenied:
            return True


class Claims:
    """The claims in a folder.

    Parameters
    ----------
    folder : Path
        Any number of processes, on any number of machines, use the same one; made if it is not there.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder

    def take(self, name: str) -> int | None:
        """Claim something, unless another living process, or thread of this one, has.

        Returns
        -------
        int or None
            How many owners of it died, one after the other; None where it is taken.
        """
        path = self._folder / f"{name}.claim"
        mine = asdict(Owner.me())
        while True:
            try:
                file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
            except FileNotFoundError:  # a store that is put in order loses folders that are empty
                self._folder.mkdir(parents=True, exist_ok=True)
            except FileExistsError:
                with contextlib.suppress(FileNotFoundError):  # released just now
                    found = path.read_bytes()
                    owner, deaths = _parsed(found)
                    if not self._is_dead(path, owner):
                        return None
                    text = json.dumps(mine | {"deaths": deaths + 1})
                    if path.read_bytes() != found:  # it was released, its owner ended, and another has it now
                        continue
                    write_atomically(path, lambda temporary, text=text: temporary.write_text(text))  # type: ignore[misc]
                    _beating().add(path)
                    return deaths + 1
            else:
                os.write(file, json.dumps(mine | {"deaths": 0}).encode())
                os.close(file)
                _beating().add(path)
                return 0

    def release(self, name: str) -> None:
        """Give a claim back."""
        path = self._folder / f"{name}.claim"
        _beating().discard(path)
        path.unlink(missing_ok=True)

    def is_taken(self, name: str) -> bool:
        """Whether a living process has a claim."""
        path = self._folder / f"{name}.claim"
        with contextlib.suppress(FileNotFoundError):
            return not self._is_dead(path, _parsed(path.read_bytes())[0])
        return False

    def _is_dead(self, path: Path, owner: Owner | None) -> bool:
        if owner is not None and owner.is_here:
            return not owner.lives()
        clock = self._folder / ".clock"  # the file server's, whatever this machine's says
        clock.touch()
        with path.open("rb") as file:  # opened, so that a network file system asks for its times anew
            return clock.stat().st_mtime - os.fstat(file.fileno()).st_mtime > STALE_S


def _parsed(claim: bytes) -> tuple[Owner | None, int]:
    """Owner of a claim, None where the file does not tell, and how many owners died before."""
    try:
        found = json.loads(claim)
        return Owner(found["host"], found["pid"], found["started"]), found["deaths"]
    except (ValueError, KeyError, TypeError):  # its owner was killed while writing, or writes right now
        return None, 0


class _Heart:
    """Touches the claims of this process."""

    def __init__(self) -> None:
        self._claims: set[Path] = set()
        self._lock = threading.Lock()
        self._idle = threading.Event()
        threading.Thread(target=self._beat, name="imagecurate-claims", daemon=True).start()

    def add(self, claim: Path) -> None:
        with self._lock:
            self._claims.add(claim)

    def discard(self, claim: Path) -> None:
        with self._lock:
            self._claims.discard(claim)

    def _beat(self) -> None:
        while not self._idle.wait(BEAT_S):
            with self._lock:
                for claim in self._claims:
                    with contextlib.suppress(OSError):  # taken for dead: then another works on it, too
                        os.utime(claim)


@functools.cache
def _beating() -> _Heart:
    return _Heart()


@functools.cache
def _host() -> str:
    parts = [platform.node()]
    with contextlib.suppress(OSError):  # Linux; elsewhere a machine's name must do
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return " ".join(parts)


@functools.cache
def _started(pid: int) -> float:
    return float(psutil.Process(pid).create_time())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_beating.cache_clear)  # the thread stays behind in the parent
