"""Histograms of numbers that come a shard at a time, and whose range nobody knows beforehand."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Bars", "Histogram"]

#: Bins that are kept before those are joined that are finer than can ever be drawn.
_MOST_BINS = 4096
#: Bins between the 0.5th and the 99.5th percentile after that; 64 at most are drawn.
_FINE_BINS = 2048
_TAIL = 0.005
#: Digits, in base two, by which numbers are told apart: all of them before bins were joined, and far outside after.
_DIGITS, _COARSE_DIGITS = 30, 7
#: Digits of the edges of bars, of the 53 that a float has.
_MOST_DIGITS = 45
#: Values farther from 0 are taken for it in the drawing: differences must be numbers, too.
_FARTHEST = 1e307
#: Exponent below which a distance is nothing: its bin would be too narrow for a float.
_LEAST = -900


@dataclass(frozen=True)
class Bars:
    """A histogram as it is drawn: ``edges`` of shape (n + 1,), ``counts`` of shape (2, n), and what is left out."""

    edges: NDArray[np.float64]
    counts: NDArray[np.int64]
    below: int
    above: int


@dataclass(frozen=True)
class Histogram:
    """How often values fall into bins, counted apart for the samples that were kept and all others.

    Bins are as wide as a power of two and begin at a multiple of their width, counted from the anchor: those of two
    histograms can be joined, in any order, and a threshold at the anchor is never inside of one.  Where there are too
    many they are made coarser, but no more than cannot be seen: outliers leave the bulk as fine as it was.

    Parameters
    ----------
    anchor : float
    edges : array of shape (bins,), float64
        Where each bin begins, seen from the anchor; in order.
    counts : array of shape (2, bins), int64
        Of the kept, and of all others.
    fine : (float, float, float), optional
        Width of the bins, and between which distances to the anchor they have it, once they were joined.
    low, high : float
    whole : bool
        Whether all values are whole numbers.
    missing : int
        Rows without a value.
    not_finite : int
        Rows whose value is infinite or not a number.

    Examples
    --------
    >>> left = Histogram.of(np.array([1.0, 2.0]), np.array([True, False]), anchor=0)
    >>> both = left.plus(Histogram.of(np.array([100.0, np.nan]), np.array([True, True]), anchor=0))
    >>> both.total, both.low, both.high, both.not_finite
    (3, 1.0, 100.0, 1)
    """

    anchor: float = 0.0
    edges: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros((2, 0), np.int64))
    fine: tuple[float, float, float] | None = None
    low: float = math.inf
    high: float = -math.inf
    whole: bool = True
    missing: int = 0
    not_finite: int = 0

    @classmethod
    def of(cls, values: NDArray[np.float64], kept: NDArray[np.bool_], *, anchor: float, missing: int = 0) -> Histogram:
        """Count values.

        Parameters
        ----------
        values : array of shape (n,), float64
        kept : array of shape (n,), bool
        anchor : float
        missing : int, default=0
            Further rows, which have none.
        """
        finite = np.isfinite(values)
        odd = int(len(values) - finite.sum())
        values, kept = values[finite], kept[finite]
        if not len(values):
            return cls(anchor, missing=missing, not_finite=odd)
        low, high, whole = float(values.min()), float(values.max()), bool(np.all(values == np.floor(values)))
        weights = np.stack([kept, ~kept]).astype(np.int64)
        distances = np.clip(values, -_FARTHEST, _FARTHEST) - anchor
        edges, counts = _joined(_binned(distances, None), weights)
        return cls(anchor, edges, counts, None, low, high, whole, missing, odd)._bounded()

    @property
    def total(self) -> int:
        """Values that were counted."""
        return int(self.counts.sum())

    def plus(self, other: Histogram) -> Histogram:
        """Count another one in, of the same anchor."""
        fine = self.fine or other.fine
        if self.fine and other.fine:
            fine = max(self.fine[0], other.fine[0]), min(self.fine[1], other.fine[1]), max(self.fine[2], other.fine[2])
        edges = np.concatenate([self.edges, other.edges])
        edges, counts = _joined(_binned(edges, fine), np.concatenate([self.counts, other.counts], axis=1))
        return Histogram(
            self.anchor,
            edges,
            counts,
            fine,
            min(self.low, other.low),
            max(self.high, other.high),
            self.whole and other.whole,
            self.missing + other.missing,
            self.not_finite + other.not_finite,
        )._bounded()

    def bars(self, most: int) -> Bars:
        """Make it a histogram of equal bins, so many at most; long tails are left out.

        Parameters
        ----------
        most : int
        """
        if not self.total:
            return Bars(np.zeros(1), np.zeros((2, 0), np.int64), 0, 0)
        first, last = self._bulk()
        start, end = self.edges[0], self.edges[-1]
        if end - start <= 2 * (last - first):  # the tails are short
            first, last = start, end
        size = max(abs(self.low), abs(self.high), abs(self.anchor), 2.0**_LEAST)
        power = _power((last - first) / most if last > first else size / 64)
        power = max(power, _power(size) - _MOST_DIGITS)  # so that edges can be told from each other
        if self.whole and self.anchor == math.floor(self.anchor):
            power = max(power, 0)
        while math.floor(math.ldexp(last, -power)) - math.floor(math.ldexp(first, -power)) >= most:
            power += 1
        with np.errstate(over="ignore"):  # outliers, which are left out
            numbers = np.floor(np.ldexp(self.edges, -power))
        begin, stop = (math.floor(math.ldexp(edge, -power)) for edge in (first, last))
        inside = (numbers >= begin) & (numbers <= stop)
        places = (numbers[inside] - begin).astype(np.int64)
        counts = np.stack([np.bincount(places, each[inside], stop - begin + 1) for each in self.counts])
        edges = self.anchor + np.ldexp(np.arange(begin, stop + 2, dtype=np.float64), power)
        below, above = int(self.counts[:, numbers < begin].sum()), int(self.counts[:, numbers > stop].sum())
        return Bars(edges, counts.astype(np.int64), below, above)

    def _bulk(self) -> tuple[float, float]:
        """Bins between which all but the tails lie."""
        sums = np.cumsum(self.counts.sum(axis=0))
        first, last = (int(np.searchsorted(sums, share * sums[-1], "left")) for share in (_TAIL, 1 - _TAIL))
        return float(self.edges[first]), float(self.edges[min(last, len(sums) - 1)])

    def _bounded(self) -> Histogram:
        """Join bins where there are too many."""
        if len(self.edges) <= _MOST_BINS:
            return self
        first, last = self._bulk()
        fine = math.ldexp(1.0, _power((last - first) / _FINE_BINS)), first, last
        edges, counts = _joined(_binned(self.edges, fine), self.counts)
        return dataclasses.replace(self, edges=edges, counts=counts, fine=fine)


def _binned(distances: NDArray[np.float64], fine: tuple[float, float, float] | None) -> NDArray[np.float64]:
    """Where the bin begins to which each distance to the anchor belongs."""
    exponents = np.maximum(np.frexp(distances)[1], _LEAST)
    widths = np.ldexp(1.0, exponents - _DIGITS)
    if fine is not None:
        width, first, last = fine
        inside = (distances >= first) & (distances <= last)
        widths = np.maximum(np.where(inside, widths, np.ldexp(1.0, exponents - _COARSE_DIGITS)), width)
    edges: NDArray[np.float64] = np.floor(distances / widths) * widths
    return edges


def _joined(edges: NDArray[np.float64], counts: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Add up the counts of bins that begin at the same place."""
    places: NDArray[Any]
    found, places = np.unique(edges, return_inverse=True)
    sums = np.stack([np.bincount(places, each, len(found)) for each in counts])
    return found, sums.astype(np.int64)  # floats count exactly, up to 2 ** 53


def _power(width: float) -> int:
    """Exponent of the smallest power of two that is at least so large."""
    mantissa, exponent = math.frexp(width)
    return exponent - 1 if mantissa == 0.5 else exponent
