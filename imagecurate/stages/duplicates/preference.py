"""Which of several samples is to be kept: an order of all rows, by columns."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from imagecurate.errors import ParameterError
from imagecurate.plan.alive_rows import AliveRows

__all__ = ["columns_of", "ranks_by"]


def columns_of(keep_by: str | Sequence[str] | None) -> tuple[tuple[str, bool], ...]:
    """Split what a user wrote into columns and whether small values are preferred.

    >>> columns_of(["source_rank", "-pixels"]), columns_of(None)
    ((('source_rank', False), ('pixels', True)), ())
    """
    names = [] if keep_by is None else [keep_by] if isinstance(keep_by, str) else list(keep_by)
    return tuple((name.removeprefix("-"), name.startswith("-")) for name in names)


def ranks_by(rows: AliveRows, keep_by: str | Sequence[str] | None) -> NDArray[np.int64]:
    """Give each row its place in the order of preference, 0 for the best.

    The largest value first, or the smallest where the column's name begins with ``-``; nulls and NaN last.  Ties, and
    everything where there is no column, go by source, shard and position, which do not depend on the order in which
    shards are named.  24 bytes a row and column, on the client.

    Parameters
    ----------
    rows : AliveRows
    keep_by : str, sequence of str or None

    Raises
    ------
    ParameterError
        A column that has no order, as a vector.
    """
    wanted = columns_of(keep_by)
    order = sorted(range(len(rows)), key=lambda number: (rows.shards[number].source, rows.shards[number].name))
    place = np.empty(len(rows), np.int64)
    place[order] = np.arange(len(rows))
    keys: list[NDArray[np.float64] | NDArray[np.int64]] = [
        np.repeat(place, rows.sizes)
    ]  # stable: positions stay in order
    for name, smallest in reversed(wanted):
        keys += _sort_keys(name, rows.column(name), smallest=smallest)
    ranks = np.empty(sum(rows.sizes), np.int64)
    ranks[np.lexsort(keys)] = np.arange(len(ranks))
    return ranks


def _sort_keys(name: str, column: pa.ChunkedArray, *, smallest: bool) -> list[NDArray[np.int64]]:
    """Keys for ``np.lexsort``, the less important first: the values' ranks, and then whether there is none."""
    if pa.types.is_nested(column.type) or pa.types.is_binary(column.type):
        raise ParameterError.because(
            f"keep_by={name!r}: a column of type {column.type} has no order", "name a number, a truth value or a text"
        )
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_nan(column), None, column)
    ranks = pc.rank(column, sort_keys="ascending" if smallest else "descending", tiebreaker="dense").to_numpy()
    missing = column.is_null().to_numpy()
    return [ranks.astype(np.int64), missing.astype(np.int64)]
