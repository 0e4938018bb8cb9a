"""From the row that each row duplicates to the columns that say so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from imagecurate.columns import DUPLICATE_OF
from imagecurate.plan.alive_rows import SampleIds

__all__ = ["star_columns", "star_types"]

_GROUP = "_duplicate_group"


def star_types(level: str) -> dict[str, pa.DataType]:
    """Columns of a level: the sample that a row duplicates, and the group, which is called like its kept sample."""
    return {level + DUPLICATE_OF: pa.string(), level + _GROUP: pa.string()}


def star_columns(
    level: str,
    keeper: NDArray[np.int64],
    ids: SampleIds,
    more: Mapping[str, NDArray[Any]] | None = None,
    elsewhere: Sequence[str | None] | None = None,
) -> Iterator[dict[str, Any]]:
    """Give the columns of each shard.

    Parameters
    ----------
    level : str
    keeper : array of shape (n,), int64
        The row that each row duplicates; -1 where it is kept.
    ids : SampleIds
    more : mapping of str to array of shape (n,), optional
        Further columns.
    elsewhere : sequence of str or None, optional
        For each row the sample of another dataset that it duplicates, which goes before one of its own.
    """
    is_centre = np.zeros(len(keeper), np.bool_)
    is_centre[keeper[keeper >= 0]] = True
    centre = np.where(is_centre, np.arange(len(keeper)), keeper)
    for start, end in pairwise(ids.starts.tolist()):
        here = slice(start, end)
        named, group = (pa.array(ids.of(each[here]), pa.string()) for each in (keeper, centre))
        if elsewhere is not None:
            theirs = pa.array(elsewhere[here], pa.string())
            named, group = pc.coalesce(theirs, named), pc.coalesce(theirs, group)
        yield {
            level + DUPLICATE_OF: named,
            level + _GROUP: group,
            **{name: values[here] for name, values in (more or {}).items()},
        }
