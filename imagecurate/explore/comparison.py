"""Two samples beside each other."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from imagecurate.explore.blur import Blur
from imagecurate.explore.html import Html, joined, tag
from imagecurate.explore.kinds import is_vectors
from imagecurate.explore.lookalikes import cosine
from imagecurate.explore.picked import Picked
from imagecurate.explore.shown import Shown, table, value
from imagecurate.explore.tiles import name_of, tiles
from imagecurate.explore.wording import number

__all__ = ["Comparison"]


@dataclass(eq=False)
class Comparison(Shown):
    """Two samples beside each other.

    Attributes
    ----------
    picked : Picked
        The two rows.
    similarity : dict of str to float
        For each column of vectors, the cosine of the two; NaN where one has none.
    """

    picked: Picked = field(repr=False)
    blur: Blur = field(default_factory=Blur, repr=False)
    title: str = field(default="Comparison of two samples", init=False)

    def __post_init__(self) -> None:
        vectors = [name for name in self.picked.columns if is_vectors(self.picked.table.schema.field(name).type)]
        self.similarity = {name: _cosine(*self.picked.table[name].to_pylist()) for name in vectors}

    @property
    def frame(self) -> pd.DataFrame:
        """One row a column: its value in ``a`` and in ``b``, and whether it is the ``same``."""
        a, b = self._rows
        names = self.picked.columns
        return pd.DataFrame(
            {
                "a": [a[name] for name in names],
                "b": [b[name] for name in names],
                "same": [_same(a[n], b[n]) for n in names],
            },
            index=names,
            dtype=object,
        )

    def __repr__(self) -> str:
        a, b = self._rows
        lines = [self.title, *self._said()]
        lines += [
            f"  {' ' if _same(a[name], b[name]) else '≠'} {name}: {value(a[name])} | {value(b[name])}"
            for name in self.picked.columns
        ]
        return "\n".join(lines)

    @property
    def _rows(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.picked.table.select(self.picked.columns).to_pylist()
        return rows

    def _said(self) -> list[str]:
        known = {name: each for name, each in self.similarity.items() if not np.isnan(each)}
        return [f"Cosine of the two by {name}: {number(each)}." for name, each in known.items()]

    def _content(self) -> Html:
        a, b = self._rows
        rows = [
            [
                tag("td", "" if _same(a[name], b[name]) else "≠"),
                tag("th", name, scope="row"),
                *(tag("td", value(row[name]), dir="auto") for row in (a, b)),
            ]
            for name in self.picked.columns
        ]
        return joined(
            tag("p", tag("strong", self.title)),
            tiles(self.picked, [], self.blur),
            *(tag("p", said) for said in self._said()),
            tag("div", table(["", "column", name_of(a)[:60], name_of(b)[:60]], rows), class_="ic-scroll"),
        )


def _cosine(a: list[float] | None, b: list[float] | None) -> float:
    if not a or not b or len(a) != len(b) or None in a or None in b:
        return float("nan")
    return float(cosine(np.array([a], np.float32), np.array(b, np.float32))[0])


def _same(a: Any, b: Any) -> bool:
    return bool(a == b) or (a != a and b != b)
