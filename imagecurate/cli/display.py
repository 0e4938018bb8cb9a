"""How commands show things: tables as wide as the terminal, sentences, numbers that people read."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

__all__ = ["as_bytes", "as_duration", "console", "print_json", "print_lines", "table"]

_BYTES = ("B", "kB", "MB", "GB", "TB", "PB")


def console() -> Console:
    """Standard output; 100 columns where it is no terminal."""
    return Console(file=sys.stdout, width=None if sys.stdout.isatty() else 100)


def print_lines(lines: Iterable[str]) -> None:
    """Print sentences as they are."""
    out = console()
    for line in lines:
        out.print(line, highlight=False, markup=False, soft_wrap=True)


def print_json(document: Any) -> None:
    """Print one JSON document."""
    print(json.dumps(document, indent=1, ensure_ascii=False, default=str))


def table(headings: Iterable[str], rows: Iterable[Iterable[object]], title: str | None = None) -> Table:
    """Make a table; a heading that ends in ``>`` is of a column of numbers."""
    made = Table(title=title, title_justify="left")
    for heading in headings:
        made.add_column(heading.rstrip(">"), justify="right" if heading.endswith(">") else "left", overflow="fold")
    for row in rows:
        made.add_row(*(escape(str(cell)) for cell in row))
    return made


def as_bytes(count: float) -> str:
    """Write a number of bytes.

    >>> as_bytes(999), as_bytes(12_300_000)
    ('999 B', '12.3 MB')
    """
    for unit in _BYTES:
        if abs(count) < 999.5 or unit == _BYTES[-1]:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.3g} {unit}"
        count /= 1000
    raise AssertionError


def as_duration(seconds: float) -> str:
    """Write a time.

    >>> as_duration(0.2), as_duration(75), as_duration(28_200), as_duration(400_000)
    ('0.2 s', '1 min 15 s', '7 h 50 min', '4 d 15 h')
    """
    if seconds < 60:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = seconds / 60
    if minutes < 60:
        return f"{int(minutes)} min {int(seconds) % 60} s"
    if minutes < 48 * 60:
        return f"{int(minutes // 60)} h {int(minutes % 60)} min"
    return f"{int(minutes // 1440)} d {int(minutes % 1440 // 60)} h"
