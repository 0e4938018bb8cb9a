"""Killed anywhere, at any moment, and run again: the output is byte for byte that of an undisturbed run.

Twenty-five kills at seeded random points of the work, of clients, workers, schedulers and ranks.  A point is a number
of batches computed and files written, and not a time, so that it lies in the work on slow and on fast machines.
"""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import fault_program
import pytest
from distributed import Client
from making import write_folder

from imagecurate.cluster import get_client
from imagecurate.plan.threads import cores
from imagecurate.store import PART_ROWS

SHARDS, ROWS = 40, PART_ROWS + 8  # two parts a shard
#: Batches that an undisturbed run computes; it writes about as many files.
BATCHES = 2 * SHARDS


class Undisturbed(NamedTuple):
    data: Path
    digests: dict[str, str]
    events: int


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """The data, and what a run that nothing disturbs makes of it."""
    folder = tmp_path_factory.mktemp("faults")
    data = write_folder(folder / "data", SHARDS, ROWS)
    assert ended(program("threads", data, folder / "run")) == [0]
    assert sum(fault_program.computed(folder / "run")) == SHARDS * ROWS
    return Undisturbed(data, digests(folder / "run"), fault_program.progress(folder / "run"))


def program(mode: str, data: Path, folder: Path, *marks: int) -> subprocess.Popen[str]:
    """Start the program."""
    return subprocess.Popen(
        [sys.executable, str(fault_program.__file__), mode, str(data), str(folder), *map(str, marks)],
        env=environment(folder),
        stdout=subprocess.PIPE,
        text=True,
    )


def environment(folder: Path) -> dict[str, str]:
    tests = str(Path(__file__).parent)  # where workers find the stages
    return os.environ | {"FAULT_LOG": str(folder / "log"), "IMAGECURATE_PROGRESS": "0", "PYTHONPATH": tests}


def ended(process: subprocess.Popen[str]) -> list[int]:
    """Statuses of its children, once it has ended."""
    with process:
        assert process.stdout is not None
        return [int(line) for line in process.stdout]


def digests(folder: Path) -> dict[str, str]:
    """sha256 of every file of an export, but the one with times."""
    files = [path for path in (folder / "out").rglob("*") if path.is_file() and path.name != "timings.json"]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def assert_as_undisturbed(undisturbed: Undisturbed, folder: Path, *, parts_lost: int) -> None:
    """The output is that of the undisturbed run, and no more was computed twice than was in hand at the kills."""
    assert digests(folder) == undisturbed.digests
    again = sum(fault_program.computed(folder)) - SHARDS * ROWS
    assert 0 <= again <= parts_lost * PART_ROWS


def test_ten_killed_processes(undisturbed: Undisturbed, tmp_path: Path) -> None:
    """A process with threads, killed again and again between its first batch and its last file."""
    marks = sorted(random.Random(0).sample(range(1, undisturbed.events - 10), 10))
    statuses = ended(program("threads", undisturbed.data, tmp_path, *marks))
    assert statuses == [signal.SIGKILL] * 10 + [0]
    assert_as_undisturbed(undisturbed, tmp_path, parts_lost=10 * cores())


def test_eight_ranks_two_of_them_killed(undisturbed: Undisturbed, tmp_path: Path) -> None:
    """The others take over what the dead ones had claimed, without waiting."""
    marks = sorted(random.Random(1).sample(range(1, BATCHES), 2))
    statuses = ended(program("ranks", undisturbed.data, tmp_path, *marks))
    assert statuses == [signal.SIGKILL] * 2 + [0] * 6
    assert_as_undisturbed(undisturbed, tmp_path, parts_lost=2 * cores())


def test_killed_workers_and_clients(undisturbed: Undisturbed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seven workers and four clients of a cluster that goes on."""
    drawn = random.Random(2).sample(range(1, BATCHES), 11)
    clients, workers = sorted(drawn[:4]), sorted(drawn[4:])
    monkeypatch.setenv("FAULT_LOG", str(tmp_path / "log"))
    with get_client("cpu", n_workers=2, threads_per_worker=1, silence_logs=50) as client:
        process = program(client.scheduler.address, undisturbed.data, tmp_path, *clients)
        killed = 0
        for mark in workers:
            while fault_program.progress(tmp_path) < mark and process.poll() is None:
                time.sleep(0.002)
            os.kill(worker_of(client, mark), signal.SIGKILL)
            killed += process.poll() is None
        assert ended(process) == [signal.SIGKILL] * 4 + [0]
    assert killed == 7
    assert_as_undisturbed(undisturbed, tmp_path, parts_lost=11)


def worker_of(client: Client, number: int) -> int:
    """Process of a worker that the scheduler knows; one that is killed while it starts Dask's nanny gives up."""
    while True:
        nannies, known = client.cluster.workers.values(), client.cluster.scheduler.workers
        pids = [nanny.pid for nanny in nannies if nanny.process is not None and nanny.worker_address in known]
        if pids:
            return int(pids[number % len(pids)])
        time.sleep(0.05)


def test_killed_schedulers(undisturbed: Undisturbed, tmp_path: Path) -> None:
    """The client ends by itself; with a new scheduler, or none, the run goes on."""
    for mark in sorted(random.Random(3).sample(range(1, BATCHES), 2)):
        with scheduler_file(tmp_path) as (file, scheduler):
            process = program(str(file), undisturbed.data, tmp_path, undisturbed.events * 2)
            while fault_program.progress(tmp_path) < mark and process.poll() is None:
                time.sleep(0.002)
            scheduler.kill()
            assert process.stdout is not None and int(process.stdout.readline()) == 256  # exit status 1
            process.kill()
            process.communicate()
    assert ended(program("threads", undisturbed.data, tmp_path)) == [0]
    assert_as_undisturbed(undisturbed, tmp_path, parts_lost=2)


@contextmanager
def scheduler_file(folder: Path) -> Iterator[tuple[Path, subprocess.Popen[bytes]]]:
    """A scheduler and a worker, found by a file."""
    file = folder / "scheduler.json"
    file.unlink(missing_ok=True)
    here = ["--host", "127.0.0.1", "--no-dashboard", "--scheduler-file", str(file)]
    command = [sys.executable, "-m", "distributed.cli"]
    quiet = {"stderr": subprocess.DEVNULL, "env": environment(folder)}
    scheduler = subprocess.Popen([*command[:2], "distributed.cli.dask_scheduler", "--port", "0", *here], **quiet)  # type: ignore[call-overload]
    while not file.exists():
        time.sleep(0.02)
    worker = subprocess.Popen([*command[:2], "distributed.cli.dask_worker", "--nthreads", "1", *here], **quiet)  # type: ignore[call-overload]
    try:
        yield file, scheduler
    finally:
        for process in (scheduler, worker):
            process.terminate()
            process.wait()
