"""A map of embeddings: each sample a dot, near ones alike, with its picture where one points."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from imagecurate.columns import KEY, SAMPLE_ID, matrix, regular
from imagecurate.explore.basis import settled
from imagecurate.explore.best import Best
from imagecurate.explore.blur import Blur
from imagecurate.explore.html import Html, embedded, joined, tag
from imagecurate.explore.kinds import is_number
from imagecurate.explore.look import Look, Seen, Survey
from imagecurate.explore.picked import Picked
from imagecurate.explore.rows import Rows
from imagecurate.explore.shown import Shown, value
from imagecurate.explore.thumbnails import veil
from imagecurate.explore.tiles import name_of
from imagecurate.explore.wording import number, plural

__all__ = ["EmbeddingMap", "drawn_rows"]

#: Units of the view box, about pixels; of the plot, and of the pictures that dots show.
_WIDTH, _HEIGHT, _PEEK = 760, 520, 120
#: Values of a column that have a colour of their own; the others share one.
_MOST_COLOURS = 8
#: Okabe and Ito, "Color universal design" (2008): colours that colour-blind people tell apart; black is left out.
_CATEGORIES = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#8250df")
_OTHERS = "#808080"


@dataclass(frozen=True)
class _Drawn(Best):
    """Chooses rows at random, among those with a vector of finite numbers."""

    seed: int = 0
    drops_nulls = True

    def groups(self, seen: Seen) -> pa.Array:
        column = seen.columns[str(self.value)]
        whole = regular(column)
        vectors, valid = matrix(column.filter(pa.array(whole)))
        usable = np.zeros(len(column), np.bool_)
        usable[np.flatnonzero(whole)[valid]] = np.isfinite(vectors).all(axis=1) & (vectors.shape[1] > 0)
        return pa.array(np.zeros(len(column), np.int8), mask=~usable)

    def values(self, seen: Seen) -> pa.Array:
        # By position, so that the same rows are drawn whichever others are looked at.
        draws = np.random.default_rng((self.seed, seen.number)).random(int(seen.positions.max(initial=-1)) + 1)
        return pa.array(draws[seen.positions])


def drawn_rows(rows: Rows, column: str, n: int, sample: float | None, seed: int) -> Survey[pa.Table | None]:
    """Draw ``n`` rows that have a vector, at random, out of what is known or of a sample; see `settled`."""
    choose = _Drawn(n, column, order="ascending", seed=seed)

    def attempt(look: Look) -> Survey[pa.Table | None]:
        def merge(parts: Iterator[pa.Table]) -> pa.Table | None:
            return choose.merge(parts)

        return rows.survey(f"looking at {column}", choose, (column,), look, merge)

    return settled(attempt, sample, seed, n)


@dataclass(eq=False)
class EmbeddingMap(Shown):
    """Embeddings in the plane of their two main directions (PCA).

    Attributes
    ----------
    column : str
        The vectors.
    picked : Picked
        The samples.
    color : str or None
        The column that colours them.
    points : array of shape (n, 2), float64
        Where each sample lies.
    explained : tuple of float
        The share of the variance that each of the two directions explains: where it is little, what looks near may be
        far.
    """

    column: str
    picked: Picked = field(repr=False)
    color: str | None = None
    pictures: int = 200
    blur: Blur = field(default_factory=Blur, repr=False)

    def __post_init__(self) -> None:
        self.title = f"Map of {self.column}"
        column = self.picked.table[self.column].combine_chunks()
        whole = np.flatnonzero(regular(column))  # of one length in a shard, which need not be that of another
        self.picked = self.picked.take(whole.tolist())
        vectors, _ = matrix(column.take(pa.array(whole)))
        self.points, self.explained = _flat(vectors)

    def __len__(self) -> int:
        return len(self.picked)

    def __bool__(self) -> bool:
        return True

    @property
    def frame(self) -> pd.DataFrame:
        """``sample_id``, ``key``, ``x``, ``y`` and the column of the colour."""
        columns = [SAMPLE_ID, KEY, *([self.color] if self.color and self.color not in (SAMPLE_ID, KEY) else [])]
        frame = self.picked.frame[columns].copy()
        frame.insert(2, "x", self.points[:, 0])
        frame.insert(3, "y", self.points[:, 1])
        return frame

    def __repr__(self) -> str:
        return f"{self.title}: {self._said}\n{self.frame.to_string(max_rows=10)}" if len(self) else self._nothing

    @property
    def _said(self) -> str:
        first, second = (f"{100 * each:.0f} %" for each in self.explained)
        return f"{plural(len(self), 'sample')}; the two directions explain {first} and {second} of the variance."

    @property
    def _nothing(self) -> str:
        return f"{self.title}: no sample that was looked at has a vector."

    def _content(self) -> Html:
        heading = tag("p", tag("strong", self.title))
        if not len(self):
            return joined(heading, tag("p", self._nothing, class_="ic-quiet"))
        colours, legend = self._colours()
        places = _on_page(self.points)
        dots = [
            tag("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r=3.5, fill=colour, fill_opacity=0.8, class_="ic-dot")
            for (x, y), colour in zip(places, colours, strict=True)
        ]
        # Pictures above all dots, for what is drawn later lies on top.
        svg = tag(
            "svg",
            *dots,
            *self._peeks(places),
            role="group",
            aria_label=f"{self.title}: {self._said}",
            viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
            width=_WIDTH,
        )
        return joined(heading, svg, legend, tag("p", self._said, class_="ic-quiet"))

    def _peeks(self, places: NDArray[np.float64]) -> Iterator[Html]:
        """What shows the picture of a dot, for as many dots as have one, spread over all."""
        shown = np.unique(np.linspace(0, len(self) - 1, min(self.pictures, len(self))).astype(int)).tolist()
        picked = self.picked.take(shown)
        rows = picked.table.select([name for name in picked.columns if name != self.column]).to_pylist()
        for place, row, small in zip(shown, rows, picked.thumbnails(_PEEK), strict=True):
            if small.jpeg is None:
                continue
            jpeg = veil(small.jpeg) if self.blur.covers(row) else small.jpeg
            (x, y), name = places[place], name_of(row)
            said = name if self.color is None else f"{name}; {self.color}: {value(row.get(self.color))}"
            yield tag(
                "g",
                tag("title", said),
                tag("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r=6, fill="transparent"),
                tag(
                    "image",
                    href=embedded(jpeg),
                    x=f"{min(x + 8, _WIDTH - _PEEK):.1f}",
                    y=f"{min(max(y - _PEEK / 2, 0), _HEIGHT - _PEEK):.1f}",
                    width=_PEEK,
                    height=_PEEK,
                    class_="ic-peek",
                ),
                class_="ic-point",
                tabindex=0,
                role="img",
                aria_label=said,
            )

    def _colours(self) -> tuple[Sequence[str], Html | None]:
        """The colour of each dot, and what the colours mean."""
        if self.color is None:
            return ["var(--ic-bar)"] * len(self), None
        given = self.picked.table[self.color].to_pylist()
        if is_number(self.picked.table.schema.field(self.color).type):
            given = [None if each is None else float(each) for each in given]
        numbers = [each for each in given if _is_number(each)]
        if len(set(numbers)) > _MOST_COLOURS:
            low, high = min(numbers), max(numbers)
            span = high / 2 - low / 2  # the whole may be beyond the largest double
            shades = [_shade((each / 2 - low / 2) / span) if _is_number(each) else _OTHERS for each in given]
            ramp = [_swatch(_shade(part), number(low + 2 * part * span)) for part in (0, 0.25, 0.5, 0.75, 1)]
            return shades, tag("p", self.color, " ", *ramp)
        counts = pd.Series([value(each) for each in given]).value_counts()
        named = dict(zip(counts.index[:_MOST_COLOURS], _CATEGORIES, strict=False))
        rest = len(counts) - len(named)
        legend = [_swatch(colour, name) for name, colour in named.items()]
        legend += [_swatch(_OTHERS, f"{rest} others")] if rest else []
        return [named.get(value(each), _OTHERS) for each in given], tag("p", self.color, " ", *legend)


def _flat(vectors: NDArray[np.float32]) -> tuple[NDArray[np.float64], tuple[float, float]]:
    """Two main directions of vectors, and the share of the variance that each explains; the signs are fixed."""
    from sklearn.decomposition import PCA

    count, width = vectors.shape
    directions = min(2, count, width)
    points = np.zeros((count, 2))
    if count < 2 or np.ptp(vectors, axis=0).max() == 0:
        return points, (0.0, 0.0)
    pca = PCA(directions, svd_solver="randomized" if width > 64 else "full", random_state=0)
    points[:, :directions] = pca.fit_transform(vectors.astype(np.float64))
    first, second = itertools.islice([*pca.explained_variance_ratio_.tolist(), 0.0], 2)
    return points, (first, second)


def _on_page(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Where the dots are on the page; one scale for both axes, or distances would lie."""
    low, high = points.min(axis=0), points.max(axis=0)
    scale = min((_WIDTH - 20) / (high[0] - low[0] or 1), (_HEIGHT - 20) / (high[1] - low[1] or 1))
    middle = (low + high) / 2
    placed: NDArray[np.float64] = (points - middle) * scale * [1, -1] + [_WIDTH / 2, _HEIGHT / 2]
    return placed


def _shade(part: float) -> str:
    """A colour from blue over violet to orange, of about one lightness: seen on light ground and on dark.

    Each has a contrast of 3 to either ground (WCAG 2.2, 1.4.11), and colour-blind people tell the ends apart.
    """
    stops = np.array([[40, 110, 200], [130, 96, 190], [200, 80, 125], [214, 104, 20]])
    at = min(max(part, 0.0), 1.0) * 3
    first = min(int(at), 2)
    red, green, blue = (stops[first] + (stops[first + 1] - stops[first]) * (at - first)).astype(int).tolist()
    return f"#{red:02x}{green:02x}{blue:02x}"


def _swatch(colour: str, name: str) -> Html:
    svg = tag("svg", tag("circle", cx=5, cy=5, r=5, fill=colour), viewBox="0 0 10 10", class_="ic-swatch")
    return tag("span", svg, tag("bdi", name), " ")


def _is_number(given: Any) -> bool:
    return isinstance(given, float) and math.isfinite(given)
