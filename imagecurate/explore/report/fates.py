"""What became of samples, by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from imagecurate.plan.outcome import Outcome
from imagecurate.plan.plan import Plan

__all__ = ["KEPT", "Fate", "Fates", "fates_of"]

#: Status and reason: ``("kept", "")``, ``("dropped", "size")``, ``("failed", "truncated")``.
Fate = tuple[str, str]
KEPT: Fate = ("kept", "")


@dataclass(frozen=True)
class Fates:
    """What became of each row of a shard: the number of its fate among those that there are."""

    names: Sequence[Fate]
    codes: NDArray[np.int64]

    @property
    def kept(self) -> NDArray[np.bool_]:
        """True where the row was kept."""
        kept: NDArray[np.bool_] = np.array([name == KEPT for name in self.names], np.bool_)[self.codes]
        return kept


def fates_of(plan: Plan, outcome: Outcome) -> Fates:
    """Name what became of the rows of a shard."""
    names: dict[Fate, int] = {KEPT: 0}
    codes = np.zeros(len(outcome.positions), np.int64)
    dropped = (outcome.event >= 0) & ~outcome.failed
    for number in np.unique(outcome.event[dropped]).tolist():
        code = names.setdefault(("dropped", plan.steps[number].title[1]), len(names))
        codes[dropped & (outcome.event == number)] = code
    for row, reason in outcome.reasons.items():
        codes[row] = names.setdefault(("failed", reason.partition(": ")[0]), len(names))
    return Fates(list(names), codes)
