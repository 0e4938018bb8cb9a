"""The levels of deduplication that left their marks on a dataset, and what these say of nearness."""

from __future__ import annotations

from collections.abc import Collection

from imagecurate.columns import DUPLICATE_OF

__all__ = ["GROUP_OF", "away", "levels", "nearness_of", "nearness_said"]

#: How the column is called in which each level names the group of a row.
GROUP_OF = "_duplicate_group"

#: How a level says how near two are, and the sign that makes the nearest the least.
_NEARNESS = {"_similarity": -1.0, "_distance": 1.0}


def levels(columns: Collection[str]) -> list[str]:
    """Levels that have left their marks.

    >>> levels(["key", "exact_duplicate_of", "exact_duplicate_group"])
    ['exact']
    """
    marked = [name.removesuffix(DUPLICATE_OF) for name in columns if name.endswith(DUPLICATE_OF)]
    return [level for level in marked if level + GROUP_OF in columns]


def nearness_of(level: str, columns: Collection[str]) -> str | None:
    """The column in which a level says how near a row is to the one that it duplicates.

    >>> nearness_of("semantic", ["key", "semantic_similarity"])
    'semantic_similarity'
    """
    return next((level + ending for ending in _NEARNESS if level + ending in columns), None)


def away(nearness: str) -> float:
    """The sign by which the values of such a column become less for what is nearer."""
    return next(sign for ending, sign in _NEARNESS.items() if nearness.endswith(ending))


def nearness_said(level: str, nearness: str) -> str:
    """What such a column says, without the level.

    >>> nearness_said("semantic", "semantic_similarity")
    'similarity'
    """
    return nearness.removeprefix(f"{level}_")
