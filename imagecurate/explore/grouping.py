"""By what the pictures of a gallery are grouped: each value of a column, or ranges of a number that has many."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa

from imagecurate.errors import ParameterError
from imagecurate.explore.basis import collect
from imagecurate.explore.best import Best, Order, Slots
from imagecurate.explore.chart import ticks
from imagecurate.explore.look import Look
from imagecurate.explore.rows import Rows
from imagecurate.explore.shown import value
from imagecurate.explore.wording import number

__all__ = ["grouping"]

#: Values of a number by which a gallery is cut into groups of ranges rather than one for each.
_MOST_VALUES = 12


def grouping(
    rows: Rows, n: int, key: str | None, group: str | None, order: Order, look: Look
) -> tuple[Best, Callable[[Any], str]]:
    """What chooses the rows of each group, and gives the group its name."""
    kind = rows.work.plan.schema[group] if group is not None else pa.null()
    if pa.types.is_nested(kind):
        raise ParameterError(f"{group!r} holds {kind}, by which nothing can be grouped")
    if group is not None and pa.types.is_floating(kind):
        found = collect(rows, group, look.share, look.seed).total.values
        finite = found[np.isfinite(found)]
        if len(finite) > _MOST_VALUES:
            low, high = float(finite[0]), float(finite[-1])
            inner = [tick for tick in ticks(low, high) if low < tick < high]
            edges = (low, *inner, high)
            return Slots(
                n, key, group, order, edges
            ), lambda slot: f"{number(edges[slot])} to {number(edges[slot + 1])}"
    if pa.types.is_boolean(kind):
        return Best(n, key, group, order), lambda each: value(None if each is None else bool(each))
    return Best(n, key, group, order), value
