"""How the values of a column are distributed, in bounded memory: each different value and how often it occurs."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imagecurate.backend import backend_of
from imagecurate.explore.look import Seen

__all__ = ["CollectValues", "Distribution", "merged"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

#: Different values that are told apart: 64 MB.  Beyond, neighbours become one, exactly counted.
_MOST_VALUES = 1 << 22

#: Values that wait to be merged: few merges of much instead of one for each shard.
_WAITING = 1 << 18


def _none() -> Any:
    return np.zeros(0)


@dataclass
class Distribution:
    """Values of some rows.

    Attributes
    ----------
    values : array of float64
        Each different value, sorted; where there are more than four million, those that agree in their first digits
        are taken together under the least of them.
    counts : array of int64
        How often each occurs.
    nulls : int
        Rows without a value.
    failed : int
        Rows that failed and so never come to have one.
    """

    values: Floats = field(default_factory=_none)
    counts: Integers = field(default_factory=lambda: np.zeros(0, np.int64))
    nulls: int = 0
    failed: int = 0

    @classmethod
    def of(cls, values: Floats, failed: int = 0) -> Distribution:
        """Count values; NaN is null.

        >>> Distribution.of(np.array([2.0, 1.0, 2.0, np.nan]))
        Distribution(values=array([1., 2.]), counts=array([1, 2]), nulls=1, failed=0)
        """
        null = np.isnan(values)
        different, counts = np.unique(values[~null] + 0.0, return_counts=True)  # -0.0 becomes 0.0
        return cls(different, counts.astype(np.int64), int(null.sum()), failed)

    @property
    def rows(self) -> int:
        """Rows that have not failed, those without a value included."""
        return int(self.counts.sum()) + self.nulls

    def reaching(self, threshold: float, *, highest: bool = True) -> int:
        """How many values are at least the threshold, or, unless ``highest``, at most."""
        if highest:
            return int(self.counts[np.searchsorted(self.values, threshold, side="left") :].sum())
        return int(self.counts[: np.searchsorted(self.values, threshold, side="right")].sum())

    def share(self, threshold: float, *, highest: bool = True) -> float:
        """The same as a share of all rows; NaN where there is none."""
        return self.reaching(threshold, highest=highest) / self.rows if self.rows else math.nan

    def threshold(self, keep: float, *, highest: bool = True) -> float:
        """The value at which a share of the rows is kept, or more where values are equal.

        With too few values every one is kept.  NaN where there is no value.

        Examples
        --------
        >>> Distribution.of(np.arange(10.0)).threshold(0.3)
        7.0
        >>> Distribution.of(np.arange(10.0)).threshold(0.3, highest=False)
        2.0
        """
        if not len(self.values):
            return math.nan
        wanted = max(1, math.ceil(round(keep * self.rows, 6)))  # 0.3 * 10 is a little more than 3
        kept = np.cumsum(self.counts[::-1] if highest else self.counts)
        place = min(int(np.searchsorted(kept, wanted)), len(kept) - 1)
        return float(self.values[-1 - place] if highest else self.values[place])


def merged(parts: Iterable[Distribution]) -> Distribution:
    """One distribution of several.

    >>> merged([Distribution.of(np.array([1.0, 2.0])), Distribution.of(np.array([2.0, np.nan]))])
    Distribution(values=array([1., 2.]), counts=array([1, 2]), nulls=1, failed=0)
    """
    total = Distribution()
    waiting: list[Distribution] = []
    held = 0
    for part in parts:
        waiting.append(part)
        held += len(part.values)
        if held > max(_WAITING, len(total.values)):
            total, waiting, held = _sum([total, *waiting]), [], 0
    return _sum([total, *waiting])


@dataclass(frozen=True)
class CollectValues:
    """Takes the values of a column of a shard, with the name of the shard's source."""

    column: str

    def __call__(self, seen: Seen) -> tuple[str, Distribution]:
        """Give the source and its values."""
        column = seen.columns[self.column]
        return seen.source, Distribution.of(backend_of(column).numbers(column), seen.failed)


def _sum(parts: list[Distribution]) -> Distribution:
    values, places = np.unique(np.concatenate([part.values for part in parts]), return_inverse=True)
    counts = np.bincount(places, np.concatenate([part.counts for part in parts]), len(values)).astype(np.int64)
    values, counts = _at_most(_MOST_VALUES, values, counts)
    return Distribution(values, counts, sum(part.nulls for part in parts), sum(part.failed for part in parts))


def _at_most(most: int, values: Floats, counts: Integers) -> tuple[Floats, Integers]:
    """Take neighbours together until there are few enough, each under a value that is not above any of them."""
    bits = 0
    while len(values) > most:
        bits += 4
        floors = _floor(values, bits)
        starts = np.flatnonzero(np.append(True, floors[1:] != floors[:-1]))
        values, counts = values[starts], np.add.reduceat(counts, starts)
    return values, counts


def _floor(values: Floats, bits: int) -> Floats:
    """Round down so that the last bits of the mantissa are zero.

    A double's bits, taken for an integer, are in the order of the doubles where they are positive, and in the opposite
    order where they are negative: IEEE 754-2019, 3.4.
    """
    whole = values.view(np.int64)
    ordered = np.where(whole < 0, whole ^ np.int64(0x7FFF_FFFF_FFFF_FFFF), whole) >> bits << bits
    return np.where(ordered < 0, ordered ^ np.int64(0x7FFF_FFFF_FFFF_FFFF), ordered).view(np.float64)
