"""Progress of a run: a bar in a terminal or a notebook, plain lines elsewhere, nothing when asked."""

from __future__ import annotations

import os
import sys
import threading
import time
from types import TracebackType
from typing import Any

from imagecurate.plan.outcome import PassStats

__all__ = ["Progress"]

#: Seconds between two plain lines: a log of a week-long run stays readable.
_LINE_EVERY_S = 30.0


class Progress:
    """Count of what a run has done; a context manager.

    Parameters
    ----------
    title : str
        What is being done.
    total : int
        How much there is to do: shards, or samples to write.
    show : bool or None, default=None
        False for silence.  None shows it unless the environment says ``IMAGECURATE_PROGRESS=0``.
    """

    def __init__(self, title: str, total: int, show: bool | None = None) -> None:
        #: Of finished shards; the bar shows blocks in work, too.
        self.stats = PassStats()
        self._live = PassStats()
        self._title = title
        self._total = total
        self._done = 0.0
        self._finished = 0
        self._unit = "shards"
        self._show = os.environ.get("IMAGECURATE_PROGRESS") != "0" if show is None else show
        self._lock = threading.Lock()
        self._started = self._last_line = time.monotonic()
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Progress:
        if self._show and (sys.stderr.isatty() or _in_notebook()):
            self._bar = _bar()
            self._task = self._bar.add_task(self._title, total=self._total, note="")
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()
        elif self._show and kind is None and self._total:  # an export that was there already writes nothing
            self._line()

    def block(self, stats: PassStats, share: float) -> None:
        """Show a finished block, ``share`` of its shard; its sums come again with the shard."""
        with self._lock:
            self._live.add(stats)
            self._done += share
            self._update()

    def shard(self, stats: PassStats) -> None:
        """Count a finished shard."""
        with self._lock:
            self.stats.add(stats)
            self._finished += 1
            self._update()

    def written(self, samples: int, total: int) -> None:
        """Say that so many samples of an export are written."""
        with self._lock:
            self._finished, self._total, self._unit = samples, total, "samples"
            self._update()

    def _update(self) -> None:
        if self._bar is not None:
            done = min(max(self._done, self._finished), self._total)
            self._bar.update(self._task, completed=done, total=self._total, note=self._note())
        elif self._show and time.monotonic() - self._last_line > _LINE_EVERY_S:
            self._line()

    def _line(self) -> None:
        self._last_line = time.monotonic()
        line = f"{self._title}: {self._finished:,} of {self._total:,} {self._unit}"
        print(", ".join(filter(None, [line, self._note()])), file=sys.stderr, flush=True)

    def _note(self) -> str:
        seconds = max(time.monotonic() - self._started, 1e-9)
        if self._unit == "samples":
            return f"{self._finished / seconds:,.0f} samples/s"
        decoded, failed = (
            max(each) for each in zip(*((s.decoded, s.failed) for s in (self.stats, self._live)), strict=True)
        )
        if not decoded:
            return ""
        return f"{decoded:,} images decoded, {decoded / seconds:,.0f}/s" + (f", {failed:,} failed" if failed else "")


def _bar() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    return Bar(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )


def _in_notebook() -> bool:
    shell = sys.modules.get("IPython")
    return shell is not None and "IPKernelApp" in getattr(shell.get_ipython(), "config", {})
