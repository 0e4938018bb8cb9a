"""Groups of duplicates, found a shard at a time although their members lie in many.

Groups are drawn by a hash of their name: each shard keeps the groups of the lowest hashes that it sees, so those of the
lowest hashes of all are kept by every shard that holds a member, and no shard need know of the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from numpy.typing import NDArray

from imagecurate.columns import DUPLICATE_OF
from imagecurate.explore.levels import GROUP_OF, away, levels, nearness_of
from imagecurate.explore.report.picks import PICK, Ref, lowest, picks

__all__ = ["DrawnGroup", "Level", "columns_of", "level_of", "levels_in"]

#: Groups drawn: far more than are shown, so that the large among them can be.
_DRAWN = 200
#: Members of a group that are known by place.
_MEMBERS = 6
#: Pairs of a level that are shown as the most doubtful.
_DOUBTFUL = 8


@dataclass
class DrawnGroup:
    """A group: how many it has, and some of them, the one that stays first."""

    size: int
    members: list[tuple[bool, Ref]]

    def plus(self, other: DrawnGroup) -> DrawnGroup:
        """The same group as it is in other shards."""
        return DrawnGroup(self.size + other.size, sorted(self.members + other.members)[:_MEMBERS])


@dataclass
class Level:
    """What one level of deduplication found.

    Parameters
    ----------
    name : str
        ``"exact"``, ``"perceptual"``, ``"semantic"`` or what else the columns begin with.
    nearness : str or None
        Column that says how near two are.
    marked : int
        Samples that duplicate another.
    groups : int
        Groups whose kept sample is among the rows.
    drawn : dict of int to DrawnGroup
        By the hash of their names.
    doubtful : array of PICK
        Marked samples that are least like the sample they duplicate.
    """

    name: str
    nearness: str | None = None
    marked: int = 0
    groups: int = 0
    drawn: dict[int, DrawnGroup] = field(default_factory=dict)
    doubtful: NDArray[np.void] = field(default_factory=lambda: np.empty(0, PICK))

    def plus(self, other: Level) -> Level:
        """Count other shards in."""
        drawn = dict(self.drawn)
        for name, group in other.drawn.items():
            drawn[name] = drawn[name].plus(group) if name in drawn else group
        least = sorted(drawn)[:_DRAWN]
        return Level(
            self.name,
            self.nearness,
            self.marked + other.marked,
            self.groups + other.groups,
            {name: drawn[name] for name in least},
            lowest(np.concatenate([self.doubtful, other.doubtful]), _DOUBTFUL),
        )

    def shown(self, count: int) -> list[DrawnGroup]:
        """Some of the groups that were drawn: half of them the largest, the others as they were drawn."""
        largest = sorted(self.drawn, key=lambda name: (-self.drawn[name].size, name))[: -(-count // 2)]
        others = [name for name in self.drawn if name not in set(largest)]
        chosen = [*largest, *others[: count - len(largest)]]
        return [self.drawn[name] for name in sorted(chosen, key=lambda name: (-self.drawn[name].size, name))]


def levels_in(columns: Sequence[str]) -> list[Level]:
    """Tell which levels have left their marks."""
    return [Level(level, nearness_of(level, columns)) for level in levels(columns)]


def columns_of(level: Level) -> list[str]:
    """What `level_of` reads."""
    nearness = [] if level.nearness is None else [level.nearness]
    return [level.name + DUPLICATE_OF, level.name + GROUP_OF, *nearness]


def level_of(asked: Level, shard: int, columns: Mapping[str, pa.Array]) -> Level:
    """Find what a level left in one shard.

    Parameters
    ----------
    asked : Level
        Name and column.
    shard : int
        Its number.
    columns : mapping of str to pyarrow.Array
        All rows of the shard.
    """
    marks, groups = columns[asked.name + DUPLICATE_OF], columns[asked.name + GROUP_OF]
    is_marked = marks.is_valid().to_numpy(zero_copy_only=False)
    is_kept = groups.is_valid().to_numpy(zero_copy_only=False) & ~is_marked
    found = Level(asked.name, asked.nearness, int(is_marked.sum()), int(is_kept.sum()))
    found.drawn = _drawn(shard, groups, is_marked)
    if asked.nearness is not None:
        values = pc.cast(columns[asked.nearness], pa.float64()).to_numpy(zero_copy_only=False)
        rows = np.flatnonzero(is_marked & np.isfinite(values))
        found.doubtful = lowest(picks(shard, rows, -away(asked.nearness) * values[rows], values[rows]), _DOUBTFUL)
    return found


def _drawn(shard: int, groups: pa.Array, is_marked: NDArray[np.bool_]) -> dict[int, DrawnGroup]:
    coded = groups.dictionary_encode()
    hashes = np.array([xxhash.xxh3_64_intdigest(name.encode()) for name in coded.dictionary.to_pylist()], np.uint64)
    least = np.argsort(hashes, kind="stable")[:_DRAWN]
    codes = pc.fill_null(coded.indices, -1).to_numpy()
    order = np.argsort(codes, kind="stable")
    starts = np.searchsorted(codes[order], least)
    ends = np.searchsorted(codes[order], least, side="right")
    found = {}
    for code, start, end in zip(least.tolist(), starts.tolist(), ends.tolist(), strict=True):
        rows = order[start:end]
        rows = rows[np.argsort(is_marked[rows], kind="stable")][:_MEMBERS]
        members = [(bool(is_marked[row]), Ref(shard, row)) for row in rows.tolist()]
        found[int(hashes[code])] = DrawnGroup(end - start, members)
    return found
