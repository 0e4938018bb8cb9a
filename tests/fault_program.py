"""The curation that the tests of faults run, stop and kill.

Run as a program, it forks the children that curate, since imports take longer than they do.  What is computed is told
in a log, which the environment variable ``FAULT_LOG`` names, so that what was computed twice can be counted.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from toys import Rank

import imagecurate as ic
from imagecurate import read_webdataset  # before a child is forked: with it comes all that a child needs
from imagecurate.cluster import get_client
from imagecurate.plan.ranks import working_as
from imagecurate.plan.stopping import stopping


class Logged(ic.ImageStage):
    """Mean grey level; every batch takes a while and is told in the log."""

    def adds(self) -> dict[str, pa.DataType]:
        return {"grey": pa.float64()}

    def prepare(self, pixels: np.ndarray) -> float:
        return float(pixels.mean())

    def process(self, batch: list[float]) -> dict[str, Any]:
        time.sleep(float(os.environ.get("FAULT_SECONDS", "0.01")))
        with Path(os.environ["FAULT_LOG"]).open("ab", buffering=0) as log:
            log.write(f"{len(batch)}\n".encode())
        return {"grey": np.array(batch)}


def computed(folder: Path) -> list[int]:
    """Rows of each batch so far."""
    log = folder / "log"
    return [int(line) for line in log.read_text().splitlines()] if log.exists() else []


def progress(folder: Path) -> int:
    """How far a curation is: batches computed and files written."""
    return len(computed(folder)) + sum(1 for path in (folder / "out").rglob("*.*") if path.suffix != ".tmp")


def curate(data: Path, folder: Path) -> None:
    """A stage, a filter, a stage that needs all rows, an export."""
    ds = read_webdataset(str(data), workdir=folder / "work", shard_identity="size")
    ds = ds.pipe(Logged()).filter("grey > 100", name="light").pipe(Rank(by="grey"))
    ds.filter("rank >= 0").to_webdataset(folder / "out", samples_per_shard=100, progress=False)


def child(data: Path, folder: Path, how: AbstractContextManager[Any]) -> int:
    """Fork a process that curates."""
    folder.mkdir(exist_ok=True)
    if pid := os.fork():
        return pid
    os.environ["FAULT_LOG"] = str(folder / "log")
    try:
        with how:
            curate(data, folder)
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        os._exit(1)  # a forked child must not go on in the caller's code
    os._exit(0)


def interrupted(pid: int) -> int:
    """Send SIGINT until the process ends: two that are sent at once may arrive as one."""
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return status
        os.kill(pid, signal.SIGINT)
        time.sleep(0.01)


def wait_for(pid: int, folder: Path, mark: int) -> None:
    """Wait until the curation is so far, or the process has ended."""
    while progress(folder) < mark and not os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
        time.sleep(0.002)


def killed_at(pid: int, folder: Path, mark: int) -> int:
    """Kill a process once the curation is so far; its status."""
    wait_for(pid, folder, mark)
    os.kill(pid, signal.SIGKILL)
    return os.waitpid(pid, 0)[1]


def main(mode: str, data: Path, folder: Path, *marks: int) -> Iterator[int]:
    """Give the statuses of children: killed one after the other at the marks, the last one not; or eight at once.

    With "stop" the marks are signals instead, one for each child with a folder of its own, negative for one that is
    sent again until it ends; then come the batches that it had computed, and those computed when it was run again.
    """
    if mode == "ranks":
        pids = [child(data, folder, working_as(number, 8)) for number in range(8)]
        yield from (killed_at(pids.pop(), folder, mark) for mark in marks)
        yield from (os.waitpid(pid, 0)[1] for pid in pids)
    elif mode == "stop":
        for number in marks:
            place = folder / str(number)
            os.environ["FAULT_SECONDS"] = "0.4"  # so long that both signals come while batches are in hand
            pid = child(data, place, stopping())
            del os.environ["FAULT_SECONDS"]
            wait_for(pid, place, 4)
            time.sleep(0.1)
            os.kill(pid, abs(number))
            yield interrupted(pid) if number < 0 else os.waitpid(pid, 0)[1]
            yield len(computed(place))
            os.waitpid(child(data, place, nullcontext()), 0)
            yield len(computed(place))
    else:
        for mark in marks:
            yield killed_at(child(data, folder, _context(mode)), folder, mark)
        yield os.waitpid(child(data, folder, _context(mode)), 0)[1]


@contextmanager
def _context(mode: str) -> Iterator[None]:
    if mode == "threads":
        yield
    else:
        with get_client(mode):
            yield


if __name__ == "__main__":
    import fault_program  # its stages are then those of the module, whoever runs them

    for result in fault_program.main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), *map(int, sys.argv[4:])):
        print(result, flush=True)
