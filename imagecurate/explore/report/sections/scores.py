"""How scores are spread, where the thresholds lie, and which samples they barely took or barely left."""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter

from imagecurate.explore.html import Html, joined, tag
from imagecurate.explore.report.cards import Card
from imagecurate.explore.report.histogram import Histogram
from imagecurate.explore.report.histogram_chart import histogram_chart
from imagecurate.explore.report.limits import Limit
from imagecurate.explore.report.material import Material
from imagecurate.explore.report.picks import refs
from imagecurate.explore.report.tiles import Tiles, fate_text
from imagecurate.explore.wording import count, number, plural, share

__all__ = ["scores"]


def scores(material: Material, tiles: Tiles) -> Html | None:
    """Show a histogram of each quantity; those with thresholds come first, with the samples on both sides."""
    found = [(name, each) for name, each in material.answers.histograms.items() if each.total]
    if not found:
        return None
    limited = {limit.quantity for limit in material.asked.limits}
    said = "Scores of the kept samples: an output folder has no others." if material.kept_only else None
    plain = [_block(material, tiles, *item) for item in found if item[0] not in limited]
    return joined(
        tag("p", said, class_="quiet") if said else None,
        tag(
            "p",
            tag("span", "kept", class_="key kept"),
            None if material.kept_only else tag("span", "dropped or failed, here or elsewhere", class_="key others"),
            class_="keys",
        ),
        *(_block(material, tiles, *item) for item in found if item[0] in limited),
        tag("div", *plain, class_="columns") if plain else None,
    )


def _block(material: Material, tiles: Tiles, name: str, histogram: Histogram) -> Html:
    limits = [limit for limit in material.asked.limits if limit.quantity == name]
    lines = [f"{plural(histogram.total, 'value')} from {number(histogram.low)} to {number(histogram.high)}"]
    if histogram.missing:
        lines.append(f"{count(histogram.missing)} without")
    if histogram.not_finite:
        lines.append(f"{count(histogram.not_finite)} not finite")
    return tag(
        "article",
        tag("h3", tag("code", name)),
        tag("p", ", ".join(lines), ".", class_="quiet small"),
        histogram_chart(name, histogram, limits),
        *(_edge(material, tiles, limit, histogram) for limit in limits),
        class_="score",
    )


def _edge(material: Material, tiles: Tiles, limit: Limit, histogram: Histogram) -> Html:
    """Show the samples nearest to a threshold, below it and above."""
    passing = material.answers.passing[limit]
    rises = limit.operator in (">", ">=")
    sides = [(not rises, "just below"), (rises, "just above")]
    return tag(
        "section",
        tag(
            "p",
            tag("b", str(limit)),
            f" in filter “{limit.filter}”: {plural(passing, 'sample')} with a value pass, "
            f"{share(passing, histogram.total + histogram.not_finite)}.",
        ),
        tag(
            "div",
            *(_side(material, tiles, limit, passes, f"{words} {number(limit.value)}") for passes, words in sides),
            class_="sides",
        ),
        class_="edge",
    )


def _side(material: Material, tiles: Tiles, limit: Limit, passes: bool, words: str) -> Html:
    near = material.answers.borderline.get((limit, passes))
    shown: Sequence[tuple[float, Card]] = []
    if near is not None:
        pairs = zip(near["value"].tolist(), refs(near), strict=True)
        shown = sorted(
            ((value, material.cards[ref]) for value, ref in pairs if ref in material.cards), key=itemgetter(0)
        )
    items = [tag("li", tiles.tile(card, number(value), fate_text(card))) for value, card in shown]
    return tag(
        "div",
        tag("h4", words.capitalize(), tag("small", " passes" if passes else " does not pass")),
        tag("ul", *items, class_="tiles small") if items else tag("p", "None to show.", class_="quiet"),
        class_="passes" if passes else "fails",
    )
