"""Pictures side by side, each with its caption and scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from imagecurate.columns import CAPTION, KEY
from imagecurate.explore.blur import Blur
from imagecurate.explore.html import Html, picture, quoted, tag
from imagecurate.explore.picked import Picked
from imagecurate.explore.shown import value
from imagecurate.explore.thumbnails import Thumbnail, veil

__all__ = ["name_of", "shown_picture", "tiles"]

#: Characters of a value below a picture, some three lines.
_MOST_TEXT = 48


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
    terms = [tag("div", tag("dt", name), _value(row.get(name))) for name in columns]
    caption = value(row[CAPTION]) if row.get(CAPTION) else None
    inside = [
        tag("strong", "kept") if is_kept else None,
        tag("span", caption, class_="ic-caption", dir="auto", title=caption) if caption else None,
        tag("div", note) if note else None,
        tag("dl", *terms) if terms else None,
    ]
    classes = "ic-tile ic-kept" if is_kept else "ic-tile"
    return tag("figure", shown_picture(row, small, blur), tag("figcaption", *inside), class_=classes)


def _value(given: Any) -> Html:
    """A value below a picture; where it is long, all of it shows where one points."""
    written = value(given)
    is_long = len(written) > _MOST_TEXT
    return tag("dd", quoted(f"{written[:_MOST_TEXT]}…" if is_long else written), title=written if is_long else None)
