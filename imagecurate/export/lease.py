"""Keeping other exports from a folder behind a URL, where nothing can be locked.

Who exports puts a file of its own among the claims, writes it anew every few seconds, and looks whether others lie
there: of two that come at the same moment each sees the other, since stores list what was written before, and at least
one gives way.  A process of this machine lives or does not, as the process table says.  One from elsewhere is watched:
if its claim is written anew it lives, if it is not for a while it is dead, whatever the machines' clocks say.
"""

from __future__ import annotations

import contextlib
import json
import logging
import platform
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, Protocol

from imagecurate.errors import OutputError
from imagecurate.plan.claims import BEAT_S, STALE_S, Owner
from imagecurate.plan.stopping import check_stop

__all__ = ["Lease"]

_log = logging.getLogger(__name__)

#: Seconds between two looks at a claim that is watched.
_LOOK_S = 1.0
#: Seconds after which a claim need not be watched: no two clocks are so far apart.
_LONG_AGO_S = 900.0


class ClaimFiles(Protocol):
    """Small files behind a URL."""

    def names(self) -> set[str]:
        """Those that are there."""

    def read(self, name: str) -> bytes | None:
        """What is in one; None where there is none."""

    def write(self, name: str, data: bytes) -> None:
        """Write one."""

    def remove(self, name: str) -> None:
        """Remove one, if it is there."""


class Lease:
    """A claim among those in a folder.

    Parameters
    ----------
    files : ClaimFiles
        The claims.
    where : str
        What they are for.
    shared : bool
        Whether others that share it may be there, too.

    Raises
    ------
    OutputError
        Another living process has it.
    Stopped
        The process was asked to stop while it watched another's claim.
    """

    def __init__(self, files: ClaimFiles, where: str, shared: bool) -> None:
        self._files = files
        self._name = f"{uuid.uuid4().hex}.json"
        self._shared = shared
        self._ended = threading.Event()
        self._write()
        self._thread = threading.Thread(target=self._beat, name="imagecurate-lease", daemon=True)
        self._thread.start()  # before others are watched, who may be watching, too
        self._watched_until: float | None = None
        try:
            for name, other in list(self._others()):
                if shared and other["shared"]:
                    continue
                if self._lives(name, other, where):
                    raise OutputError.because(
                        f"another process is exporting to {where!r}: {other['pid']} on {other['machine']}",
                        "wait for it, or name another folder",
                    )
                files.remove(name)
        except BaseException:
            self.end()
            raise

    def stop(self) -> None:
        """Write it no more; it lies there still."""
        self._ended.set()
        self._thread.join()

    def end(self) -> None:
        """Give it back."""
        self.stop()
        self._files.remove(self._name)

    def _write(self) -> None:
        claim = asdict(Owner.me()) | {"machine": platform.node(), "shared": self._shared, "beat": time.time()}
        self._files.write(self._name, json.dumps(claim).encode())

    def _beat(self) -> None:
        while not self._ended.wait(BEAT_S):
            try:
                self._write()
            except Exception as error:  # of whatever class the store's library has; the next one may succeed
                _log.warning("a claim could not be renewed: %s", error)

    def _others(self) -> Iterator[tuple[str, dict[str, Any]]]:
        for name in sorted(self._files.names() - {self._name}):
            if other := self._claim(name):
                yield name, other

    def _claim(self, name: str) -> dict[str, Any] | None:
        """A claim; None where it was given back, or is being written: then it is they who will see this one."""
        found: dict[str, Any] | None = None
        with contextlib.suppress(ValueError):
            found = json.loads(self._files.read(name) or b"null")
        return found

    def _lives(self, name: str, claim: dict[str, Any], where: str) -> bool:
        owner = Owner(claim["host"], claim["pid"], claim["started"])
        if owner.is_here:
            return owner.lives()
        if time.time() - claim["beat"] > _LONG_AGO_S:
            return False
        _log.warning(
            "%r is claimed by process %d on %s, which is watched for %g s, to see whether it lives",
            where,
            owner.pid,
            claim["machine"],
            STALE_S,
        )
        if self._watched_until is None:  # all of them at the same time
            self._watched_until = time.monotonic() + STALE_S
        while True:
            now = self._claim(name)
            if now is None or now["beat"] != claim["beat"]:
                return now is not None
            if time.monotonic() > self._watched_until:
                return False
            check_stop()
            time.sleep(_LOOK_S)
