"""A few rows out of millions, found a shard at a time: those of the lowest score.

With the distance to a threshold as the score these are the borderline samples, with a random number a fair draw.
Shards may come in any order: what is left does not depend on it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["PICK", "Ref", "drawn", "lowest", "picks", "refs"]

#: A row that was picked: by what score, where it lies, and the value that is shown beside it.
PICK = np.dtype([("score", "f8"), ("shard", "i8"), ("row", "i8"), ("value", "f8")])


class Ref(NamedTuple):
    """Where a row lies: number of its shard, and position in it."""

    shard: int
    row: int


def picks(
    shard: int, rows: NDArray[np.int64], score: NDArray[np.float64], value: NDArray[np.float64] | None = None
) -> NDArray[np.void]:
    """Make picks of rows of one shard; the value is the score unless another is given."""
    made = np.empty(len(rows), PICK)
    made["score"], made["shard"], made["row"] = score, shard, rows
    made["value"] = score if value is None else value
    return made


def lowest(made: NDArray[np.void], count: int) -> NDArray[np.void]:
    """Give those of the lowest score, in order; ties go by shard and row.

    >>> lowest(picks(0, np.array([7, 8, 9]), np.array([3.0, 1.0, 2.0])), 2)["row"].tolist()
    [8, 9]
    """
    if count <= 0:
        return made[:0]
    if len(made) > count:
        bound = np.partition(made["score"], count - 1)[count - 1]
        made = made[made["score"] <= bound]
    return made[np.lexsort((made["row"], made["shard"], made["score"]))[:count]]


def drawn(shard: int, name: str, rows: int) -> NDArray[np.float64]:
    """Draw a random number in [0, 1) for each row of a shard, the same in every run."""
    seed = np.frombuffer(name.encode(), np.uint8)
    return np.random.default_rng([shard, *seed.tolist()]).random(rows)


def refs(made: NDArray[np.void]) -> list[Ref]:
    """Where picked rows lie."""
    return [Ref(*place) for place in zip(made["shard"].tolist(), made["row"].tolist(), strict=True)]
