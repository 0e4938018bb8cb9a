"""The threads in which blocks are decoded and embedded, one pool a process."""

from __future__ import annotations

import functools
import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from imagecurate.plan.stopping import is_stopping

__all__ = [
    "RunStop",
    "computing",
    "cores",
    "one_torch_thread",
    "pool",
    "reading_in_turn",
    "stop_of_this_run",
    "stoppable",
]

Item = TypeVar("Item")
Result = TypeVar("Result")

_local = threading.local()
_turn = threading.Lock()


def cores() -> int:
    """Processors that this process may use: in a Dask worker its threads, in a task of Slurm's those of the task."""
    if "distributed" in sys.modules:
        from distributed.worker import get_worker

        try:
            return int(get_worker().state.nthreads)
        except ValueError:  # not inside a worker
            pass
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    of_task = os.environ.get("SLURM_CPUS_PER_TASK", "")  # not every cluster binds tasks to their processors
    return min(here, int(of_task)) if of_task.isdecimal() and int(of_task) else here


def pool(at_least: int = 0) -> ThreadPoolExecutor:
    """Threads for blocks, as many as ``cores()`` or more; tasks in it never wait for each other."""
    return _pool(max(cores(), at_least))


@functools.cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="imagecurate-block")


def one_torch_thread() -> None:
    """Keep torch from multiplying the threads of the pool, if torch is in use.

    Blocks are worked on side by side, one a core; torch's own threads on top of that halve the speed and collapse on
    a shared machine.  Threads that used torch before keep their number; those started later inherit the one.
    """
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "set_num_threads") and not getattr(_local, "limited", False):
        torch.set_num_threads(1)
        _local.limited = True


@contextmanager
def reading_in_turn() -> Iterator[None]:
    """Let one thread at a time be inside, until it calls ``computing``.

    To read what is on a disk of this machine, most of it in memory, is many calls of microseconds that need the
    interpreter's lock, and threads that snatch it from each other are slower than one alone: a filter over 1,000 shards
    of 10,000 scores takes 0.75 s in one, 0.95 s in two and 1.15 s in four.
    """
    computing()  # who is inside and begins again waits like others
    _turn.acquire()
    _local.has_turn = True
    try:
        yield
    finally:
        computing()


def computing() -> None:
    """Say that what this thread does now, or waits for, can go on beside others: the next one may read."""
    if getattr(_local, "has_turn", False):
        _local.has_turn = False
        _turn.release()


class RunStop(threading.Event):
    """Set where a run was broken off, or where the process as a whole was asked to stop."""

    def is_set(self) -> bool:
        return super().is_set() or is_stopping()


def stop_of_this_run() -> threading.Event:
    """The event that says that the run, in one of whose threads this is called, was broken off."""
    stop: threading.Event = getattr(_local, "stop", None) or RunStop()
    return stop


def stoppable(task: Callable[[Item], Result], stop: threading.Event) -> Callable[[Item], Result]:
    """Make a task that knows the event of its run: blocks that have not begun when it is set do not begin."""

    def run(item: Item) -> Result:
        outer = getattr(_local, "stop", None)
        _local.stop = stop
        try:
            return task(item)
        finally:
            _local.stop = outer

    return run


def _forget() -> None:
    global _turn
    _pool.cache_clear()  # the threads stay behind in the parent
    _turn = threading.Lock()  # whoever had the turn
    _local.has_turn = False


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
