"""Tasks over shards that a dataset starts: count, run, look at the first rows, hand survivors to an exporter."""

from __future__ import annotations

import functools
import importlib.metadata
import platform
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from imagecurate.backend import backend_named
from imagecurate.columns import Frame
from imagecurate.errors import StageError
from imagecurate.plan.alive_rows import AliveRows
from imagecurate.plan.at_work import NOTES
from imagecurate.plan.compute import as_table
from imagecurate.plan.ledger import StepCounts, count_outcome, ledger_of
from imagecurate.plan.outcome import PassStats, Positions
from imagecurate.plan.pieces import run_in_pieces
from imagecurate.plan.ranks import count_for_rank, turn
from imagecurate.plan.shard_pass import ShardPass
from imagecurate.plan.shard_state import Work
from imagecurate.plan.stage import DatasetStage
from imagecurate.plan.steps import StageStep
from imagecurate.plan.stopping import check_stop
from imagecurate.plan.strict import is_strict, raise_first_failure
from imagecurate.plan.threads import reading_in_turn, stop_of_this_run
from imagecurate.remote import is_on_own_disk
from imagecurate.shards import ByteSource, Shard, open_shard
from imagecurate.shards.shard import identities
from imagecurate.store import digest
from imagecurate.store.writing import StorePath

__all__ = ["CountSamples", "FirstRows", "RunShard", "SurvivingRows", "Survivors", "run_dataset_stage", "run_record"]


@dataclass(frozen=True)
class CountSamples:
    """Count the samples of a shard, indexing it if nobody did; unless ``exact``, by the parquet of a remote one."""

    work: Work
    exact: bool = True

    def __call__(self, shard: Shard) -> int:
        if not self.exact:
            shard = self.work.view(shard, ())
        with _reading(self.work), ShardPass(self.work, shard, frozenset()) as shard_pass:
            return shard_pass.state.count


@dataclass(frozen=True)
class RunShard:
    """Compute everything for a shard and sum what happened; unless ``exact``, by the parquet of a remote one."""

    work: Work
    on_block: Callable[[PassStats, float], None] | None = field(default=None, compare=False)
    exact: bool = True
    strict: bool = field(default_factory=is_strict)

    def __call__(self, shard: Shard) -> tuple[StepCounts, PassStats]:
        run = self._strictly if self.strict else self._run
        with _reading(self.work):
            counts, stats = run(self._seen(shard))
        count_for_rank(stats)
        return counts, stats

    @property
    def claims(self) -> StorePath:
        """Folder where ranks share out the shards."""
        return self.work.store.root / "claims" / self.work.plan.fingerprint

    def claimed_as(self, shard: Shard) -> str:
        """Name of a shard in that folder."""
        return self._seen(shard).metadata_token

    @property
    def notes(self) -> Path:
        """Folder where processes note which rows they are at work on."""
        return self.work.store.local / NOTES

    def noted_as(self, shard: Shard) -> str:
        """Name of a shard in that folder."""
        return self._seen(shard).token

    def in_pieces(self, shard: Shard, rows: Positions | None = None) -> None:
        """Compute what is missing of a shard, or of some rows, piece by piece, in processes that it may kill."""
        run_in_pieces(self.work, self._seen(shard), rows)

    def _seen(self, shard: Shard) -> Shard:
        return shard if self.exact else self.work.view(shard, self.work.plan.steps)

    def _run(self, shard: Shard) -> tuple[StepCounts, PassStats]:
        with _whole_pass(self.work, shard, self.on_block) as shard_pass:
            counts = count_outcome(shard_pass.state, shard_pass.run(tidy=True))
            return counts, shard_pass.stats

    def _strictly(self, shard: Shard) -> tuple[StepCounts, PassStats]:
        """The same, but the first failure ends the run."""
        stop = stop_of_this_run()
        failed = threading.Event()

        def on_block(stats: PassStats, share: float) -> None:
            if stats.failed:
                failed.set()
                stop.set()  # blocks that have not begun do not begin
            if self.on_block is not None:
                self.on_block(stats, share)

        try:
            with _whole_pass(self.work, shard, on_block) as shard_pass:
                raise_first_failure(shard_pass)  # of an earlier run, or one without an image
                counts = count_outcome(shard_pass.state, shard_pass.run(tidy=True))
                if not counts.failed.any():
                    return counts, shard_pass.stats
        except CancelledError:
            if not failed.is_set():
                raise
        with _whole_pass(self.work, shard) as shard_pass:  # a new one, which reads what the blocks wrote
            raise_first_failure(shard_pass)
        raise AssertionError("a sample failed and none did")


@dataclass(frozen=True)
class FirstRows:
    """The first surviving rows of a shard, as a frame."""

    work: Work

    def __call__(self, shard: Shard, limit: int, positions: Positions | None = None) -> Frame:
        names = list(self.work.plan.schema)
        with ShardPass(self.work, shard, self.work.plan.needed(names)) as shard_pass:
            columns = shard_pass.columns(names, shard_pass.first(limit, positions))
            return backend_named(self.work.backend).to_frame(columns)


@dataclass(frozen=True)
class SurvivingRows:
    """What an exporter sees of any shard: the kept samples, their bytes, and the ledger."""

    work: Work

    @property
    def columns(self) -> Mapping[str, pa.DataType]:
        """Metadata columns, in order."""
        return self.work.plan.schema

    @property
    def grouped(self) -> bool:
        """True where several rows may be one sample, which ``_sample`` tells."""
        return self.work.plan.images == "all"

    def read(self, shard: Shard, columns: Sequence[str]) -> pa.Table:
        """Columns of the kept samples of a shard, in order of position."""
        with _whole_pass(self.work, shard) as shard_pass:
            return pa.table(shard_pass.columns(columns, shard_pass.run().survivors))

    def ledger(self, shard: Shard) -> pa.Table:
        """One row for each sample of a shard."""
        with _whole_pass(self.work, shard) as shard_pass:
            return ledger_of(shard_pass.state, shard_pass.run())

    def open(self, shard: Shard) -> ByteSource:
        """The bytes of a shard."""
        return open_shard(shard, storage_options=self.work.storage_options)


@dataclass(frozen=True)
class Survivors:
    """What an exporter sees of a dataset."""

    work: Work
    shards: Sequence[Shard]

    @property
    def rows(self) -> SurvivingRows:
        """What each shard holds."""
        return SurvivingRows(self.work)

    @functools.cached_property
    def fingerprint(self) -> str:
        """Changes with the plan and with the shards; made once, for an exporter asks with every shard."""
        return digest([self.work.plan.fingerprint, identities(self.shards)])

    @property
    def store(self) -> StorePath:
        """Folder of the store."""
        return self.work.store.root

    @property
    def scratch(self) -> Path:
        """Folder on this machine."""
        return self.work.store.local


def run_dataset_stage(before: Work, after: Work, stage: DatasetStage, shards: Sequence[Shard]) -> None:
    """Run a stage that needs all rows and put its columns into the store, unless they are there.

    Parameters
    ----------
    before, after : Work
        Without the stage, and with it as the last step of the plan.
    """
    step = after.plan.resolved.steps[-1]
    if not isinstance(step, StageStep) or step.fingerprint is None:
        raise TypeError("the last step of the plan is not the stage")
    with turn(after.store.root, step.fingerprint):
        _run_dataset_stage(before, after, stage, step.fingerprint, shards)


def _run_dataset_stage(
    before: Work, after: Work, stage: DatasetStage, fingerprint: str, shards: Sequence[Shard]
) -> None:
    files = after.store.stage(fingerprint, reads_metadata=True)
    if all(files.has(shard) for shard in shards):
        return
    rows = AliveRows(before, shards, stage.reads(), after.store.scratch(fingerprint))
    results = iter(stage.process(rows))
    for number, shard in enumerate(shards):
        check_stop()
        try:
            computed = next(results)
        except StopIteration:
            raise StageError(f"{stage!r} gave results for {number} of {len(shards)} shards") from None
        with _whole_pass(before, shard) as shard_pass:
            positions = shard_pass.run().survivors
            files.finish(shard, [as_table(stage, computed, positions)], shard_pass.state.count, durable=True)
    if next(results, None) is not None:
        raise StageError(f"{stage!r} gave results for more than {len(shards)} shards")


def run_record(work: Work, shards: Sequence[Shard], by_source: Mapping[str, StepCounts]) -> dict[str, Any]:
    """What an output folder keeps about how it was made; no times, no secrets, the same for the same work.

    Parameters
    ----------
    work : Work
    shards : sequence of Shard
    by_source : mapping of str to StepCounts
        What happened to the samples of each source.
    """
    packages = ("imagecurate", "dask", "numpy", "Pillow", "pyarrow", "simplejpeg", "timm", "torch")
    sources: dict[str, dict[str, int]] = {}
    for shard in shards:
        sums = sources.setdefault(shard.source, {"shards": 0, "bytes": 0})
        sums["shards"] += 1
        sums["bytes"] += shard.size
    for source, each in by_source.items():
        failed = int(each.failed.sum())
        sources[source] |= {"samples": each.samples, "kept": each.kept, "failed": failed}
    counts = StepCounts.total(work.plan, by_source.values())
    return {
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in packages},
        "inputs": {
            "sources": sources,
            "reading": {source: schema.identity() for source, schema in work.schemas.items()},
            "differences": work.differences,
            "noticed": counts.noticed,
        },
        "fingerprint": work.plan.fingerprint,
        "decode_policy": work.plan.policy.identity(),
        "plan": [step.record() for step in work.plan.resolved.steps],
        "counts": counts.waterfall(work.plan),
        "samples": counts.samples,
        "kept": counts.kept,
        "failed_by_reason": dict(sorted(counts.reasons.items())),
    }


def _reading(work: Work) -> AbstractContextManager[None]:
    """Threads wait for each other only where files are on a disk of this machine."""
    root = work.store.root
    return reading_in_turn() if isinstance(root, Path) and is_on_own_disk(root) else nullcontext()


def _whole_pass(work: Work, shard: Shard, on_block: Callable[[PassStats, float], None] | None = None) -> ShardPass:
    return ShardPass(work, shard, work.plan.needed((), everything=True), on_block)
