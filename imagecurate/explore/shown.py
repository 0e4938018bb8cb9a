"""What all results have in common: a page in a notebook, words in a terminal, a file for others."""

from __future__ import annotations

import functools
import math
import os
from abc import ABC, abstractmethod
from typing import Any

from imagecurate.explore.html import Html, framed, page, tag
from imagecurate.explore.saving import place_for, save
from imagecurate.explore.wording import number

__all__ = ["Shown", "table", "value"]

#: Characters of a text that are shown; more would be no overview.
_MOST_TEXT = 300


class Shown(ABC):
    """A result that can be looked at.

    Pictures are read when it is first looked at, not when it is made.
    """

    #: What it is, in a few words.
    title: str

    @abstractmethod
    def _content(self) -> Html:
        """The inside of the page."""

    @functools.cached_property
    def html(self) -> Html:
        """The page, as a part of another one."""
        return framed(self._content(), label=self.title)

    def _repr_html_(self) -> str:
        return str(self.html)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it as a file that any browser opens: pictures inside, no network, no script.

        Raises
        ------
        ParameterError, OutputError
            It is no path, or cannot be written.
        """
        place = place_for(path)
        save(page(self.title, self.html).encode(), place)


def value(given: Any) -> str:
    """A value of any column as a short text.

    >>> value(None), value(0.25), value("a" * 1000)[-3:], value([0.0] * 512), value(True)
    ('null', '0.25', 'aa…', '512 numbers', 'yes')
    """
    if isinstance(given, bool):
        return "yes" if given else "no"
    if given is None or (isinstance(given, float) and math.isnan(given)):
        return "null"
    if isinstance(given, int | float):
        return number(given)
    if isinstance(given, list) and len(given) > 8 and all(isinstance(each, int | float) for each in given[:8]):
        return f"{len(given)} numbers"
    written = str(given)
    return written if len(written) <= _MOST_TEXT else written[: _MOST_TEXT - 1] + "…"


def table(headings: list[str], rows: list[list[Any]], caption: str | None = None) -> Html:
    """A table; numbers stand to the right."""
    head = tag("tr", *(tag("th", heading, scope="col") for heading in headings))
    body = (tag("tr", *(cell if isinstance(cell, Html) else _cell(cell) for cell in row)) for row in rows)
    return tag("table", tag("caption", caption) if caption else None, tag("thead", head), tag("tbody", *body))


def _cell(given: Any) -> Html:
    is_number = isinstance(given, int | float) and not isinstance(given, bool)
    return tag("td", value(given), class_="ic-number" if is_number else None)
