"""The best few rows of each group out of any number, in bounded memory: best of each shard, and best of those."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from imagecurate.backend import backend_of
from imagecurate.errors import ParameterError
from imagecurate.explore.look import Seen
from imagecurate.explore.picked import SHARD_NUMBER
from imagecurate.store import POSITION

__all__ = ["GROUP", "VALUE", "Around", "Best", "Order", "Slots", "groups_of"]

Order = Literal["ascending", "descending"]

#: Columns of what was chosen, beside where the row lies: its group, what it was chosen by, and (with the first row of a
#: group, so that sums stay right when parts are merged) the rows of its group.
GROUP, VALUE, _COUNT = "_group", "_value", "_count"

#: Groups that are followed; a column with more values is no column to group by.
_MOST_GROUPS = 1_000


@dataclass(frozen=True)
class Best:
    """Chooses rows by the value of a column; nulls and NaN come last, ties go by shard and position.

    Parameters
    ----------
    n : int
        Rows of each group.
    value : str or None
        The column; by default the first rows.
    group : str, optional
        A column: ``n`` rows of each of its values.
    order : {"ascending", "descending"}
    """

    n: int
    value: str | None = None
    group: str | None = None
    order: Order = "descending"

    def __call__(self, seen: Seen) -> pa.Table:
        """Choose among the rows of a shard: ``_group``, ``_value``, ``_shard_number`` and ``_position`` of each."""
        count = len(seen.positions)
        columns = {
            GROUP: self.groups(seen),
            VALUE: self.values(seen),
            _COUNT: pa.repeat(pa.scalar(1, pa.int64()), count),
            SHARD_NUMBER: pa.repeat(pa.scalar(seen.number, pa.int64()), count),
            POSITION: pa.array(seen.positions, pa.int64()),
        }
        table = pa.table({name: _plain(column) for name, column in columns.items()})
        return self._cut(table.filter(pc.is_valid(table[GROUP])) if self.drops_nulls else table)

    #: Whether rows without a group are left out.
    drops_nulls = False

    def groups(self, seen: Seen) -> Any:
        """The group of each row."""
        return _nothing(seen) if self.group is None else seen.columns[self.group]

    def values(self, seen: Seen) -> Any:
        """What each row is chosen by."""
        return _nothing(seen) if self.value is None else seen.columns[self.value]

    def merge(self, parts: Iterable[pa.Table]) -> pa.Table | None:
        """Choose from what was chosen of each shard; by group, then in order.  None where there is no part.

        Raises
        ------
        ParameterError
            There are too many groups.
        """
        return functools.reduce(self._joined, parts, None)

    def _joined(self, best: pa.Table | None, part: pa.Table) -> pa.Table:
        best = part if best is None else self._cut(pa.concat_tables([best, part]))
        if self.group is not None and len(pc.unique(best[GROUP])) > _MOST_GROUPS:
            raise ParameterError.because(
                f"{self.group!r} has more than {_MOST_GROUPS:,} values, which are no groups to show",
                f"sort={self.group!r} shows the pictures in its order",
            )
        return best

    def _cut(self, table: pa.Table) -> pa.Table:
        if not len(table):
            return table
        keys = [(GROUP, "ascending"), (VALUE, self.order), (SHARD_NUMBER, "ascending"), (POSITION, "ascending")]
        table = table.take(pc.sort_indices(table, sort_keys=keys))  # nulls at the end
        starts = _starts(table[GROUP])
        counts = np.zeros(len(table), np.int64)
        counts[starts] = np.add.reduceat(table[_COUNT].to_numpy(), starts)
        rank = np.arange(len(table)) - np.repeat(starts, np.diff([*starts, len(table)]))
        table = table.set_column(table.schema.get_field_index(_COUNT), _COUNT, pa.array(counts))
        return table.filter(pa.array(rank < self.n))


@dataclass(frozen=True)
class Slots(Best):
    """Chooses for each slot of a number line the rows nearest to its middle, or the best by another column.

    Parameters
    ----------
    group : str
        The column of numbers.
    edges : tuple of float
        Where the slots begin, and the last one ends; a group is the number of a slot.  Values outside are left out.
    """

    edges: tuple[float, ...] = ()
    drops_nulls = True

    def groups(self, seen: Seen) -> pa.Array:
        slots, outside = self._slots(seen)
        return pa.array(slots, pa.int64(), mask=outside)

    def values(self, seen: Seen) -> Any:
        if self.value is not None:
            return super().values(seen)
        slots, outside = self._slots(seen)
        middles = np.array(self.edges[1:]) / 2 + np.array(self.edges[:-1]) / 2
        distance = np.abs(_numbers(seen, self.group) - middles[np.where(outside, 0, slots)])
        return pa.array(distance if self.order == "ascending" else -distance)

    def _slots(self, seen: Seen) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        numbers, edges = _numbers(seen, self.group), np.array(self.edges)
        slots = np.searchsorted(edges, numbers, side="right") - 1
        slots = np.where(numbers == edges[-1], len(edges) - 2, slots)
        return slots, ~((numbers >= edges[0]) & (numbers <= edges[-1]))


@dataclass(frozen=True)
class Around(Best):
    """Chooses the rows nearest to a threshold on either side; the group says whether they are kept.

    Parameters
    ----------
    value : str
        The column of numbers; ``order`` is ``"ascending"``.
    threshold : float
    highest : bool
        Whether values of at least the threshold are kept, or those of at most.
    """

    threshold: float = 0.0
    highest: bool = True
    drops_nulls = True

    def groups(self, seen: Seen) -> pa.Array:
        numbers = _numbers(seen, self.value)
        kept = numbers >= self.threshold if self.highest else numbers <= self.threshold
        return pa.array(kept, mask=np.isnan(numbers))

    def values(self, seen: Seen) -> pa.Array:
        numbers = _numbers(seen, self.value)
        with np.errstate(invalid="ignore"):  # infinite less infinite
            distance = np.abs(numbers - self.threshold)
        return pa.array(np.where(numbers == self.threshold, 0.0, distance))


def groups_of(table: pa.Table | None) -> dict[Any, tuple[tuple[int, ...], int]]:
    """For each group, in order, the places of its rows in what was chosen, and how many rows it has in all."""
    if table is None or not len(table):
        return {}
    starts = _starts(table[GROUP]).tolist()
    ends = [*starts[1:], len(table)]
    names, counts = table[GROUP].take(pa.array(starts)).to_pylist(), table[_COUNT].to_pylist()
    return {
        name: (tuple(range(start, end)), counts[start]) for name, start, end in zip(names, starts, ends, strict=True)
    }


def _starts(groups: pa.ChunkedArray) -> NDArray[np.int64]:
    """Where in a sorted column another group begins."""
    codes = pc.dictionary_encode(groups, null_encoding="encode").combine_chunks().indices.to_numpy()
    starts: NDArray[np.int64] = np.flatnonzero(np.diff(codes, prepend=-1))
    return starts


def _numbers(seen: Seen, name: str | None) -> NDArray[np.float64]:
    column = seen.columns[str(name)]
    numbers: NDArray[np.float64] = backend_of(column).numbers(column)
    return numbers


def _nothing(seen: Seen) -> pa.Array:
    return pa.repeat(pa.scalar(0, pa.int8()), len(seen.positions))


def _plain(column: pa.Array) -> pa.Array:
    """A column that Arrow sorts with nulls last."""
    if isinstance(column, pa.DictionaryArray):
        column = column.dictionary_decode()
    if pa.types.is_floating(column.type):
        return pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
    return column.cast(pa.uint8()) if pa.types.is_boolean(column.type) else column
