"""Charts as SVG, each with a title and a description for who does not see it, and the numbers as a table beside it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from imagecurate.explore.html import Html, joined, tag
from imagecurate.explore.report.properties import CELLS, Properties
from imagecurate.explore.wording import BY, count, plural, share

__all__ = ["bars", "folded", "ribbon", "sizes_chart", "table"]


def ribbon(before: float, after: float, kind: str, title: str) -> Html:
    """Draw one step of the flow: how much comes from above, goes on below, and goes out to the right.

    Parameters
    ----------
    before, after : float
        Shares of all samples, 0 to 1.
    kind : str
        Class of what goes out.
    title : str
    """
    width = 78.0
    wide, left = width * before, width * after
    if after:
        left = max(left, 0.8)
    out = ""  # what goes on reaches into the next row, lest a seam is seen
    if before > after:
        edge = max(wide, left + 1.2)
        high = min(max((edge - left) * 0.35, 1.6), 16)
        top = 20 - high / 2
        out = f"M{left:.2f} 0H{edge:.2f}C{edge:.2f} {top:.2f} {edge:.2f} {top:.2f} 100 {top:.2f}"
        out += f"V{top + high:.2f}C{left:.2f} {top + high:.2f} {left:.2f} {top + high:.2f} {left:.2f} 0Z"
    return tag(
        "svg",
        tag("title", title),
        tag("path", d=f"M0 0H{left:.2f}V42H0Z", class_="kept") if left else None,
        tag("path", d=out, class_=kind) if out else None,
        viewBox="0 0 100 40",
        preserveAspectRatio="none",
        role="img",
        class_="ribbon",
    )


def bars(rows: Sequence[tuple[str, int]], whole: int, head: tuple[str, str]) -> Html:
    """Make a table of counts with a bar for each."""
    most = max((n for _, n in rows), default=1)
    written = [
        tag(
            "tr",
            tag("th", name, scope="row", dir="auto"),
            tag(
                "td",
                tag(
                    "svg",
                    tag("title", f"{name}: {share(n, whole)}"),
                    tag("rect", width=f"{max(100 * n / most, 0.5):.2f}%", height=10, rx=2),
                    role="img",
                    width="100%",
                    height=10,
                ),
                class_="bar",
            ),
            tag("td", count(n), class_="number"),
            tag("td", share(n, whole), class_="number quiet"),
        )
        for name, n in rows
    ]
    numbers = (tag("th", title, scope="col", class_="number") for title in (head[1], "share"))
    header = tag("tr", tag("th", head[0], scope="col"), tag("td"), *numbers)
    return tag("table", tag("thead", header), tag("tbody", *written), class_="bars")


def sizes_chart(found: Properties) -> Html:
    """Draw how many pictures are how wide and high: darker where there are more."""
    wide, high = zip(*found.sizes, strict=True)
    (left, right), (low, top) = _octaves(wide), _octaves(high)
    cell = max(8, min(22, 420 // max(right - left, top - low)))
    most = math.log1p(max(found.sizes.values()))
    x0, height = 52, (top - low) * cell
    drawn = [
        tag(
            "rect",
            x=x0 + (w - left) * cell,
            y=height - (h - low + 1) * cell,
            width=cell - 1,
            height=cell - 1,
            rx=2,
            fill_opacity=f"{0.12 + 0.88 * math.log1p(n) / most:.2f}",
            class_="cell",
        )
        for (w, h), n in sorted(found.sizes.items())
    ]
    step = max(1, -(-60 // (cell * CELLS)))  # octaves from one label to the next
    for octave in range(-(-left // CELLS), right // CELLS + 1, step):
        x = x0 + (octave * CELLS - left) * cell
        drawn.append(tag("text", 2**octave, x=x, y=height + 16, class_="quiet tick"))
    for octave in range(-(-low // CELLS), top // CELLS + 1):
        y = height - (octave * CELLS - low) * cell
        drawn.append(tag("text", 2**octave, x=x0 - 6, y=y + 4, class_="quiet before"))
    drawn.append(tag("text", "width in pixels", x=x0, y=height + 34, class_="quiet"))
    drawn.append(tag("text", "height", x=x0 - 6, y=-14, class_="quiet before"))
    common = sorted(found.sizes.items(), key=lambda item: (-item[1], item[0]))[:40]
    rows = [(f"{_span(w)}{BY}{_span(h)}", count(n), share(n, found.looked_at)) for (w, h), n in common]
    width, full = x0 + (right - left) * cell + 30, height + 70
    described = f"{plural(found.looked_at, 'picture')}; most are {rows[0][0]} pixels."
    return joined(
        tag(
            "svg",
            tag("title", "Sizes of the pictures"),
            tag("desc", described),
            tag("g", *drawn, transform="translate(0 28)"),
            viewBox=f"0 0 {width} {full}",
            width=width,
            height=full,
            role="img",
            class_="sizes",
        ),
        folded("Numbers", table([f"width{BY}height", "pictures", "share"], rows, numbers=2)),
    )


def table(head: Sequence[str], rows: Iterable[Sequence[object]], *, numbers: int = 0, **attributes: str) -> Html:
    """Make a table whose last columns, so many, are numbers."""
    firsts = len(head) - numbers

    def line(cells: Sequence[object]) -> Html:
        made = [tag("th", cells[0], scope="row", dir="auto")]
        made += [tag("td", cell, class_="number" if n >= firsts else None) for n, cell in enumerate(cells[1:], 1)]
        return tag("tr", *made)

    titles = [tag("th", title, scope="col", class_="number" if n >= firsts else None) for n, title in enumerate(head)]
    written = tag("table", tag("thead", tag("tr", *titles)), tag("tbody", *map(line, rows)), **attributes)
    return tag("div", written, class_="scroll")


def folded(summary: object, *content: object, **attributes: str) -> Html:
    """What is there for who asks."""
    return tag("details", tag("summary", summary), *content, class_="folded", **attributes)


def _octaves(cells: Sequence[int]) -> tuple[int, int]:
    """Whole octaves around some cells, four at least: a map of one size is a map, too."""
    first, last = min(cells) // CELLS, -(-(max(cells) + 1) // CELLS)
    more = max(4 - (last - first), 0)
    return max(first - more // 2, 0) * CELLS, (last + more - more // 2) * CELLS


def _span(cell: int) -> str:
    low, high = (round(2 ** (edge / CELLS)) for edge in (cell, cell + 1))
    return f"{low} to {high}"
