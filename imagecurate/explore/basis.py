"""What the values of a column are told from: what is known already, or a sampled pass."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from imagecurate.explore.distribution import CollectValues, Distribution, merged
from imagecurate.explore.look import Look, Survey
from imagecurate.explore.rows import Rows
from imagecurate.explore.wording import plural

__all__ = ["ENOUGH", "Basis", "collect", "settled"]

Merged = TypeVar("Merged")

#: Where nothing says how many: so large a share is drawn, and at least so many rows.  A share that is told from 1,000
#: rows is off by 0.03 at most, 19 times in 20 (two standard deviations of a binomial share of a half).
_SHARE = 0.01
ENOUGH = 1_000


@dataclass(frozen=True)
class Basis:
    """Values of a column, and the rows that they come from.

    Attributes
    ----------
    column : str
    by_source : dict of str to Distribution
    look : Look
        Which rows: another look at them computes nothing.
    rows : int
        Rows that were looked at, whatever became of them.
    complete : bool
        Whether that is every row.
    """

    column: str
    by_source: dict[str, Distribution]
    look: Look
    rows: int
    complete: bool

    @property
    def total(self) -> Distribution:
        """Of all sources."""
        return merged(self.by_source.values())

    def __str__(self) -> str:
        total = self.total
        said = plural(int(total.counts.sum()), "sample")
        if self.complete:
            said += " with a value, of all"
        elif self.look.known:
            said += " whose value is known already: nothing was computed"
        else:
            said += f" with a value, of {self.rows:,} drawn at random"
        without = {"without a value": total.nulls, "failed": total.failed}
        return "; ".join([said, *(f"{count:,} {what}" for what, count in without.items() if count)])


def collect(rows: Rows, column: str, sample: float | None, seed: int = 0) -> Basis:
    """Collect the values of a column.

    Parameters
    ----------
    rows : Rows
    column : str
    sample : float or None
        Share of the input rows to look at; see `settled`.
    seed : int, default=0
    """

    def attempt(look: Look) -> Survey[dict[str, Distribution]]:
        return rows.survey(f"looking at {column}", CollectValues(column), (column,), look, _by_source)

    found = settled(attempt, sample, seed, ENOUGH)
    return Basis(column, *found)


def settled(attempt: Callable[[Look], Survey[Merged]], sample: float | None, seed: int, enough: int) -> Survey[Merged]:
    """Look at what was asked for, or, where nothing was, at what suffices.

    Parameters
    ----------
    attempt : callable
    sample : float or None
        Share of the input rows to look at; None takes what is known without decoding a picture where that is enough, or
        all, and else draws 1 % of the rows, or more where that is not enough.
    seed : int
    enough : int
        Rows.
    """
    if sample is not None:
        return attempt(Look(sample, seed=seed))
    known = attempt(Look(known=True))
    if known.complete or known.rows >= enough:
        return known
    share = _SHARE
    while True:
        found = attempt(Look(share, seed=seed))
        if share >= 1 or found.rows >= enough:
            return found
        share = min(1.0, share * max(2.0, 1.1 * enough / max(found.rows, 1)))


def _by_source(parts: Iterator[tuple[str, Distribution]]) -> dict[str, Distribution]:
    """Merge as they come: sources lie one behind the other."""
    found: dict[str, Distribution] = {}
    for source, some in itertools.groupby(parts, key=lambda part: part[0]):
        earlier = [found[source]] if source in found else []
        found[source] = merged(itertools.chain(earlier, (values for _, values in some)))
    return found
