"""Samples of everything that became of samples, with pictures, and controls to find some among them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from imagecurate.explore.html import Html, joined, tag
from imagecurate.explore.report.cards import Card
from imagecurate.explore.report.fates import KEPT, Fate
from imagecurate.explore.report.material import Material
from imagecurate.explore.report.tiles import Tiles
from imagecurate.explore.wording import plural, share

__all__ = ["gallery", "groups_of", "link_to"]

#: Groups that are shown; there is one for each filter.
_MOST = 60
#: Samples shown of those that failed, for whatever reason.
_FAILED = 36
_ALL_FAILED: Fate = ("failed", "")


def gallery(material: Material, tiles: Tiles) -> Html | None:
    """Show samples of every fate; the filters above narrow them down."""
    groups = groups_of(material)
    if not groups:
        return None
    sources = sorted({card.source for cards in material.examples.values() for card in cards if card.source})
    shown = [
        tag(
            "section",
            tag("h3", _title(fate), " ", tag("small", f"{plural(n, 'sample')}, {share(n, material.samples)}")),
            tag("ul", *(tag("li", _tile(tiles, card)) for card in cards), class_="tiles")
            if cards
            else tag("p", "There is none to show.", class_="quiet"),
            id=_anchor(number),
            class_=f"group {fate[0]}",
            data_fate=_anchor(number),
        )
        for number, (fate, (n, cards)) in enumerate(groups.items())
    ]
    return joined(_toolbar(groups, sources), *shown)


def _tile(tiles: Tiles, card: Card) -> Html:
    return tiles.tile(card, badge=card.fate[1] if card.fate[0] == "failed" else None)


def _toolbar(groups: Mapping[Fate, tuple[int, Sequence[Card]]], sources: Sequence[str]) -> Html:
    """Controls that script brings to life; without it they stay hidden, and everything is shown."""
    chips = [tag("button", "All", type="button", aria_pressed="true", data_fate="")]
    chips += [
        tag("button", _title(fate), type="button", aria_pressed="false", data_fate=_anchor(number), class_=fate[0])
        for number, fate in enumerate(groups)
    ]
    options = [tag("option", "every source", value=""), *(tag("option", name, value=name) for name in sources)]
    return tag(
        "form",
        tag("div", *chips, class_="chips", role="group", aria_label="What became of them"),
        tag("label", "Search", " ", tag("input", type="search", placeholder="caption, key, file …")),
        tag("label", "Source", " ", tag("select", *options)) if len(sources) > 1 else None,
        tag("output", ""),
        class_="filters",
        hidden=True,
        aria_label="Filter the pictures",
    )


def groups_of(material: Material) -> dict[Fate, tuple[int, Sequence[Card]]]:
    """Samples of each fate, how many there are in all, and those that can be shown; all failures are one."""
    found = {fate: (n, material.examples.get(fate, ())) for fate, n in material.fates() if fate[0] != "failed"}
    failed = [card for fate, cards in material.examples.items() if fate[0] == "failed" for card in cards]
    failed.sort(key=lambda card: card.thumbnail.jpeg is None)
    shown = dict(list(found.items())[:_MOST]) | {_ALL_FAILED: (material.failed, failed[:_FAILED])}
    return {fate: (n, cards) for fate, (n, cards) in shown.items() if n or fate == KEPT}


def link_to(groups: Mapping[Fate, object], fate: Fate) -> str | None:
    """Name of the group of a fate on the page."""
    return _anchor(list(groups).index(fate)) if fate in groups else None


def _anchor(number: int) -> str:
    return f"fate-{number}"


def _title(fate: Fate) -> str:
    return {"kept": "Kept", "dropped": f"Dropped by {fate[1]}", "failed": "Failed"}[fate[0]]
