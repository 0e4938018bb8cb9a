"""A histogram with pictures along its axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from imagecurate.explore.basis import Basis
from imagecurate.explore.blur import Blur
from imagecurate.explore.chart import bars, evenly
from imagecurate.explore.distribution import Distribution
from imagecurate.explore.html import Html, joined, tag
from imagecurate.explore.picked import Picked
from imagecurate.explore.shown import Shown, table
from imagecurate.explore.tiles import shown_picture
from imagecurate.explore.wording import number, plural, share

__all__ = ["SLOTS", "Histogram", "edges_of"]

#: Pictures along the axis.
SLOTS = 10
#: Below it a double tells a whole number from the next half.
_WHOLE = 2**52


@dataclass(eq=False)
class Histogram(Shown):
    """How the values of a column are distributed.

    Attributes
    ----------
    column : str
    edges : array of shape (bins + 1,), float64
        A bin has its left edge and not its right one, but the last has both.
    counts : array of shape (bins,), int64
    basis : Basis
        Which rows these are; ``str(basis)`` says it, ``basis.total`` has every value.
    threshold : float or None
    picked : Picked
        A picture for each part of the axis that has values, from left to right.
    """

    column: str
    edges: NDArray[np.float64] = field(repr=False)
    basis: Basis = field(repr=False)
    threshold: float | None = None
    picked: Picked | None = field(default=None, repr=False)
    slots: Sequence[int] = field(default=(), repr=False)
    blur: Blur = field(default_factory=Blur, repr=False)

    def __post_init__(self) -> None:
        self.title = f"Histogram of {self.column}"
        self.total: Distribution = self.basis.total
        self.counts = self._counts(self.total)

    @property
    def frame(self) -> pd.DataFrame:
        """One row a bin: ``start``, ``end``, ``count``, and a column for each source where there are several."""
        columns = {"start": self.edges[:-1], "end": self.edges[1:], "count": self.counts}
        if len(self.basis.by_source) > 1:
            columns |= {source: self._counts(values) for source, values in self.basis.by_source.items()}
        return pd.DataFrame(columns)

    def __repr__(self) -> str:
        lines = [f"{self.title}: {self.basis}"]
        most = max(int(self.counts.max(initial=0)), 1)
        starts = [number(edge) for edge in self.edges[:-1]]
        width = max(map(len, starts), default=0)
        lines += [
            f"  {start:>{width}} {'█' * math.ceil(40 * count / most)} {count:,}".rstrip()
            for start, count in zip(starts, self.counts.tolist(), strict=True)
        ]
        return "\n".join([*lines, *self._said()])

    def _counts(self, values: Distribution) -> NDArray[np.int64]:
        if not len(self.edges):
            return np.zeros(0, np.int64)
        finite = np.isfinite(values.values)
        return np.histogram(values.values[finite], self.edges, weights=values.counts[finite])[0].astype(np.int64)

    def _said(self) -> list[str]:
        outside = int(self.total.counts.sum() - self.counts.sum())
        said = [f"{plural(outside, 'value is', 'values are')} infinite and not drawn."] if outside else []
        if self.threshold is not None and self.total.rows:
            kept = self.total.reaching(self.threshold)
            part = share(kept, self.total.rows)
            said.append(f"{part} ({kept:,} of {self.total.rows:,}) have at least {number(self.threshold)}.")
        return said

    def _content(self) -> Html:
        heading = [tag("p", tag("strong", self.title)), tag("p", str(self.basis), class_="ic-quiet")]
        if not self.counts.sum():
            said = " ".join(self._said()) or f"No sample has a value of {self.column}: there is nothing to draw."
            return joined(*heading, tag("p", said))
        low, high = number(self.total.values[0]), number(self.total.values[-1])
        said = f"Values from {low} to {high}. {' '.join(self._said())}"
        chart = bars(self.edges.tolist(), self.counts.tolist(), title=self.title, description=said, mark=self.threshold)
        rows = [[number(row.start), number(row.end), row.count] for row in self.frame.itertuples() if row.count]
        numbers = tag("details", tag("summary", "as a table"), table(["from", "to", "samples"], rows))
        return joined(*heading, chart, self._pictures(), tag("p", said), numbers)

    def _pictures(self) -> Html | None:
        """A strip below the axis, each picture where its values are."""
        if self.picked is None or not len(self.picked):
            return None
        rows = self.picked.table.select(self.picked.columns).to_pylist()
        cells = [
            tag(
                "div",
                shown_picture(row, small, self.blur),
                number(row[self.column]),
                style=f"grid-column: {slot + 1}",
            )
            for slot, row, small in zip(self.slots, rows, self.picked.thumbnails(120), strict=True)
        ]
        return tag("div", *cells, class_="ic-strip")


def edges_of(values: Distribution, bins: int) -> NDArray[np.float64]:
    """Edges of bins: one for each whole number where there are few, else of equal width from least to greatest.

    >>> edges_of(Distribution.of(np.array([1.0, 3.0, 3.0])), 40).tolist()
    [0.5, 1.5, 2.5, 3.5]
    >>> edges_of(Distribution.of(np.array([0.0, 0.5, 1.0])), 2).tolist()
    [0.0, 0.5, 1.0]
    """
    finite = values.values[np.isfinite(values.values)]
    if not len(finite):
        return np.zeros(0)
    low, high = float(finite[0]), float(finite[-1])
    if high - low < bins and max(-low, high) < _WHOLE and bool(np.all(finite == np.round(finite))):
        return np.arange(low - 0.5, high + 1)
    if low == high:
        half = max(0.5, float(np.spacing(abs(low))))
        return np.array([low - half, low + half])
    return np.unique(evenly(low, high, bins + 1))
