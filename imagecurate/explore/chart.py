"""Charts as SVG: bars and curves over a number line, described in words for who does not see them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from imagecurate.explore.html import Html, tag
from imagecurate.explore.wording import number

__all__ = ["bars", "curves", "evenly", "ticks"]

#: Units of the view box, about pixels.
_WIDTH, _HEIGHT = 720, 190
#: Of the plot itself.
_LEFT, _RIGHT, _TOP, _BASE = 48, _WIDTH - 12, 22, 160

_COLOURS = ("var(--ic-bar)", "var(--ic-bar-2)", "var(--ic-bar-3)", "var(--ic-bar-4)")
#: Curves of one colour differ in their dashes, so that nobody needs to tell colours apart.
_DASHES = (None, "6 3", "2 2", "8 3 2 3")


def bars(edges: Sequence[float], counts: Sequence[int], *, title: str, description: str, mark: float | None) -> Html:
    """Draw a histogram, with a line at a threshold."""
    low, high = edges[0], edges[-1]
    if mark is not None and math.isfinite(mark):
        low, high = min(low, mark), max(high, mark)
    at = _Scale(low, high)
    most = max(*counts, 1)
    drawn = [
        tag(
            "rect",
            x=f"{at(start):.2f}",
            width=f"{max(at(end) - at(start) - 0.5, 0.5):.2f}",
            y=f"{_BASE - (_BASE - _TOP) * count / most:.2f}",
            height=f"{(_BASE - _TOP) * count / most:.2f}",
            fill=_COLOURS[0],
        )
        for start, end, count in zip(edges, edges[1:], counts, strict=False)
        if count
    ]
    drawn.append(tag("text", f"{most:,}", x=_LEFT, y=_TOP - 8))
    return _chart(title, description, at, low, high, drawn, mark)


def curves(
    lines: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    *,
    title: str,
    description: str,
    mark: float | None,
    mark_share: float | None = None,
) -> Html:
    """Draw shares (0 to 1) over a number line, with a line at a threshold and one at the share that it gives."""
    every = [x for xs, _ in lines.values() for x in xs]
    low, high = min(every), max(every)
    at = _Scale(low, high)
    drawn = []
    for percent in (0, 50, 100):
        y = _y(percent / 100)
        drawn.append(tag("line", x1=_LEFT, x2=_RIGHT, y1=y, y2=y, class_="ic-axis"))
        drawn.append(tag("text", f"{percent} %", x=_LEFT - 6, y=y + 4, text_anchor="end"))
    for place, (name, (xs, ys)) in enumerate(lines.items()):
        points = " ".join(f"{at(x):.1f},{_y(y):.1f}" for x, y in zip(xs, ys, strict=True))
        colour, dashes = _COLOURS[place % 4], _DASHES[place // 4 % 4]
        line = {"fill": "none", "stroke": colour, "stroke_width": 2, "stroke_dasharray": dashes}
        drawn.append(tag("polyline", tag("title", name), points=points, **line))
        y = _TOP + 6 + 15 * place
        drawn.append(tag("line", x1=_RIGHT - 130, x2=_RIGHT - 108, y1=y, y2=y, **line))
        drawn.append(tag("text", name if len(name) <= 16 else f"{name[:15]}…", x=_RIGHT - 102, y=y + 4))
    if mark is not None and mark_share is not None:
        y = _y(mark_share)
        drawn.append(tag("line", x1=_LEFT, x2=f"{at(mark):.2f}", y1=y, y2=y, class_="ic-mark", stroke_dasharray="3 3"))
    return _chart(title, description, at, low, high, drawn, mark)


def ticks(low: float, high: float, most: int = 7) -> list[float]:
    """Round numbers between two.

    >>> ticks(0.13, 9.7), ticks(0, 0), ticks(0, 2.5e-15, 3)
    ([2.0, 4.0, 6.0, 8.0], [0], [0.0, 1e-15, 2e-15])
    """
    rough = high / most - low / most
    if not rough > 0:
        return [low]
    power = math.floor(math.log10(rough))
    step: float = 10.0**power
    step *= next(factor for factor in (1, 2, 5, 10, 20) if factor * step >= rough)
    first = math.ceil(low / step)
    found = itertools.takewhile(lambda number: number * step <= high, itertools.count(first))
    return [round(number * step, max(12 - power, 0)) for number in itertools.islice(found, most + 2)]


def evenly(low: float, high: float, count: int) -> NDArray[np.float64]:
    """Give numbers at even distances, the ends included, also where these are farther apart than the largest double.

    >>> evenly(0, 1, 3).tolist(), evenly(-1e308, 1e308, 3).tolist()
    ([0.0, 0.5, 1.0], [-1e+308, 0.0, 1e+308])
    """
    parts = np.linspace(0, 1, count)
    found: NDArray[np.float64] = low * (1 - parts) + high * parts
    return found


class _Scale:
    """Where on the page a number of the axis is; halves, as the whole may be beyond the largest double."""

    def __init__(self, low: float, high: float) -> None:
        self._low, self._half = low, (high / 2 - low / 2) or 0.5

    def __call__(self, value: float) -> float:
        return _LEFT + (_RIGHT - _LEFT) * ((value / 2 - self._low / 2) / self._half)


def _y(share: float) -> float:
    return _BASE - (_BASE - _TOP) * share


def _chart(
    title: str, description: str, at: _Scale, low: float, high: float, drawn: Sequence[Html], mark: float | None
) -> Html:
    axis = [tag("line", x1=_LEFT, x2=_RIGHT, y1=_BASE, y2=_BASE, class_="ic-axis")]
    axis += [
        tag("text", number(tick), x=f"{at(tick):.2f}", y=_BASE + 16, text_anchor="middle") for tick in ticks(low, high)
    ]
    if mark is not None and low <= mark <= high:
        x = f"{at(mark):.2f}"
        axis.append(tag("line", x1=x, x2=x, y1=6, y2=_BASE, class_="ic-mark"))
        axis.append(tag("text", number(mark), x=x, y=_TOP - 8, dx=6 if mark < (low + high) / 2 else -6,
                        text_anchor="start" if mark < (low + high) / 2 else "end"))  # fmt: skip
    label = f"{title}. {description}"
    view = f"0 0 {_WIDTH} {_HEIGHT}"
    return tag("svg", tag("title", title), *drawn, *axis, role="img", aria_label=label, viewBox=view, width=_WIDTH)
