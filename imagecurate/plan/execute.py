"""Running a task for every shard: in threads of this process, on the Dask cluster that is connected, or among ranks.

One task a shard, submitted in a bounded window and never as one graph: what the client holds does not grow with the
number of shards.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext, suppress
from itertools import islice
from typing import Any, TypeVar

from imagecurate.backend.machines import connected_client
from imagecurate.errors import ParameterError
from imagecurate.plan.at_work import Crashable, crashes_first
from imagecurate.plan.ranks import SharedTask, fill, working_rank
from imagecurate.plan.stopping import check_stop
from imagecurate.plan.threads import RunStop, cores, stoppable

__all__ = ["WINDOW", "in_order", "in_threads", "share_out", "windowed"]

Item = TypeVar("Item")
Result = TypeVar("Result")

#: Tasks under way for each thread that can run one: enough that no thread waits for the client.
WINDOW = 2


def in_order(
    task: Callable[[Item], Result], items: Iterable[Item], threads: int | None = None
) -> Generator[Result, None, None]:
    """Run ``task`` for each item, several at a time, and give the results in the order of the items.

    With a Dask client connected the tasks run on its workers, and ``task``, items and results must be picklable.
    Elsewhere they run in so many threads, one for each processor by default.  Where this process is one of several
    ranks, they share out what fills the store, or a folder, first.

    Raises
    ------
    Stopped
        The process was asked to stop; see ``stopping``.
    ParameterError
        This process is a rank and has a Dask client.
    """
    client = connected_client()
    if client is not None:
        if working_rank() is not None:
            raise ParameterError.because(
                "ranks share the work out without a scheduler, but a Dask client is connected",
                "leave one of the two out",
            )
        from imagecurate.plan.on_workers import on_workers

        yield from on_workers(client, task, items)
        return
    guard: AbstractContextManager[None] = nullcontext()
    if working_rank() is not None and isinstance(task, SharedTask):
        items = list(items)
        share_out(task, items, threads)
    elif isinstance(task, Crashable):
        items = list(items)
        guard = crashes_first(task, items)
    with guard:
        yield from in_threads(threads or cores(), task, items)


def share_out(task: SharedTask, items: Sequence[Any], threads: int | None = None) -> None:
    """Do a task for all items together with the other ranks; nothing where this process is none."""
    if working_rank() is not None:
        fill(task, items, lambda run, some: in_threads(threads or cores(), run, some))


def in_threads(threads: int, task: Callable[[Item], Result], items: Iterable[Item]) -> Generator[Result, None, None]:
    """Run ``task`` for each item in so many threads of this process, and give the results in the order of the items.

    After an error, or where the generator is closed, nothing new is begun.

    Raises
    ------
    Stopped
        The process was asked to stop; see ``stopping``.
    """
    stop = RunStop()
    run = stoppable(task, stop)
    with ThreadPoolExecutor(threads, thread_name_prefix="imagecurate-shard") as pool:
        try:
            yield from windowed(lambda item: pool.submit(run, item), items, lambda: WINDOW * threads)
        finally:
            stop.set()  # after Ctrl-C or an error, the wait is for blocks in work, not for whole shards


def windowed(submit: Callable[[Item], Any], items: Iterable[Item], window: Callable[[], int]) -> Iterator[Any]:
    """Submit a task for each item, never more than a window ahead, and give the results in order.

    Parameters
    ----------
    submit : callable
        Gives something with ``result()`` and ``cancel()``.
    items : iterable
    window : callable
        How many tasks may be under way now.
    """
    waiting = iter(items)
    running: deque[Any] = deque()
    try:
        while True:
            check_stop()
            running.extend(submit(item) for item in islice(waiting, max(window() - len(running), 0)))
            if not running:
                return
            try:
                result = running[0].result()
            except CancelledError:  # a block did not begin, for another task broke the run off: that one says why
                check_stop()
                for other in running:
                    with suppress(CancelledError):
                        other.result()
                raise
            running.popleft()
            yield result
    finally:
        for future in running:
            future.cancel()
