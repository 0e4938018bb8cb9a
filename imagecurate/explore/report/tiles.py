"""A sample on the page: its picture, which opens large, and what is known of it."""

from __future__ import annotations

from imagecurate.explore.blur import Blur
from imagecurate.explore.html import Html, embedded, tag
from imagecurate.explore.report.cards import LARGEST_SIDE, Card
from imagecurate.explore.thumbnails import thumbnail, veil
from imagecurate.explore.wording import BY, number

__all__ = ["Tiles", "fate_text"]


class Tiles:
    """Makes tiles, with pictures of one size.

    Parameters
    ----------
    blur : Blur
    side : int
        Most pixels of the longer side of a picture.
    """

    def __init__(self, blur: Blur, side: int) -> None:
        self._blur = blur
        self._side = side

    def tile(self, card: Card, note: str | None = None, badge: str | None = None) -> Html:
        """Make one tile."""
        return tag(
            "figure",
            self._picture(card),
            tag(
                "figcaption",
                tag("span", badge, class_="badge") if badge else None,
                tag("b", note, class_="note") if note else None,
                tag("span", card.caption or card.key or card.sample_id, class_="caption", dir="auto"),
                _facts(card),
            ),
            class_=f"tile {card.fate[0]}",
            data_source=card.source,
        )

    def _picture(self, card: Card) -> Html:
        jpeg, alt = card.thumbnail.jpeg, _alt(card)
        if jpeg is None:
            reason = card.detail or card.thumbnail.error or "no picture"
            return _opener(tag("span", reason, class_="none"), f"Details of {alt}")
        if self._side < LARGEST_SIDE:
            jpeg = thumbnail(jpeg, self._side).jpeg or jpeg
        shown = _opener(tag("img", src=embedded(jpeg), alt=alt, loading="lazy"))
        if not self._blur.covers({str(self._blur.column): card.nsfw}):
            return shown
        cover = tag("img", src=embedded(veil(jpeg)), alt=f"blurred picture, open to see: {alt}")
        return tag("details", tag("summary", cover, tag("span", "Show")), shown, class_="veiled")


def fate_text(card: Card) -> str:
    """Say what became of a sample."""
    status, reason = card.fate
    return {"kept": "kept", "dropped": f"dropped by {reason}", "failed": f"failed: {reason}"}[status]


def _opener(content: Html, label: str | None = None) -> Html:
    return tag("button", content, type="button", class_="open", aria_label=label)


def _alt(card: Card) -> str:
    return card.caption[:200] if card.caption else f"sample {card.key or card.sample_id}, without a caption"


def _facts(card: Card) -> Html:
    """What is shown only beside the large picture."""
    facts: list[tuple[str, str | None]] = [
        ("became", fate_text(card)),
        ("why", card.detail),
        ("size", f"{card.width}{BY}{card.height}" if card.width and card.height else None),
        *((name, number(value)) for name, value in card.values.items()),
        *((f"{level} duplicate of", name) for level, name in card.duplicate_of.items()),
        ("key", card.key),
        ("file", card.file),
        ("shard", card.shard),
        ("source", card.source),
    ]
    known = [tag("div", tag("dt", name), tag("dd", value, dir="auto")) for name, value in facts if value]
    return tag("dl", *known, class_="facts")
