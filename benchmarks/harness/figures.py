"""Figures of several contenders for one case: medians, ratios, goals; as a table, and as records."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["Case", "Line", "records", "table"]

Meaning = Literal["more is better", "less is better", "share"]


@dataclass(frozen=True)
class Line:
    """What was measured of one contender, and what our figure should be beside it.

    Parameters
    ----------
    contender : str
    values : sequence of float
        One a round.
    goal : float, optional
        The ratio of ours to this one, that is to be reached.
    is_limit : bool, default=False
        Not a peer but what nothing can be faster than: the ratio is shown as a share.
    reason : str, optional
        Why there are no values.
    note : str, default=""
        What else there is to say, such as the peak memory.
    versions : mapping of str to str, optional
    """

    contender: str
    values: Sequence[float] = ()
    goal: float | None = None
    is_limit: bool = False
    reason: str | None = None
    note: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def median(self) -> float | None:
        """Of the rounds."""
        return statistics.median(self.values) if self.values else None


@dataclass(frozen=True)
class Case:
    """Contenders on one input; the first line is ours.

    Parameters
    ----------
    benchmark, name, unit : str
    lines : sequence of Line
    meaning : {"more is better", "less is better", "share"}
        How the ratio of ours to another is taken: how many times as much ours does in a second, how many times as long
        the other one takes; for a share, our figure over the other one, and then a goal is the most, not the least.
    """

    benchmark: str
    name: str
    unit: str
    lines: Sequence[Line]
    meaning: Meaning = "more is better"

    def ratio(self, line: Line) -> float | None:
        """Ours beside another line; None for our own, and where either has no figure."""
        ours, theirs = self.lines[0].median, line.median
        if line is self.lines[0] or not ours or not theirs:
            return None
        return theirs / ours if self.meaning == "less is better" else ours / theirs

    def is_reached(self, line: Line) -> bool | None:
        """Whether the goal beside this line is; None where there is none, or no figure."""
        ratio = self.ratio(line)
        if ratio is None or line.goal is None:
            return None
        return ratio <= line.goal if self.meaning == "share" else ratio >= line.goal

    def in_percent(self, line: Line) -> bool:
        """Whether the ratio reads as a share of something."""
        return line.is_limit or (self.meaning == "share" and line.goal is not None and line.goal < 1)

    @property
    def limit(self) -> float | None:
        """The figure of what nothing can be faster than."""
        return next((line.median for line in self.lines if line.is_limit), None)


def table(cases: Sequence[Case]) -> str:
    """All cases, a block each: contender, median and spread, our ratio to it, the goal and whether it is reached.

    >>> lines = [Line("ours", [10, 12, 11]), Line("peer", [5, 5, 6], goal=2.5), Line("decode", [20], is_limit=True)]
    >>> print(table([Case("pixels", "JPEG", "images/s", lines)]))
    pixels: JPEG                                   images/s  (spread, rounds)         ours to it  goal
      ours                                             11.0  (10.0 to 12.0, n 3)
      peer                                             5.00  (5.00 to 6.00, n 3)          2.20 x  ≥ 2.5 x  missed
      limit: decode                                    20.0                                 55 %
    <BLANKLINE>
    """
    return "\n".join(text for case in cases for text in _block(case))


def records(cases: Sequence[Case], shared: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One record for each line of each case, with what all have in common (machine, command, date)."""
    return [
        {
            "benchmark": case.benchmark,
            "case": case.name,
            "contender": line.contender,
            "unit": case.unit,
            "median": line.median,
            "spread": [min(line.values), max(line.values)] if line.values else None,
            "n": len(line.values),
            "ratio": case.ratio(line),
            "limit": case.limit,
            "goal": line.goal,
            "reached": case.is_reached(line),
            "reason": line.reason,
            "note": line.note,
            "versions": dict(line.versions),
            **shared,
        }
        for case in cases
        for line in case.lines
    ]


def _block(case: Case) -> list[str]:
    title = f"{case.benchmark}: {case.name}"
    head = [title] if len(title) > 45 else []
    rows = [*head, f"{'' if head else title:<45} {case.unit:>9}  {'(spread, rounds)':<23} {'ours to it':>11}  goal"]
    for line in case.lines:
        name = f"  {'limit: ' if line.is_limit else ''}{line.contender}"
        if line.median is None:
            rows.append(f"{name:<45}      none: {line.reason}")
            continue
        spread = f"({_number(min(line.values))} to {_number(max(line.values))}, n {len(line.values)})"
        row = f"{name:<45} {_number(line.median):>9}  {spread if len(line.values) > 1 else '':<23}"
        ratio = case.ratio(line)
        if ratio is not None:
            row += f" {_ratio(ratio, case.in_percent(line)):>11}"
        if ratio is not None and line.goal is not None:
            goal = f"{100 * line.goal:.3g} %" if case.in_percent(line) else f"{line.goal:.3g} x"
            is_reached = "reached" if case.is_reached(line) else "missed"
            row += f"  {'≤' if case.meaning == 'share' else '≥'} {goal}  {is_reached}"
        rows.append(f"{row.rstrip()}{'  ' + line.note if line.note else ''}")
    return [*rows, ""]


def _number(value: float) -> str:
    """Three digits, or all that are before the point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:#.3g}"


def _ratio(ratio: float, in_percent: bool) -> str:
    return f"{100 * ratio:.3g} %" if in_percent else f"{ratio:.2f} x"
