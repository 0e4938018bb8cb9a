"""Groups of duplicates side by side, the kept one first, and the pairs that are least alike."""

from __future__ import annotations

from imagecurate.explore.html import Html, joined, tag
from imagecurate.explore.levels import nearness_said
from imagecurate.explore.report.cards import Card
from imagecurate.explore.report.fates import KEPT
from imagecurate.explore.report.groups import DrawnGroup, Level
from imagecurate.explore.report.material import Material
from imagecurate.explore.report.picks import refs
from imagecurate.explore.report.questions import column_text
from imagecurate.explore.report.tiles import Tiles, fate_text
from imagecurate.explore.wording import count, number, plural

__all__ = ["GROUPS", "PAIRS", "duplicates"]

#: Groups and pairs of each level that are shown.
GROUPS = 8
PAIRS = 6


def duplicates(material: Material, tiles: Tiles) -> Html | None:
    """Show what each level of deduplication found."""
    if material.kept_only and material.answers.levels:
        return tag("p", "Groups are in the store of the run: the report of the dataset or the pipeline shows them.")
    levels = [level for level in material.answers.levels.values() if level.marked]
    looked = [level.name for level in material.answers.levels.values() if not level.marked]
    if not levels and not looked:
        return None
    none = tag("p", f"No {' and no '.join(looked)} duplicates were found.") if looked else None
    return joined(*(_level(material, tiles, level) for level in levels), none)


def _level(material: Material, tiles: Tiles, level: Level) -> Html:
    drawn = level.shown(GROUPS)
    marked = plural(level.marked, "sample duplicates another", "samples duplicate another")
    more = f" Shown are {count(len(drawn))}, half of them the largest of those drawn." if level.groups > GROUPS else ""
    return tag(
        "article",
        tag("h3", level.name.capitalize()),
        tag("p", f"{marked}, in {plural(level.groups, 'group')}.{more}"),
        tag("div", *(_group(material, tiles, level, group) for group in drawn), class_="groups"),
        _doubtful(material, tiles, level),
        class_="level",
    )


def _group(material: Material, tiles: Tiles, level: Level, group: DrawnGroup) -> Html | None:
    items = []
    for marked, ref in group.members:
        if ref in material.cards:
            card = material.cards[ref]
            items.append(tag("li", tiles.tile(card, _nearness(level, card) if marked else None, _word(marked, card))))
    if not items:
        return None
    rest = group.size - len(items)
    items += [tag("li", f"and {count(rest)} more", class_="rest")] if rest > 0 else []
    return tag("ul", *items, class_="tiles small", aria_label=f"a group of {count(group.size)}")


def _doubtful(material: Material, tiles: Tiles, level: Level) -> Html | None:
    """Show the samples that are least like what they duplicate: here a threshold errs first."""
    pairs = []
    for ref in refs(level.doubtful[:PAIRS]):
        card = material.cards.get(ref)
        other = None if card is None else material.by_id.get(card.duplicate_of.get(level.name, ""))
        if card is not None and other is not None:
            nearness = _nearness(level, card)
            both = [
                tag("li", tiles.tile(other, None, _word(False, other))),
                tag("li", tiles.tile(card, nearness, _word(True, card))),
            ]
            pairs.append(tag("ul", *both, class_="tiles small", aria_label="a pair"))
    if not pairs:
        return None
    title = tag("h4", "Least alike", tag("small", " where a mistake would show first"))
    return joined(title, tag("div", *pairs, class_="groups"))


def _nearness(level: Level, card: Card) -> str | None:
    value = None if level.nearness is None else card.values.get(column_text(level.nearness))
    return None if value is None else f"{nearness_said(level.name, str(level.nearness))} {number(value)}"


def _word(marked: bool, card: Card) -> str:
    """What a sample is here; of one that stays in its group, what became of it elsewhere, too."""
    if marked:
        return "duplicate"
    return "kept" if card.fate == KEPT else f"stays here, {fate_text(card)}"
