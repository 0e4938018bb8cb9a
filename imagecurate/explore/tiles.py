"""Pictures side by side, each with its caption and scores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from imagecurate.columns import CAPTION, KEY
from imagecurate.explore.html import Html, joined, picture, quoted, tag
from imagecurate.explore.picked import Picked
from imagecurate.explore.shown import value
from imagecurate.explore.thumbnails import Thumbnail, veil

__all__ = ["Blur", "name_of", "shown_picture", "tiles"]


@dataclass(frozen=True)
class Blur:
    """Which pictures stay covered until somebody opens them.

    Parameters
    ----------
    column : str or None
        The NSFW score; None where there is none.
    above : float or None, default=0.2
        Pictures with a greater score are covered; with None no score covers any.  0.2 is where the documented filter
        for safe pictures ends.
    unscored : bool, default=False
        Pictures without a score are covered, too.
    """

    column: str | None = None
    above: float | None = 0.2
    unscored: bool = False

    @property
    def columns(self) -> list[str]:
        """The columns that it needs."""
        return [self.column] if self.column is not None and self.above is not None else []

    def covers(self, row: dict[str, Any]) -> bool:
        """Whether the picture of a row is covered."""
        score = row.get(self.column) if self.column is not None else None
        if score is None or math.isnan(score):
            return self.unscored
        return self.above is not None and score > self.above


def tiles(
    picked: Picked,
    columns: Sequence[str],
    blur: Blur,
    *,
    notes: Sequence[str] | None = None,
    first_is_kept: bool = False,
) -> Html:
    """Show rows as tiles.

    Parameters
    ----------
    picked : Picked
    columns : sequence of str
        Shown below each picture, beside its caption.
    blur : Blur
    notes : sequence of str, optional
        A line for each row, above its columns.
    first_is_kept : bool, default=False
        The first is the one of a group that stays, and marked so.
    """
    rows = picked.table.select(picked.columns).to_pylist()
    made = picked.thumbnails()
    figures = [
        _tile(row, small, columns, blur, notes[place] if notes else None, first_is_kept and place == 0)
        for place, (row, small) in enumerate(zip(rows, made, strict=True))
    ]
    return tag("div", *figures, class_="ic-tiles")


def shown_picture(row: dict[str, Any], small: Thumbnail, blur: Blur, **attributes: object) -> Html:
    """The picture of a row, covered where it should be; a box with the reason where there is none."""
    if small.jpeg is None:
        return tag(
            "div", f"no picture: {small.error}", class_="ic-none", role="img", aria_label=f"{name_of(row)}: none"
        )
    cover = veil(small.jpeg) if blur.covers(row) else None
    return picture(small.jpeg, name_of(row), veil=cover, loading="lazy", **attributes)


def name_of(row: dict[str, Any]) -> str:
    """What to call a picture: its caption, or its key."""
    caption = row.get(CAPTION)
    return value(caption if caption and str(caption).strip() else row.get(KEY) or "picture")


def _tile(
    row: dict[str, Any], small: Thumbnail, columns: Sequence[str], blur: Blur, note: str | None, is_kept: bool
) -> Html:
    terms = [joined(tag("dt", name), tag("dd", quoted(value(row.get(name))))) for name in columns]
    caption = row.get(CAPTION)
    inside = [
        tag("strong", "kept") if is_kept else None,
        tag("span", value(caption), class_="ic-caption", dir="auto", title=caption) if caption else None,
        tag("div", note) if note else None,
        tag("dl", *terms) if terms else None,
    ]
    classes = "ic-tile ic-kept" if is_kept else "ic-tile"
    return tag("figure", shown_picture(row, small, blur), tag("figcaption", *inside), class_=classes)
