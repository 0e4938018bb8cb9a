"""A gallery: pictures in an order, or in groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pandas as pd

from imagecurate.columns import CAPTION, KEY
from imagecurate.explore.blur import Blur
from imagecurate.explore.html import Html, joined, quoted, tag
from imagecurate.explore.picked import Picked
from imagecurate.explore.shown import Shown
from imagecurate.explore.thumbnails import thumbnail
from imagecurate.explore.tiles import shown_picture, tiles
from imagecurate.explore.wording import plural

__all__ = ["Gallery", "Group"]


@dataclass(frozen=True)
class Group:
    """Some rows of a gallery that belong together.

    Attributes
    ----------
    name : str
        What they have in common.
    places : tuple of int
        Their places among the rows of the gallery.
    count : int or None
        How many there are in all, as far as that was counted.
    notes : tuple of str
        A line for each of the rows; empty where there is nothing to say.
    has_kept : bool
        The first is the one that stays.
    """

    name: str
    places: tuple[int, ...]
    count: int | None = None
    notes: tuple[str, ...] = ()
    has_kept: bool = False


@dataclass(eq=False)
class Gallery(Shown):
    """Pictures with captions and scores.

    Attributes
    ----------
    title : str
        What is shown, and in which order.
    picked : Picked
        The rows, and access to their image files: ``picked.files()``.
    columns : list of str
        Shown below each picture.
    groups : list of Group
        One, without a name, where nothing groups them.
    empty : str
        What to say where there is nothing to show.
    """

    title: str
    picked: Picked = field(repr=False)
    columns: Sequence[str] = ()
    blur: Blur = field(default_factory=Blur)
    groups: Sequence[Group] = ()
    empty: str = "No sample is left to show."
    #: What was asked for, shown above all others: a sample, or an image file.
    lead: Picked | bytes | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.picked)

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        if not len(self):
            return f"{self.title}: {self.empty}"
        rows = self.rows.to_string(max_rows=20, max_colwidth=60)
        return f"{self.title}\n{rows}\nsave('gallery.html') writes them with their pictures"

    @property
    def rows(self) -> pd.DataFrame:
        """The rows that are shown, in order, as pandas."""
        return self.picked.frame

    def _content(self) -> Html:
        heading = joined(tag("p", tag("strong", self.title)), self._lead())
        if not len(self):
            return joined(heading, tag("p", self.empty, class_="ic-quiet"))
        if not self.groups:
            return joined(heading, tiles(self.picked, self.columns, self.blur))
        return joined(heading, tag("div", *(self._section(group) for group in self.groups), class_="ic-groups"))

    def _lead(self) -> Html | None:
        if self.lead is None:
            return None
        if isinstance(self.lead, Picked):
            return joined(tag("h4", "The query"), tiles(self.lead, [KEY], self.blur))
        shown = shown_picture({CAPTION: "the query"}, thumbnail(self.lead), Blur())
        return joined(tag("h4", "The query"), tag("div", tag("figure", shown, class_="ic-tile"), class_="ic-tiles"))

    def _section(self, group: Group) -> Html:
        of = "" if group.count is None else f" ({plural(group.count, 'sample')})"
        return tag(
            "div",
            tag("h4", quoted(group.name), of),
            tiles(
                self.picked.take(group.places),
                self.columns,
                self.blur,
                notes=group.notes or None,
                first_is_kept=group.has_kept,
            ),
        )
