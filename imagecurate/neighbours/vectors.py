"""Vectors in parts, what makes them comparable, and the one formula that decides.

Matrix products round differently for every shape and number of threads.  They are used to find pairs that may be near,
with a margin for their rounding; within the margin :func:`cosine` decides, whose sums have one order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["ArrayVectors", "Run", "Vectors", "cosine", "farthest", "one_after_the_other", "product_error", "unit_rows"]

Item = TypeVar("Item")
Result = TypeVar("Result")

#: Rows whose float64 copies are held at a time.
BLOCK_ROWS = 4096


class Vectors(Protocol):
    """Rows of float32 in parts, read where they are needed: on workers, so it must be picklable."""

    @property
    def sizes(self) -> Sequence[int]:
        """Rows of each part."""
        ...

    def read(self, part: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Read a part: its rows, of shape (rows, d), and which of them hold a vector."""
        ...


class Run(Protocol):
    """Runs a task for each item, perhaps side by side or elsewhere, and gives the results in the order of the items."""

    def __call__(self, task: Callable[[Item], Result], items: Iterable[Item], /) -> Iterator[Result]: ...


def one_after_the_other(task: Callable[[Item], Result], items: Iterable[Item], /) -> Iterator[Result]:
    """Run a task for each item here; the simplest :class:`Run`."""
    return map(task, items)


@dataclass(frozen=True)
class ArrayVectors:
    """An array in memory as :class:`Vectors`.

    Parameters
    ----------
    array : array of shape (n, d)
    valid : array of shape (n,), bool, optional
        Rows that hold a vector; all by default.
    part_rows : int, default=4096
        Rows of each part.
    """

    array: NDArray[Any]
    valid: NDArray[np.bool_] | None = None
    part_rows: int = 4096

    @property
    def sizes(self) -> list[int]:
        n = len(self.array)
        return [min(self.part_rows, n - start) for start in range(0, n, self.part_rows)]

    def read(self, part: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        rows = slice(part * self.part_rows, (part + 1) * self.part_rows)
        array = np.asarray(self.array[rows], np.float32)
        return array, np.ones(len(array), bool) if self.valid is None else self.valid[rows]


def unit_rows(rows: NDArray[np.float32], valid: NDArray[np.bool_]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Scale rows to unit length.

    Parameters
    ----------
    rows : array of shape (n, d), float32
    valid : array of shape (n,), bool

    Returns
    -------
    units : array of shape (n, d), float32
        Zero where a row is not valid.  Negative zeros become positive, so that equal rows have equal bytes.
    valid : array of shape (n,), bool
        What was valid, finite and not zero.
    """
    units = np.zeros(rows.shape, np.float32)
    good = np.zeros(len(rows), bool)
    for start in range(0, len(rows), BLOCK_ROWS):
        block = slice(start, start + BLOCK_ROWS)
        wide = rows[block].astype(np.float64)
        norms = np.sqrt((wide * wide).sum(axis=1))
        good[block] = valid[block] & np.isfinite(norms) & (norms > 0)
        chosen = good[block]
        units[block][chosen] = wide[chosen] / norms[chosen, None] + 0.0
    return units, good


def cosine(left: NDArray[np.float32], right: NDArray[np.float32]) -> NDArray[np.float64]:
    """Give the cosine of each pair of rows: the formula that decides.

    The sums run over one row at a time in an order that depends on its length alone, so the answer to the last bit
    depends on nothing but the two rows; which is the left one makes no difference, and a row with itself gives 1.

    Parameters
    ----------
    left, right : arrays of shape (n, d), float32
        Without rows of zeros.

    Examples
    --------
    >>> cosine(np.array([[3, 4]], "f4"), np.array([[4, 3]], "f4"))
    array([0.96])
    """
    out = np.empty(len(left))
    for start in range(0, len(left), BLOCK_ROWS):
        block = slice(start, start + BLOCK_ROWS)
        a, b = left[block].astype(np.float64), right[block].astype(np.float64)
        out[block] = (a * b).sum(axis=1) / np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
    return out


def product_error(d: int) -> float:
    """Bound how far a float32 product of two unit vectors of length ``d`` is from their cosine.

    Sums of d products of numbers rounded to 24 bits, in any order (Higham 2002, "Accuracy and stability of numerical
    algorithms", section 3.1), and as much again as the lengths of the vectors may be off 1.
    """
    return (d + 8) * 2.0**-24


def farthest(eps: float) -> float:
    """Give the greatest distance of two float32 unit vectors whose cosine is at least ``1 - eps``."""
    return float(np.sqrt(2 * eps)) + 1e-6
