"""Running a task for every shard: in threads of this process, or on the Dask cluster that is connected.

One task a shard, submitted in a bounded window and never as one graph: what the client holds does not grow with the
number of shards.
"""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, TypeVar

from imagecurate.plan.threads import cores, stoppable

__all__ = ["connected_client", "in_order", "in_threads"]

Item = TypeVar("Item")
Result = TypeVar("Result")

#: Tasks under way for each thread that can run one: enough that no thread waits for the client.
_WINDOW = 2


def connected_client() -> Any:
    """The Dask client of this process, or None."""
    if "distributed" not in sys.modules:
        return None
    from distributed import default_client

    try:
        return default_client()
    except ValueError:
        return None


def in_order(task: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Run ``task`` for each item, several at a time, and give the results in the order of the items.

    With a Dask client connected the tasks run on its workers, and ``task``, items and results must be picklable.
    """
    client = connected_client()
    if client is None:
        yield from in_threads(cores(), task, items)
    else:
        workers = max(sum(client.nthreads().values()), 1)
        yield from _windowed(lambda item: client.submit(task, item, pure=False), items, _WINDOW * workers)


def in_threads(threads: int, task: Callable[[Item], Result], items: Iterable[Item]) -> Generator[Result, None, None]:
    """Run ``task`` for each item in so many threads of this process, and give the results in the order of the items.

    After an error, or where the generator is closed, nothing new is begun.
    """
    stop = threading.Event()
    run = stoppable(task, stop)
    with ThreadPoolExecutor(threads, thread_name_prefix="imagecurate-shard") as pool:
        try:
            yield from _windowed(lambda item: pool.submit(run, item), items, _WINDOW * threads)
        finally:
            stop.set()  # after Ctrl-C or an error, the wait is for blocks in work, not for whole shards


def _windowed(submit: Callable[[Item], Any], items: Iterable[Item], window: int) -> Iterator[Any]:
    waiting = iter(items)
    running = deque(submit(item) for item in islice(waiting, window))
    try:
        while running:
            result = running[0].result()
            running.popleft()
            running.extend(submit(item) for item in islice(waiting, 1))
            yield result
    finally:
        for future in running:
            future.cancel()
