"""Numbers as people read them."""

from __future__ import annotations

import math

__all__ = ["BY", "as_bytes", "as_duration", "count", "number", "plural", "share"]

#: Between width and height.
BY = " \u00d7 "


def count(n: int) -> str:
    """Write a count: 1,204."""
    return f"{n:,}"


def plural(n: int, one: str, many: str | None = None) -> str:
    """Write a count of things.

    >>> plural(1, "sample"), plural(1204, "sample"), plural(0, "copy", "copies")
    ('1 sample', '1,204 samples', '0 copies')
    """
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def share(part: int, whole: int) -> str:
    """Write a share; what is there is never said to be 0 %, and what is missing never that all is there.

    >>> share(1, 3), share(1, 9_000_000), share(8_999_999, 9_000_000), share(0, 0)
    ('33 %', '< 0.01 %', '> 99.9 %', '0 %')
    """
    percent = 100 * part / whole if whole else 0.0
    if 0 < percent < 0.01:
        return "< 0.01 %"
    if 99.9 < percent < 100:
        return "> 99.9 %"
    digits = 0 if percent in (0, 100) or 10 <= percent <= 90 else 1 if percent >= 1 else 2
    return f"{percent:.{digits}f} %"


def number(value: float) -> str:
    """Write a measured value, or a whole number in full.

    >>> number(5.0312), number(1920.0), number(0.000123), number(12345678.0)
    ('5.031', '1,920', '0.000123', '12,345,678')
    """
    if not math.isfinite(value):
        return str(value)
    if value == int(value) and abs(value) < 1e12:
        return f"{int(value):,}"
    return f"{value:.4g}"


def as_bytes(size: float) -> str:
    """Write a number of bytes.

    >>> as_bytes(999), as_bytes(12_300_000)
    ('999 B', '12.3 MB')
    """
    units = ["B", "kB", "MB", "GB", "TB", "PB"]
    while size >= 1000 and len(units) > 1:
        size /= 1000
        del units[0]
    return f"{size:.0f} {units[0]}" if units[0] == "B" or size >= 100 else f"{size:.3g} {units[0]}"


def as_duration(seconds: float) -> str:
    """Write a time that something took.

    >>> as_duration(0.42), as_duration(75), as_duration(7300)
    ('0.42 s', '1 min 15 s', '2 h 1 min')
    """
    if seconds < 10:
        return f"{seconds:.2g} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60:,} h {minutes % 60} min"
