"""Keeping other exports from a folder behind a URL, where nothing can be locked.

Who exports puts a file of its own among the claims, and then looks whether others lie there: of two that come at the
same moment each sees the other, since stores list what was written before, and at least one gives way.  A claim is
written anew every half minute with the time.  One that says it was not for five minutes is that of the dead, and so is
that of a process of this machine that is no more; machines' clocks must agree to a minute or two.
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
from typing import Protocol

from imagecurate.errors import ImageCurateError, OutputError
from imagecurate.plan.claims import Owner

__all__ = ["BEAT_S", "STALE_S", "Lease"]

_log = logging.getLogger(__name__)

#: Seconds between two beats of a claim, and without one after which its owner counts as dead.
BEAT_S = 30.0
STALE_S = 300.0


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
    """

    def __init__(self, files: ClaimFiles, where: str, shared: bool) -> None:
        self._files = files
        self._name = f"{uuid.uuid4().hex}.json"
        self._shared = shared
        self._ended = threading.Event()
        self._write()
        try:
            for name, other in self._others():
                if _lives(other):
                    if not (shared and other["shared"]):
                        raise OutputError.because(
                            f"another process is exporting to {where!r}: {other['pid']} on {other['machine']}",
                            f"wait for it, or name another folder; if it has died elsewhere, wait {STALE_S / 60:g} "
                            "minutes",
                        )
                else:
                    files.remove(name)
        except BaseException:
            files.remove(self._name)
            raise
        self._thread = threading.Thread(target=self._beat, name="imagecurate-lease", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Give it back."""
        self._ended.set()
        self._thread.join()
        self._files.remove(self._name)

    def _write(self) -> None:
        claim = asdict(Owner.me()) | {"machine": platform.node(), "shared": self._shared, "beat": time.time()}
        self._files.write(self._name, json.dumps(claim).encode())

    def _others(self) -> Iterator[tuple[str, dict[str, object]]]:
        for name in sorted(self._files.names() - {self._name}):
            text = self._files.read(name)
            with contextlib.suppress(ValueError):  # given back, or being written: then it is they who will see this one
                yield name, json.loads(text or b"")

    def _beat(self) -> None:
        while not self._ended.wait(BEAT_S):
            try:
                self._write()
            except (ImageCurateError, OSError) as error:  # others may take it for dead; the export itself goes on
                _log.warning("a claim could not be renewed: %s", error)


def _lives(claim: dict[str, object]) -> bool:
    owner = Owner(str(claim["host"]), int(str(claim["pid"])), float(str(claim["started"])))
    if owner.is_here:
        return owner.lives()
    return time.time() - float(str(claim["beat"])) < STALE_S
