"""A histogram as SVG: kept samples below all others, with the thresholds; its numbers are a table below it."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

from imagecurate.explore.chart import ticks
from imagecurate.explore.html import Html, joined, tag
from imagecurate.explore.report.charts import folded, table
from imagecurate.explore.report.histogram import Bars, Histogram
from imagecurate.explore.report.limits import Limit
from imagecurate.explore.wording import count, number, plural

__all__ = ["histogram_chart"]

#: Bars at most.
_BARS = 64
#: Where the bars end and stand, in pixels.
_TOP, _BASE = 22, 168

_LARGEST = sys.float_info.max
_SIGNS = {">=": "≥", ">": ">", "<=": "≤", "<": "<"}


def histogram_chart(name: str, histogram: Histogram, limits: Sequence[Limit]) -> Html:
    """Draw a histogram, kept samples below all others, with the thresholds."""
    shown = histogram.bars(_BARS)
    at = _Axis([*shown.edges.tolist(), *(limit.value for limit in limits)])
    tails = [f"{count(n)} {side} are not drawn" for n, side in ((shown.below, "below"), (shown.above, "above")) if n]
    described = [
        f"{plural(histogram.total, 'value')} from {number(histogram.low)} to {number(histogram.high)}",
        *(f"the threshold {limit} is drawn" for limit in limits),
        *tails,
    ]
    chart = tag(
        "svg",
        tag("title", f"Histogram of {name}"),
        tag("desc", f"{'; '.join(described)}."),
        *_scale(shown, is_crowded=any(at(limit.value) < 50 for limit in limits)),
        *_bars(shown, at),
        tag("line", x1="0", x2="100%", y1=_BASE, y2=_BASE, class_="axis"),
        *(
            tag("text", number(tick), x=f"{at(tick):.2f}%", y=_BASE + 17, class_="quiet tick")
            for tick in ticks(at.start, at.end, 5)
        ),
        *(drawn for limit in limits for drawn in _limit(limit, at(limit.value))),
        role="img",
        class_="histogram",
        width="100%",
        height=_BASE + 24,
    )
    return joined(
        chart,
        tag("p", f"{'; '.join(tails).capitalize()}.", class_="quiet small") if tails else None,
        folded("Numbers", table([name, "kept", "not kept"], _rows(shown), numbers=2)),
    )


class _Axis:
    """Where some numbers are, in percent of the width, with a margin around them."""

    def __init__(self, numbers: Sequence[float]) -> None:
        low, high = min(numbers), max(numbers)
        margin = 0.02 * (high / 2 - low / 2)  # in halves: the whole may be beyond the largest double
        self.start, self.end = max(low - margin, -_LARGEST), min(high + margin, _LARGEST)

    def __call__(self, value: float) -> float:
        return 100 * ((value / 2 - self.start / 2) / (self.end / 2 - self.start / 2))


def _scale(shown: Bars, *, is_crowded: bool) -> list[Html]:
    """The line of the highest bar, and its number: on the right where labels of thresholds are on the left."""
    most = count(_most(shown))
    label = {"x": "100%", "class_": "quiet before"} if is_crowded else {"x": "0", "class_": "quiet"}
    return [
        tag("line", x1="0", x2="100%", y1=_TOP, y2=_TOP, class_="grid"),
        tag("text", most, y=_TOP - 6, **label),
    ]


def _bars(shown: Bars, at: _Axis) -> Iterator[Html]:
    edges, high = shown.edges.tolist(), (_BASE - _TOP) / _most(shown)
    for start, end, kept, others in zip(edges, edges[1:], *shown.counts.tolist(), strict=False):
        for kind, below, height in (("bar kept", 0, kept), ("bar others", kept, others)):
            if height:
                yield tag(
                    "rect",
                    x=f"{at(start):.3f}%",
                    width=f"{at(end) - at(start):.3f}%",
                    y=f"{_BASE - (below + height) * high:.1f}",
                    height=f"{height * high:.1f}",
                    class_=kind,
                )


def _limit(limit: Limit, x: float) -> list[Html]:
    """A threshold and its label, on the side that passes where there is room."""
    is_after = x < 75 if limit.operator in (">=", ">") else x <= 25
    return [
        tag("line", x1=f"{x:.3f}%", x2=f"{x:.3f}%", y1=4, y2=_BASE, class_="limit"),
        tag(
            "text",
            f"{_SIGNS[limit.operator]} {number(limit.value)}",
            x=f"{x:.3f}%",
            dx=6 if is_after else -6,
            y=14,
            class_=f"limit {'after' if is_after else 'before'}",
        ),
    ]


def _rows(shown: Bars) -> Iterator[tuple[str, str, str]]:
    edges = shown.edges.tolist()
    for start, end, kept, others in zip(edges, edges[1:], *shown.counts.tolist(), strict=False):
        if kept or others:
            yield f"{number(start)} to {number(end)}", count(kept), count(others)


def _most(shown: Bars) -> int:
    return max(int(shown.counts.sum(axis=0).max(initial=0)), 1)
