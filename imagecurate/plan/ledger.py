"""The ledger: for every input sample one row that says what became of it; and its sums."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from imagecurate.columns import KEY, SAMPLE_ID, SHARD, SOURCE
from imagecurate.plan.facts import PixelFacts
from imagecurate.plan.outcome import INDEX, Outcome
from imagecurate.plan.shard_state import ShardState
from imagecurate.plan.steps import FilterStep, MaskStep, Plan, StageStep, Step

__all__ = ["LEDGER_SCHEMA", "StepCounts", "count_outcome", "ledger_of", "step_names"]

LEDGER_SCHEMA = pa.schema(
    [(name, pa.string()) for name in (SAMPLE_ID, SOURCE, SHARD, KEY, "status", "reason", "detail")]
)


def ledger_of(state: ShardState, outcome: Outcome) -> pa.Table:
    """One row for each sample of a shard: kept, dropped (by which filter) or failed (why).

    Parameters
    ----------
    state : ShardState
    outcome : Outcome
        Of all rows of the shard under the whole plan.
    """
    status = np.where(outcome.failed, "failed", np.where(outcome.event >= 0, "dropped", "kept"))
    reasons: list[str | None] = [None] * len(status)
    details: list[str | None] = [None] * len(status)
    for row in np.flatnonzero(status != "kept").tolist():
        if outcome.failed[row]:
            reasons[row], details[row] = _split(outcome.reasons[row])
        else:
            reasons[row] = _filter_name(state.plan.steps[outcome.event[row]])
            details[row] = "null" if outcome.null[row] else None
    columns = {name: state.column(name, outcome.positions) for name in (SAMPLE_ID, SOURCE, SHARD, KEY)}
    columns |= {"status": pa.array(status), "reason": pa.array(reasons), "detail": pa.array(details)}
    return pa.table(columns).cast(LEDGER_SCHEMA)


def _split(reason: str) -> tuple[str, str | None]:
    """Cut a failure at its first colon: what is counted, and what belongs to the one sample."""
    kind, _, detail = reason.partition(": ")
    return kind, detail or None


def _filter_name(step: Step) -> str | None:
    return step.name if isinstance(step, FilterStep | MaskStep) else None


class StepCounts:
    """Sums over outcomes: for the index and each step, how many samples it dropped, failed, and found null."""

    def __init__(self, plan: Plan) -> None:
        count = len(plan.steps) + 1
        self.samples = 0
        self.dropped, self.null, self.failed = (np.zeros(count, np.int64) for _ in range(3))
        #: Samples failed, by reason.
        self.reasons: dict[str, int] = {}
        #: What was noticed when the shards were indexed, by name.
        self.noticed: dict[str, int] = {}

    def add(self, other: StepCounts) -> None:
        """Count another shard in."""
        self.samples += other.samples
        for mine, theirs in zip(self._arrays(), other._arrays(), strict=True):
            mine += theirs
        for sums, more in ((self.reasons, other.reasons), (self.noticed, other.noticed)):
            for name, count in more.items():
                sums[name] = sums.get(name, 0) + count

    @property
    def kept(self) -> int:
        """Samples that pass every filter and did not fail."""
        return int(self.samples - self.dropped.sum() - self.failed.sum())

    def _arrays(self) -> list[np.ndarray]:
        return [self.dropped, self.null, self.failed]


def count_outcome(state: ShardState, outcome: Outcome) -> StepCounts:
    """Sum what happened to the samples of one shard."""
    counts = StepCounts(state.plan)
    counts.samples = len(outcome.positions)
    place = np.where(outcome.event == INDEX, 0, outcome.event + 1)
    happened = outcome.event != -1
    size = len(counts.dropped)
    counts.dropped += np.bincount(place[happened & ~outcome.failed], minlength=size)
    counts.null += np.bincount(place[outcome.null], minlength=size)
    counts.failed += np.bincount(place[outcome.failed], minlength=size)
    for reason in outcome.reasons.values():
        kind, _ = _split(reason)
        counts.reasons[kind] = counts.reasons.get(kind, 0) + 1
    counts.noticed = state.index_counts()
    return counts


def step_names(plan: Plan) -> list[tuple[str, str]]:
    """Kind and name of the index and of each step, as the waterfall shows them."""
    names = [("index", "shards")]
    for step in plan.steps:
        if isinstance(step, StageStep):
            kind = "pixels" if isinstance(step.stage, PixelFacts) else "stage"
            names.append((kind, "decode" if kind == "pixels" else type(step.stage).__name__))
        else:
            kind = "column" if not isinstance(step, FilterStep | MaskStep) else "filter"
            names.append((kind, step.name))
    return names
