"""What a threshold keeps: the yield curve, the samples nearest to the line, and thresholds for target yields."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from imagecurate.explore.arguments import check_keep
from imagecurate.explore.basis import Basis
from imagecurate.explore.blur import Blur
from imagecurate.explore.chart import curves, evenly
from imagecurate.explore.distribution import Distribution
from imagecurate.explore.gallery import Group
from imagecurate.explore.html import Html, joined, tag
from imagecurate.explore.picked import Picked
from imagecurate.explore.shown import Shown, table
from imagecurate.explore.tiles import tiles
from imagecurate.explore.wording import number, share

__all__ = ["Thresholds", "condition"]

#: Points of a curve: more than can be told apart on a screen.
_POINTS = 200
#: Share of the samples at either end that the curve leaves out: one outlier would take up the whole axis.
_TAIL = 0.002
#: Curves that are drawn beside that of all; the frame has every one.
_MOST_CURVES = 7
#: Target yields of the table.
_TARGETS = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.05, 0.01)


@dataclass(eq=False)
class Thresholds(Shown):
    """What thresholds on a column keep.

    Attributes
    ----------
    column : str
    threshold : float
        The line; NaN where no sample has a value.
    highest : bool
        Whether values of at least the threshold are kept, or those of at most.
    basis : Basis
        Which rows this is told from; ``str(basis)`` says it, and ``basis.by_source`` has every value.
    picked : Picked
        The samples nearest to the line; see ``kept`` and ``dropped``.
    written : str
        The column as an expression.
    is_truth : bool
        It holds truth values, which count as 0 and 1.
    """

    column: str
    threshold: float
    basis: Basis = field(repr=False)
    written: str = field(default="", repr=False)
    is_truth: bool = field(default=False, repr=False)
    highest: bool = True
    picked: Picked | None = field(default=None, repr=False)
    sides: dict[bool, Group] = field(default_factory=dict, repr=False)
    columns: list[str] = field(default_factory=list, repr=False)
    blur: Blur = field(default_factory=Blur, repr=False)

    def __post_init__(self) -> None:
        self.title = f"Thresholds of {self.column}"
        self.total: Distribution = self.basis.total

    @property
    def share(self) -> float:
        """Share of the samples that the line keeps; those without a value are never kept."""
        return self.total.share(self.threshold, highest=self.highest)

    def at(self, keep: float) -> float:
        """The threshold that keeps a share, or a little more where values are equal.

        Parameters
        ----------
        keep : float
            Above 0, at most 1.
        """
        check_keep(keep)
        return self.total.threshold(float(keep), highest=self.highest)

    @property
    def expression(self) -> str:
        """The line as a filter: ``ds.filter(found.expression)``."""
        return condition(self.written, self.threshold, highest=self.highest, is_truth=self.is_truth)

    @property
    def targets(self) -> pd.DataFrame:
        """For some shares to keep: the threshold, and what it really keeps, in all and of each source."""
        rows = []
        for keep in _TARGETS if len(self.total.values) else ():
            threshold = self.at(keep)
            kept = self.total.reaching(threshold, highest=self.highest)
            row = {
                "keep": keep,
                "threshold": threshold,
                "samples": kept,
                "share": self.total.share(threshold, highest=self.highest),
            }
            rows.append(
                row | {name: each.share(threshold, highest=self.highest) for name, each in self._sources.items()}
            )
        return pd.DataFrame(rows, columns=["keep", "threshold", "samples", "share", *self._sources])

    @property
    def curve(self) -> pd.DataFrame:
        """The yield curve: the kept ``share`` at each ``threshold``, and of each source where there are several."""
        thresholds = self._grid()
        columns = {"threshold": thresholds, "share": _shares(self.total, thresholds, self.highest)}
        columns |= {name: _shares(each, thresholds, self.highest) for name, each in self._sources.items()}
        return pd.DataFrame(columns)

    @property
    def kept(self) -> pd.DataFrame:
        """Samples just on this side of the line, the nearest first."""
        return self._side(True)

    @property
    def dropped(self) -> pd.DataFrame:
        """Samples just beyond the line, the nearest first."""
        return self._side(False)

    def __repr__(self) -> str:
        if not len(self.total.values):
            return f"{self.title}: {self._nothing}"
        targets: str = self.targets.to_string(index=False, float_format=lambda given: f"{given:.4g}")
        return f"{self.title}: {self.basis}\n{self._said()}\n{targets}"

    @property
    def _sign(self) -> str:
        return ">=" if self.highest else "<="

    @property
    def _nothing(self) -> str:
        return f"no sample has a value of {self.column} ({self.basis})."

    @property
    def _sources(self) -> dict[str, Distribution]:
        return self.basis.by_source if len(self.basis.by_source) > 1 else {}

    def _side(self, is_kept: bool) -> pd.DataFrame:
        places = self.sides[is_kept].places if is_kept in self.sides else ()
        return self.picked.frame.iloc[list(places)] if self.picked is not None else pd.DataFrame()

    def _said(self) -> str:
        kept = self.total.reaching(self.threshold, highest=self.highest)
        part = share(kept, self.total.rows)
        return f"{self.column} {self._sign} {number(self.threshold)} keeps {part} ({kept:,} of {self.total.rows:,})."

    def _grid(self) -> np.ndarray:
        """Thresholds to draw: even steps from where all but a few are kept to where a few are, and the line itself."""
        ends = [self.at(1 - _TAIL), self.at(_TAIL)] if len(self.total.values) else []
        ends = [end for end in [*ends, self.threshold] if math.isfinite(end)]
        return np.unique([*evenly(min(ends), max(ends), _POINTS), *ends]) if ends else np.zeros(0)

    def _content(self) -> Html:
        heading = tag("p", tag("strong", self.title))
        if not len(self.total.values):
            return joined(heading, tag("p", self._nothing.capitalize(), class_="ic-quiet"))
        frame, targets = self.curve, self.targets
        drawn = sorted(self._sources, key=lambda name: -self._sources[name].rows)[:_MOST_CURVES]
        lines = {"all": (frame["threshold"].tolist(), frame["share"].tolist())}
        lines |= {name: (frame["threshold"].tolist(), frame[name].fillna(0).tolist()) for name in drawn}
        mark = self.threshold if math.isfinite(self.threshold) else None
        chart = (
            curves(
                lines,
                title=f"Share kept by a threshold on {self.column}",
                description=self._said(),
                mark=mark,
                mark_share=self.share,
            )
            if len(frame)
            else None
        )
        headings = ["to keep", f"{self.column} {self._sign}", "samples", "share", *self._sources]
        rows = [
            [f"{100 * keep:g} %", number(threshold), samples, *(f"{100 * each:.1f} %" for each in shares)]
            for keep, threshold, samples, *shares in targets.itertuples(index=False)
        ]
        return joined(
            heading,
            tag("p", str(self.basis), class_="ic-quiet"),
            chart,
            tag("p", tag("strong", self._said())),
            *(self._tiles(is_kept) for is_kept in (True, False)),
            tag("div", table(headings, rows), class_="ic-scroll"),
        )  # fmt: skip

    def _tiles(self, is_kept: bool) -> Html | None:
        if self.picked is None or is_kept not in self.sides:
            return None
        side = self.sides[is_kept]
        return joined(tag("h4", side.name), tiles(self.picked.take(side.places), self.columns, self.blur))


#: For truth values: which condition false and true pass.
_TRUTHS = {
    (False, False): "{0} and not {0}",
    (False, True): "{0}",
    (True, False): "not {0}",
    (True, True): "{0} is not null",
}


def condition(written: str, threshold: float, *, highest: bool = True, is_truth: bool = False) -> str:
    """A threshold as a filter; an infinite one, too, for which there is no number to write.

    >>> condition("score", 0.5), condition("score", -math.inf), condition("score", 2.0, highest=False)
    ('score >= 0.5', 'score is not null', 'score <= 2.0')
    >>> condition("is_wide", 1.0, is_truth=True)
    'is_wide'
    """
    if is_truth:
        passes = [each >= threshold if highest else each <= threshold for each in (0, 1)]
        return _TRUTHS[passes[0], passes[1]].format(written)
    if math.isinf(threshold):
        if (threshold > 0) != highest:
            return f"{written} is not null"
        return f"{written} {'>' if highest else '<'} {math.copysign(sys.float_info.max, threshold)!r}"
    return f"{written} {'>=' if highest else '<='} {threshold!r}"


def _shares(values: Distribution, thresholds: np.ndarray, highest: bool) -> np.ndarray:
    """What each threshold keeps, as a share of all rows."""
    before = np.concatenate([[0], np.cumsum(values.counts)])
    if highest:
        kept = before[-1] - before[np.searchsorted(values.values, thresholds, side="left")]
    else:
        kept = before[np.searchsorted(values.values, thresholds, side="right")]
    return kept / values.rows if values.rows else np.full(len(thresholds), math.nan)
