"""Errors that imagecurate raises on purpose.

Each is also a builtin, so that ``except ValueError`` keeps its meaning, and says in one sentence what was
expected, what was found and where; after a blank line a ``Hint:`` gives the thing to type.  The wording lives
in classmethods: Dask pickles exceptions, and a plain ``__init__`` survives that.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Self

__all__ = [
    "ClusterError",
    "ColumnExistsError",
    "ColumnNotFoundError",
    "ExpressionError",
    "ImageCurateError",
    "MaskError",
    "MissingDependencyError",
    "OutputError",
    "ParameterError",
    "ShardError",
    "StageError",
    "Stopped",
    "StrictError",
    "WeightsError",
]


def listed(items: Iterable[object], most: int = 10) -> str:
    """Join items for a message, cut after ``most`` with the total.

    >>> listed(["key", "caption"])
    'key, caption'
    >>> listed(range(100), most=3)
    '0, 1, 2, … (100 in all)'
    """
    every = [str(item) for item in items]
    if len(every) <= most:
        return ", ".join(every)
    return ", ".join(every[:most]) + f", … ({len(every)} in all)"


def near_miss(name: str, known: Iterable[str]) -> str | None:
    """The known name that ``name`` was probably meant to be, or None.

    >>> near_miss("aestetic_score", ["key", "aesthetic_score"])
    'aesthetic_score'
    """
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return matches[0] if matches else None


def with_hint(message: str, hint: str | None) -> str:
    """Put the hint a blank line below the message."""
    return f"{message}\n\nHint: {hint}" if hint else message


class ImageCurateError(Exception):
    """Base of every error that imagecurate raises on purpose."""

    @classmethod
    def because(cls, message: str, hint: str | None = None) -> Self:
        """Make an error of this class from one sentence and, where there is one, the thing to type."""
        return cls(with_hint(message, hint))


class ParameterError(ImageCurateError, ValueError):
    """An argument has the wrong type or lies outside its range."""


class ColumnNotFoundError(ImageCurateError, KeyError):
    """A column was named that the dataset does not have at that step."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""  # KeyError would print the repr

    @classmethod
    def among(cls, missing: str, available: Iterable[str], hint: str | None = None) -> Self:
        """Name the missing column, those that exist, and the likely near miss."""
        names = list(available)
        guess = near_miss(missing, names)
        if hint is None and guess is not None:
            hint = f"did you mean {guess!r}?"
        return cls(with_hint(f"column {missing!r} not found; the dataset has: {listed(names, 20)}", hint))


class ColumnExistsError(ImageCurateError, ValueError):
    """A stage would write a column that is already there."""


class ExpressionError(ImageCurateError, ValueError):
    """A filter expression cannot be parsed, or compares things that do not compare."""


class MaskError(ImageCurateError, ValueError):
    """A mask does not belong to the dataset that it should filter."""


class StageError(ImageCurateError, RuntimeError):
    """A stage itself, not one sample, is at fault."""


class StrictError(ImageCurateError, RuntimeError):
    """A sample failed in a run that was asked to stop at the first failure."""


class Stopped(ImageCurateError, RuntimeError):  # noqa: N818 - it is no fault: the run was asked to stop
    """A run was asked to stop; what it finished is kept, and the same run goes on from there."""


class ClusterError(ImageCurateError, RuntimeError):
    """A cluster cannot be reached or started, or was lost."""


class WeightsError(ImageCurateError, OSError):
    """Model weights cannot be found, fetched or trusted."""


class ShardError(ImageCurateError, OSError):
    """Shards cannot be found or described; damage inside a shard is data, not an error."""


class OutputError(ImageCurateError, OSError):
    """An output cannot be written where it was asked for."""


class MissingDependencyError(ImageCurateError, ImportError):
    """A feature needs a package that is not installed; the message holds the exact command."""

    @classmethod
    def for_feature(cls, feature: str, package: str, extra: str) -> Self:
        """Say what needs which package and how to install it."""
        return cls(
            with_hint(f"{feature} needs {package}, which is not installed", f"pip install 'imagecurate[{extra}]'")
        )
