"""The ledger: for every input sample one row that says what became of it; and its sums."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from imagecurate.columns import KEY, SAMPLE_ID, SHARD, SOURCE
from imagecurate.plan.outcome import INDEX, KEPT, Outcome
from imagecurate.plan.plan import Plan
from imagecurate.plan.shard_state import ShardState

__all__ = ["LEDGER_SCHEMA", "StepCounts", "count_outcome", "ledger_of"]

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
            reasons[row] = state.plan.steps[outcome.event[row]].title[1]
            details[row] = "null" if outcome.null[row] else None
    columns = {name: state.column(name, outcome.positions) for name in (SAMPLE_ID, SOURCE, SHARD, KEY)}
    columns |= {"status": pa.array(status), "reason": pa.array(reasons), "detail": pa.array(details)}
    return pa.table(columns).cast(LEDGER_SCHEMA)


def _by_place(events: NDArray[np.int64], places: int) -> NDArray[np.int64]:
    """How many events there are of the index and of each step; to be kept is none."""
    return np.delete(np.bincount(events - INDEX, minlength=places + 1), KEPT - INDEX)


def _split(reason: str) -> tuple[str, str | None]:
    """Cut a failure at its first colon: what is counted, and what belongs to the one sample."""
    kind, _, detail = reason.partition(": ")
    return kind, detail or None


class StepCounts:
    """Sums over outcomes: for the index and each step, how many samples it dropped, failed, found null or unmatched."""

    def __init__(self, plan: Plan) -> None:
        count = len(plan.steps) + 1
        self.samples = 0
        self.dropped, self.null, self.failed, self.unmatched = (np.zeros(count, np.int64) for _ in range(4))
        #: Samples that came to each join and list.
        self.came = np.zeros(count, np.int64)
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

    @classmethod
    def total(cls, plan: Plan, parts: Iterable[StepCounts]) -> StepCounts:
        """The sums of several."""
        total = cls(plan)
        for part in parts:
            total.add(part)
        return total

    def waterfall(self, plan: Plan) -> list[dict[str, Any]]:
        """For the index and each step its kind and name, and the samples dropped, null, unmatched, failed and left."""
        rows = []
        left = self.samples
        for place, (kind, name) in enumerate([("index", "shards"), *(step.title for step in plan.steps)]):
            dropped, null, failed, unmatched, _ = (int(each[place]) for each in self._arrays())
            left -= dropped + failed
            happened = {"dropped": dropped, "null": null, "unmatched": unmatched, "failed": failed, "left": left}
            rows.append({"kind": kind, "step": name, **happened})
        return rows

    def _arrays(self) -> list[np.ndarray]:
        return [self.dropped, self.null, self.failed, self.unmatched, self.came]


def count_outcome(state: ShardState, outcome: Outcome) -> StepCounts:
    """Sum what happened to the samples of one shard."""
    counts = StepCounts(state.plan)
    counts.samples = len(outcome.positions)
    counts.null += _by_place(outcome.event[outcome.null], len(counts.null))
    counts.failed += _by_place(outcome.event[outcome.failed], len(counts.failed))
    counts.dropped += _by_place(outcome.event, len(counts.dropped)) - counts.failed
    for number, rows in outcome.unmatched.items():
        counts.unmatched[number + 1] = rows
    for number, rows in outcome.came.items():
        counts.came[number + 1] = rows
    for reason in outcome.reasons.values():
        kind, _ = _split(reason)
        counts.reasons[kind] = counts.reasons.get(kind, 0) + 1
    counts.noticed = state.index_counts()
    return counts
