"""Running tasks on the workers of a Dask cluster, and what becomes of those whose worker dies."""

from __future__ import annotations

import itertools
import logging
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import suppress
from typing import Any, TypeVar

from dask.utils import key_split
from distributed import Client, Future, get_worker, wait
from distributed.client import FutureCancelledError
from distributed.comm import CommClosedError
from distributed.diagnostics.plugin import WorkerPlugin
from distributed.scheduler import KilledWorker

from imagecurate.errors import ClusterError
from imagecurate.plan.at_work import unnoted
from imagecurate.plan.execute import WINDOW, windowed
from imagecurate.plan.stopping import check_stop, is_stopping, when_stopping
from imagecurate.plan.threads import RunStop, stoppable

__all__ = ["on_workers"]

_log = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")

#: Seconds between two looks at how many workers there are: those that join are given work.
_LOOK_S = 5.0
#: Seconds without any worker, after there were some, until a run gives up: long enough for machines to start again.
_WITHOUT_WORKERS_S = 600.0

#: Tasks after which a process forgets their names.  Dask remembers how it split the last 100,000, 20 MB of them.
_NAMES = 1000

#: Times that a task is brought to the workers, of which one may die meanwhile.
_TRIES = 5

_sent = itertools.count(1)
#: In a worker, the task and the stop of each run that has work here.
_runs: dict[str, tuple[Callable[[Any], Any], RunStop]] = {}


class _TaskOfRun(WorkerPlugin):  # type: ignore[misc]  # which has no types
    """Brings the task of a run to each worker once, also to those that join or are started again.

    A task that holds a plan with tables is half a megabyte: sent with every item, that is 57 GB over 100,000 shards.
    Scattered data would be lost with the workers that hold it.
    """

    def __init__(self, run: str, task: Callable[[Any], Any]) -> None:
        self._run = run
        self._task = task

    def setup(self, worker: Any) -> None:
        unnoted()
        _runs[self._run] = self._task, RunStop()

    def teardown(self, worker: Any) -> None:
        _runs.pop(self._run, None)


class _TaskStop(RunStop):
    """Set where the run stops, or nobody wants the result of this task any more: its client has died, or gave it up."""

    def __init__(self, run: RunStop) -> None:
        super().__init__()
        self._run = run
        self._tasks = get_worker().state.tasks
        self._key = get_worker().get_current_task()

    def is_set(self) -> bool:
        task = self._tasks.get(self._key)
        return super().is_set() or self._run.is_set() or task is None or task.state == "cancelled"

    def set(self) -> None:
        """Break the whole run off."""
        self._run.set()


def _call(run: str, item: Any) -> Any:
    task, stop = _runs[run]
    return _stoppably(task, stop, item)


def _call_in_pieces(run: str, item: Any) -> None:
    task, stop = _runs[run]
    _stoppably(task.in_pieces, stop, item)  # type: ignore[attr-defined]  # asked for by who calls


class _BrokenOff:
    """What a task gives that was told to stop: of an error, Dask would print each worker's traceback."""


def _forget_names() -> None:
    if next(_sent) % _NAMES == 0:
        key_split.cache_clear()


def _stoppably(call: Callable[[Any], Any], run: RunStop, item: Any) -> Any:
    _forget_names()
    stop = _TaskStop(run)
    if stop.is_set():
        return _BrokenOff()
    try:
        return stoppable(call, stop)(item)
    except CancelledError:
        if not stop.is_set():
            raise
        return _BrokenOff()


def _stop(run: str) -> None:
    if run in _runs:
        _runs[run][1].set()


def on_workers(client: Client, task: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Run ``task`` for each item on the workers, and give the results in the order of the items.

    A worker that dies is nobody's fault at first: Dask gives its tasks to others.  A task that was there when several
    workers died is run again with no other beside it.  One that has a method ``in_pieces`` is first done piece by piece
    in processes that it may kill.

    Raises
    ------
    ClusterError
        The scheduler was lost, or a task killed its workers even alone.
    Stopped
        The process was asked to stop; see ``stopping``.
    """
    try:
        with _Run(client, task) as run, when_stopping(run.stop):
            yield from windowed(run.submit, items, run.window)
    except (CommClosedError, FutureCancelledError) as error:
        check_stop()
        raise ClusterError.because(
            f"the Dask scheduler was lost, or gave a task up: {error}",
            "connect again and run the same; what was finished lies in the store",
        ) from error


class _Run:
    """The tasks of one call."""

    def __init__(self, client: Client, task: Callable[[Any], Any]) -> None:
        self._client = client
        self._task = task
        self._name = f"imagecurate-{uuid.uuid4().hex}"
        self._under_way: set[Future] = set()
        self._looked = self._alive = float("-inf")
        self._threads = 1
        self._bring()

    def _bring(self) -> None:
        """Bring the task to the workers that are there; to those that come the scheduler does."""
        for left in reversed(range(_TRIES)):
            try:
                self._client.register_plugin(_TaskOfRun(self._name, self._task), name=self._name)
            except OSError:  # a worker died meanwhile; or the scheduler, of which the next call tells
                if not left:
                    raise
                time.sleep(1)
            except Exception as error:  # whatever a worker met in unpacking the task; Dask gives no class of its own
                self._forget()
                raise ClusterError.because(
                    f"the workers cannot load the stages of this dataset: {error}",
                    "install the package of the stages where workers run; those of a notebook or script come along",
                ) from error
            else:
                return

    def _forget(self) -> None:
        with suppress(KeyError, ValueError, OSError):  # of a worker or scheduler that never had it, or is no more
            self._client.unregister_worker_plugin(self._name)

    def window(self) -> int:
        """How many tasks may be under way."""
        self._look()
        return WINDOW * self._threads

    def _look(self) -> None:
        """Count the threads of the workers, now and then; raise where all workers went and none came."""
        now = time.monotonic()
        if now - self._looked < _LOOK_S:
            return
        threads = sum(self._client.nthreads().values())
        self._looked, self._threads = now, max(threads, 1)
        if threads:
            self._alive = now
        elif self._alive == float("-inf"):
            _log.warning("no worker is connected to the scheduler yet")
        elif now - self._alive > _WITHOUT_WORKERS_S:
            raise ClusterError.because(
                f"all workers were lost, and for {_WITHOUT_WORKERS_S:g} s none came back",
                "start workers and run the same; what was finished lies in the store",
            )

    def submit(self, item: Any) -> _Submitted:
        """Send one item."""
        return _Submitted(self, item, self.send(_call, item))

    def send(self, function: Callable[[str, Any], Any], item: Any) -> Future:
        """Send one item to a function of this module."""
        _forget_names()
        future = self._client.submit(function, self._name, item, pure=False)
        self._under_way.add(future)
        return future

    def result(self, future: Future) -> Any:
        """Wait for a result."""
        try:
            while not future.done():
                self._look()
                with suppress(TimeoutError, CancelledError):  # what became of it the result says
                    wait([future], timeout=_LOOK_S)
            result = future.result()
        finally:
            self._under_way.discard(future)
        if isinstance(result, _BrokenOff):
            raise CancelledError
        return result

    def alone(self, item: Any, lost: KilledWorker) -> Any:
        """Run an item again that lost its workers, once nothing else of this run is under way."""
        _log.warning("%s; it is run again by itself", str(lost).partition("\n")[0])
        wait(list(self._under_way))
        try:
            if hasattr(self._task, "in_pieces"):
                self.result(self.send(_call_in_pieces, item))
            return self.result(self.send(_call, item))
        except KilledWorker as error:
            raise ClusterError.because(
                f"the task for {_named(item)} killed its workers, and again with no other task beside it: {error}",
                "the workers' logs may say why; most often memory is too small for its results",
            ) from error

    def stop(self) -> None:
        """Tell the workers to begin no further block."""
        self._client.run(_stop, self._name, on_error="ignore")

    def __enter__(self) -> _Run:
        return self

    def __exit__(self, *error: object) -> None:
        """Let the workers forget the task; on a request to stop, once the blocks in hand are finished."""
        if self._client.status != "running":
            return
        if is_stopping():
            wait(list(self._under_way))
        self._forget()


class _Submitted:
    """An item under way."""

    def __init__(self, run: _Run, item: Any, future: Future) -> None:
        self._run = run
        self._item = item
        self._future = future

    def result(self) -> Any:
        try:
            return self._run.result(self._future)
        except KilledWorker as lost:
            return self._run.alone(self._item, lost)

    def cancel(self) -> None:
        if not is_stopping():  # else it is about to end by itself, and is waited for
            self._future.cancel()


def _named(item: Any) -> str:
    return f"shard {item.name!r} of source {item.source!r}" if hasattr(item, "source") else repr(item)[:200]
