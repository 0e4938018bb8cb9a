"""Doing a shard piece by piece in a process that it may kill, to find the row that does.

Rows that are done lie in the store, whatever happens then.  A piece that kills its process is halved and tried again:
what was too much at once is done in smaller pieces, and a row that kills its process by itself, twice, becomes a row
with a reason, of the stage that was at work.
"""

from __future__ import annotations

import dataclasses
import itertools
import logging
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import CancelledError
from typing import NamedTuple

import cloudpickle
import numpy as np
import pyarrow as pa

from imagecurate.errors import StageError
from imagecurate.images import ImageInfo
from imagecurate.plan.at_work import unnoted
from imagecurate.plan.compute import run_image_stage
from imagecurate.plan.facts import PixelFacts
from imagecurate.plan.outcome import Positions
from imagecurate.plan.shard_pass import ShardPass
from imagecurate.plan.shard_state import Work
from imagecurate.plan.stage import ColumnStage, ImageStage
from imagecurate.plan.steps import StageStep
from imagecurate.plan.threads import stop_of_this_run
from imagecurate.shards import Shard
from imagecurate.store import ERROR, PART_ROWS, POSITION

__all__ = ["main", "run_in_pieces"]

_log = logging.getLogger(__name__)

#: How a child ends that had not enough memory for a piece, as if the kernel had killed it.
_NO_MEMORY = 128 + signal.SIGKILL

# The path is the caller's, so that whatever it could import can be imported there.
_BOOT = """
import pickle, sys
sys.path[:] = pickle.load(sys.stdin.buffer)
from imagecurate.plan.pieces import main
main()
"""


class _Piece(NamedTuple):
    """Rows of a shard, and how many steps of the plan count."""

    steps: int
    rows: Positions
    #: True for the second try of a row that killed its process: then it is known which step is at work.
    by_step: bool = False


def run_in_pieces(work: Work, shard: Shard, rows: Positions | None = None) -> None:
    """Compute everything that is missing of a shard, or of some rows; those that kill the process become failed rows.

    An error that is raised, and kills nothing, ends this early: the pass over the shard will meet it again.

    Parameters
    ----------
    work : Work
        With its plan resolved.
    shard : Shard
    rows : array of int, optional
        All by default.

    Raises
    ------
    StageError
        The process does not start: a fault of the installation.
    """
    steps = work.plan.steps
    stages = [
        number
        for number, step in enumerate(steps)
        if isinstance(step, StageStep) and isinstance(step.stage, ImageStage | ColumnStage)
    ]
    with ShardPass(work, shard, frozenset()) as shard_pass:
        every = np.arange(shard_pass.state.count)
    wanted = every if rows is None else np.intersect1d(every, rows)
    cuts = range(PART_ROWS, len(wanted), PART_ROWS)
    pieces = deque(_Piece(len(steps), piece) for piece in np.split(wanted, cuts))
    while pieces:
        with _Child(work, shard, pieces) as child:
            for _ in child.finished():
                pieces.popleft()
            ending = child.ending()
        if ending is None:
            return
        killer = pieces.popleft()
        if len(killer.rows) > 1:
            halves = np.array_split(killer.rows, 2)
            pieces.extendleft(_Piece(len(steps), rows) for rows in reversed(halves))
        elif not killer.by_step:
            pieces.extendleft(_Piece(number + 1, killer.rows, by_step=True) for number in reversed(stages))
        else:
            _fail(work, shard, killer, ending)


class _Child:
    """A process that does pieces of a shard in order."""

    def __init__(self, work: Work, shard: Shard, pieces: Iterable[_Piece]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", _BOOT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the caller
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._signs = self._process.stdout
        cloudpickle.dump(sys.path, self._process.stdin)
        cloudpickle.dump((work, shard, list(pieces)), self._process.stdin)
        self._process.stdin.flush()
        if not self._signs.read(1):
            raise StageError.because(
                f"the process that does a shard in pieces did not start (exit status {self._process.wait()})",
                "its standard error says why",
            )

    def __enter__(self) -> _Child:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.communicate()

    def finished(self) -> Iterator[None]:
        """Give a sign for each piece as it is finished, until the process ends."""
        stop = stop_of_this_run()
        while self._signs.read(1):
            yield
            if stop.is_set():
                raise CancelledError

    def ending(self) -> str | None:
        """What killed the process, or None where it came to its end."""
        status = self._process.wait()
        if status == 0:
            return None
        if status in (-signal.SIGKILL, _NO_MEMORY):
            return "killed: most likely by a lack of memory"
        return f"killed by {signal.Signals(-status).name}" if status < 0 else f"ended by exit status {status}"


def main() -> None:
    """Do the pieces that come in by the standard input; the caller's end is this process's end."""
    signs = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # a stage may print
    work, shard, pieces = cloudpickle.load(sys.stdin.buffer)
    unnoted()
    threading.Thread(target=_end_with_caller, daemon=True).start()
    os.write(signs, b".")
    try:
        for steps, some in itertools.groupby(pieces, lambda piece: piece.steps):
            plan = dataclasses.replace(work.plan, steps=work.plan.steps[:steps])
            needed = plan.needed((), everything=True)
            with ShardPass(dataclasses.replace(work, plan=plan), shard, needed) as shard_pass:
                for piece in some:
                    shard_pass.first(len(piece.rows), piece.rows)  # which saves what it computes at once
                    os.write(signs, b".")
    except MemoryError:
        os._exit(_NO_MEMORY)
    except Exception as error:  # the pass that follows meets it again, and there somebody hears of it
        _log.warning("%s: %s", type(error).__name__, error)
    os._exit(0)


def _end_with_caller() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


def _fail(work: Work, shard: Shard, killer: _Piece, ending: str) -> None:
    """Put a row that kills its process into the store, as one that the stage failed."""
    number = killer.steps - 1
    step = work.plan.steps[number]
    assert isinstance(step, StageStep)
    rows = pa.array(killer.rows)
    with ShardPass(work, shard, frozenset()) as shard_pass:
        values = shard_pass.state.stage(number)
        if isinstance(step.stage, PixelFacts):
            table = run_image_stage(step.stage, [ImageInfo(error=f"decoder crashed ({ending})")], killer.rows)
        else:
            nulls = {field.name: pa.nulls(1, field.type) for field in values.schema}
            reason = f"{type(step.stage).__name__}: its process was {ending}"
            table = pa.table(nulls | {POSITION: rows, ERROR: pa.array([reason])})
        values.add(table)
        values.save()
    _log.warning("row %s of shard %s: %s: its process was %s", rows[0], shard.name, step.title[1], ending)
