"""What a dataset is made of, and how it runs."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Mapping
from typing import Any, Self

from imagecurate.backend.machines import connected_client
from imagecurate.columns import Frame
from imagecurate.frame import ShardList, metadata_frame, settle_mask
from imagecurate.plan.execute import in_order
from imagecurate.plan.ledger import StepCounts
from imagecurate.plan.outcome import PassStats
from imagecurate.plan.plan import Plan
from imagecurate.plan.ranks import turn
from imagecurate.plan.runs import RunShard
from imagecurate.plan.shard_state import Work
from imagecurate.plan.steps import JoinStep, ListStep, MaskStep
from imagecurate.progress import Progress
from imagecurate.store import digest

__all__ = ["Core", "expanded"]

_log = logging.getLogger("imagecurate.dataset")


class Core:
    """Shards and the work to be done on them; everything public is added by subclasses."""

    def __init__(
        self,
        path: Any,
        id_col: str,
        shards: ShardList,
        work: Work,
        survivors: tuple[Frame, ...] = (),
    ) -> None:
        self.path = path
        self.id_col = id_col
        self._shards = shards
        self._work = work
        self._survivors = survivors  # rows left by each raw mask of the plan
        self.last_run: PassStats | None = None
        #: What all passes did since the shards were opened, those of deduplicators among them.
        self.all_runs = PassStats()

    @property
    def _plan(self) -> Plan:
        return self._work.plan

    @property
    def fingerprint(self) -> str:
        """Name of the rows and their columns: the same for the same shards, wherever they lie, and the same steps."""
        return digest([self._plan.fingerprint, self._shards.token])

    @property
    def _ready(self) -> Work:
        """The work with every stage's fingerprint: looks at model weights, here and not on each worker."""
        return dataclasses.replace(self._work, plan=self._plan.resolved)

    def _with(self, plan: Plan, survivors: tuple[Frame, ...] | None = None) -> Self:
        work = dataclasses.replace(self._work, plan=plan)
        kept = self._survivors if survivors is None else survivors
        dataset = type(self)(self.path, self.id_col, self._shards, work, kept)
        dataset.all_runs = self.all_runs
        return dataset

    def _frame(self) -> Frame:
        masks = [number for number, step in enumerate(self._plan.steps) if isinstance(step, MaskStep)]
        survivors = self._survivors[-1] if masks else None
        return metadata_frame(self._ready, self._shards, survivors, masks[-1] + 1 if masks else 0)

    def _settle(self) -> None:
        """Put the rows of every raw mask into the store, where any task can find them."""
        steps = [step for step in self._plan.steps if isinstance(step, MaskStep)]
        for step, survivors in zip(steps, self._survivors, strict=True):
            with turn(self._work.store.root, f"mask-{step.token}"):
                settle_mask(self._work.store, step.token, survivors, self._shards)

    def _run(self, title: str, progress: bool | None, *, exact: bool = True) -> dict[str, StepCounts]:
        """Compute everything; what happened to the samples of each source."""
        self._settle()
        remote = connected_client() is not None
        counts: dict[str, StepCounts] = {}
        with Progress(title, len(self._shards), progress) as bar:
            run = RunShard(self._ready, None if remote else bar.block, exact)
            for shard, (shard_counts, stats) in zip(self._shards, in_order(run, self._shards), strict=True):
                counts.setdefault(shard.source, StepCounts(self._plan)).add(shard_counts)
                bar.shard(stats)
        self.last_run = bar.stats
        self.all_runs.add(bar.stats)
        total = StepCounts.total(self._plan, counts.values())
        _tell_unjoined(total.noticed, self.id_col)
        _tell_unmatched(self._plan, total)
        return counts


def _tell_unjoined(noticed: Mapping[str, int], id_col: str) -> None:
    """Say in the log that the metadata does not belong to the samples: every column of it is null then."""
    if noticed.get("parquet_unreadable"):
        _log.warning(
            "the parquet of %d shards cannot be read; its columns are null there", noticed["parquet_unreadable"]
        )
    if noticed.get("parquet_rows") and 0 < noticed["samples"] == noticed["samples_without_parquet_row"]:
        _log.warning(
            "no row of the parquet beside the tars has the key of a sample, so all its columns are null; id_col=%r may "
            "be the wrong column",
            id_col,
        )


def _tell_unmatched(plan: Plan, counts: StepCounts) -> None:
    """Say in the log that a join or a list found none of the samples that came to it: most likely a mistake."""
    for place, step in enumerate(plan.steps, start=1):
        name, came, dropped = step.title[1], counts.came[place], counts.dropped[place]
        if not came:
            continue
        if isinstance(step, JoinStep) and counts.unmatched[place] == came:
            _log.warning("%s: no sample has the id of a row, so all of its columns are null", name)
        elif isinstance(step, ListStep) and dropped == (came if step.keeps else 0):
            _log.warning("%s: no sample is on the list, so %s is dropped", name, "every one" if step.keeps else "none")


def expanded(path: Any) -> Any:
    """A path with ``~`` made out; what is no path is told by the export."""
    return os.path.expanduser(path) if isinstance(path, str | os.PathLike) else path  # noqa: PTH111 - URLs are no paths
