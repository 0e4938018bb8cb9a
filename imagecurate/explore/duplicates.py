"""Groups of duplicates: which stays, and how near and why the others are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from imagecurate.backend import backend_of
from imagecurate.columns import DUPLICATE_OF
from imagecurate.explore.best import Best, groups_of
from imagecurate.explore.gallery import Group
from imagecurate.explore.levels import GROUP_OF, away, nearness_of, nearness_said
from imagecurate.explore.look import Seen
from imagecurate.explore.picked import Picked
from imagecurate.explore.rows import Rows
from imagecurate.explore.wording import number

__all__ = ["Duplicates"]

_REASONS = {"exact": "equal", "perceptual": "equal to the eye", "semantic": "equal in meaning"}


@dataclass(frozen=True)
class Duplicates:
    """Groups of one level.

    Parameters
    ----------
    rows : Rows
    level : str
    nearness : str or None
        Column that says how near a row is to the one that stays.
    """

    rows: Rows
    level: str
    nearness: str | None

    @classmethod
    def of(cls, rows: Rows, level: str) -> Duplicates:
        """A level, with whatever it says of nearness."""
        return cls(rows, level, nearness_of(level, rows.work.plan.schema))

    def pick(self, n: int, most: int, names: list[str], sort: tuple[str, Any] | None) -> tuple[Picked, list[Group]]:
        """Choose groups and read some rows of each, the one that stays first, then the nearest.

        Parameters
        ----------
        n : int
            Groups.
        most : int
            Rows of a group.
        names : list of str
            Columns to read.
        sort : (str, str) or None
            A column and its order: groups of the marked rows that are first in it.  By default any groups.
        """
        group = self.level + GROUP_OF
        chosen = self._sorted(n, *sort) if sort else self._drawn(n)
        members = _Members(
            most, self.nearness, group, "ascending", tuple(chosen), self.level + DUPLICATE_OF,
            away(self.nearness) if self.nearness else 1.0,
        )  # fmt: skip
        asked = [group, members.duplicate_of, *([self.nearness] if self.nearness else [])]
        table = members.merge(self.rows.map("reading groups", members, asked)) if chosen else None
        picked = self.rows.pick(table, [*names, *asked])
        records = picked.table.to_pylist()
        groups = [
            Group(
                f"{self.level}: {records[places[0]][group]}",
                places,
                count,
                tuple(self._note(records[place]) for place in places),
                records[places[0]][members.duplicate_of] is None,
            )
            for places, count in groups_of(table).values()
        ]
        return picked, groups

    def _note(self, row: dict[str, Any]) -> str:
        if row[self.level + DUPLICATE_OF] is None:
            return ""
        said = _REASONS.get(self.level, self.level)
        if self.nearness is None or row[self.nearness] is None:
            return said
        return f"{said}: {nearness_said(self.level, self.nearness)} {number(row[self.nearness])}"

    def _drawn(self, n: int) -> list[str]:
        found = self.rows.map("looking for groups", _Drawn(n, self.level + GROUP_OF), (self.level + GROUP_OF,))
        return [name for _, name in sorted({pair for pairs in found for pair in pairs})[:n]]

    def _sorted(self, n: int, column: str, order: Any) -> list[str]:
        group = self.level + GROUP_OF
        marked = _Marked(8 * n, column, None, order, self.level + DUPLICATE_OF)
        asked = (column, marked.duplicate_of)
        table = marked.merge(self.rows.map("sorting duplicates", marked, asked))
        names = self.rows.pick(table, [group]).table[group].to_pylist()
        return list(dict.fromkeys(names))[:n]


@dataclass(frozen=True)
class _Drawn:
    """Finds the groups of a shard with the least hashes: the same in every shard, so all members are found."""

    n: int
    group: str

    def __call__(self, seen: Seen) -> list[tuple[int, str]]:
        names = pc.unique(seen.columns[self.group].drop_null()).to_pylist()
        return sorted((xxhash.xxh3_64_intdigest(name.encode()), name) for name in names)[: self.n]


@dataclass(frozen=True)
class _Marked(Best):
    """Chooses among the rows that duplicate another."""

    duplicate_of: str = ""
    drops_nulls = True

    def groups(self, seen: Seen) -> pa.Array:
        return pc.if_else(seen.columns[self.duplicate_of].is_valid(), 0, pa.scalar(None, pa.int64()))


@dataclass(frozen=True)
class _Members(Best):
    """Chooses members of some groups, in the order of the groups: the one that stays, then the nearest."""

    names: tuple[str, ...] = ()
    duplicate_of: str = ""
    sign: float = 1.0
    drops_nulls = True

    def groups(self, seen: Seen) -> pa.Array:
        return pc.index_in(seen.columns[str(self.group)], pa.array(self.names, pa.string()))

    def values(self, seen: Seen) -> pa.Array:
        stays = seen.columns[self.duplicate_of].is_null().to_numpy(zero_copy_only=False)
        if self.value is None:
            return pa.array(np.where(stays, 0, 1))
        column = seen.columns[self.value]
        return pa.array(np.where(stays, -np.inf, self.sign * backend_of(column).numbers(column)))
