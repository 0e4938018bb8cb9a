"""Work on many things in several threads, in bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

__all__ = ["in_order"]

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(threads: int, task: Callable[[Item], Result], items: Iterable[Item]) -> Generator[Result, None, None]:
    """Run ``task`` for each item in threads and give the results in the order of the items.

    Twice as many are under way as there are threads, whatever their number.  After an error nothing new is begun.
    """
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="imagecurate-export") as pool:
        try:
            for item in items:
                if len(waiting) == 2 * threads:
                    yield waiting.popleft().result()
                waiting.append(pool.submit(task, item))
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
