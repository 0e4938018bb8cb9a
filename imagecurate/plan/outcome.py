"""What happens to the rows of a shard under a plan, and what computing it took."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["INDEX", "KEPT", "Flags", "Outcome", "PassStats", "Positions"]

Positions: TypeAlias = NDArray[np.int64]
Flags: TypeAlias = NDArray[np.bool_]

#: In ``Outcome.event``: no step decided against the row; the index of the shard did.
KEPT = -1
INDEX = -2


@dataclass
class PassStats:
    """What a pass did, for progress and for the run record."""

    samples: int = 0
    decoded: int = 0
    failed: int = 0
    #: Rows computed by each stage.
    computed: dict[str, int] = field(default_factory=dict)

    def count(self, stage: str, rows: int) -> None:
        """Count rows that a stage computed."""
        self.computed[stage] = self.computed.get(stage, 0) + rows

    def add(self, other: PassStats) -> None:
        """Count another pass in."""
        self.samples += other.samples
        self.decoded += other.decoded
        self.failed += other.failed
        for stage, rows in other.computed.items():
            self.count(stage, rows)


@dataclass
class Outcome:
    """What happens to each of some rows; arrays are of the length of ``positions``."""

    positions: Positions
    #: True where the row passes every filter asked so far.
    alive: Flags
    #: Number of the first step, in plan order, that dropped or failed the row; KEPT or INDEX.
    event: NDArray[np.int64]
    #: True where that event failed the row instead of dropping it.
    failed: Flags
    #: True where that event is a filter whose value was null.
    null: Flags
    #: True where the row waits for pixels; what follows is not known of it.
    pending: Flags
    #: For each image stage, the rows that may want pixels.
    wanted: dict[int, Flags] = field(default_factory=dict)
    #: For each join and list, how many rows came to it that had not failed before.
    came: dict[int, int] = field(default_factory=dict)
    #: For each join, how many of these found nothing.
    unmatched: dict[int, int] = field(default_factory=dict)
    #: Reason of each failed row, by its place in ``positions``.
    reasons: dict[int, str] = field(default_factory=dict)

    @classmethod
    def untouched(cls, positions: Positions) -> Outcome:
        """Rows to which nothing has happened yet."""
        count = len(positions)
        failed, null, pending = (np.zeros(count, np.bool_) for _ in range(3))
        return cls(positions, np.ones(count, np.bool_), np.full(count, KEPT), failed, null, pending)

    @property
    def decided(self) -> Flags:
        """True where the row is alive and known to be so."""
        return self.alive & ~self.pending

    @property
    def survivors(self) -> Positions:
        """Positions that pass every filter and did not fail: what is exported."""
        return self.positions[self.alive & ~self.failed]

    def fail(self, step: int, rows: NDArray[np.int64], reasons: Iterable[str]) -> None:
        """Record failures of rows (places in ``positions``) to which nothing happened before."""
        for row, reason in zip(rows.tolist(), reasons, strict=True):
            if self.event[row] == KEPT:
                self.event[row] = step
                self.failed[row] = True
                self.reasons[row] = reason

    def drop(self, step: int, rows: NDArray[np.int64], null: Flags | None = None) -> None:
        """Take rows (places in ``positions``) out; ``null`` says which of them had no value."""
        self.alive[rows] = False
        first = self.event[rows] == KEPT
        if not first.all():
            rows, null = rows[first], None if null is None else null[first]
        self.event[rows] = step
        if null is not None:
            self.null[rows] = null
