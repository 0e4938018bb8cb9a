"""The kept rows of an input shard as samples: a row each, or one for each kept image of a sample."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from imagecurate.columns import KEY
from imagecurate.export.survivors import SAMPLE

if TYPE_CHECKING:
    from imagecurate.export.members import Integers
    from imagecurate.export.survivors import SurvivingRows
    from imagecurate.shards.shard import Shard

__all__ = ["SampleRows", "read_samples"]


@dataclass(frozen=True)
class SampleRows:
    """Some samples of one input shard; ``len`` counts samples, not rows.

    Examples
    --------
    >>> three = SampleRows(pa.table({"key": ["a", "b", "b", "c"]}), np.array([0, 1, 3, 4]))
    >>> len(three), three.keys, three.sample.tolist(), three.part(1, 3).keys
    (3, ['a', 'b', 'c'], [0, 1, 1, 2], ['b', 'c'])
    """

    #: Their columns; rows of a sample lie side by side.
    table: pa.Table
    #: First row of each sample, and the number of rows in the end: length of samples + 1.
    bounds: Integers

    def __len__(self) -> int:
        return len(self.bounds) - 1

    @functools.cached_property
    def keys(self) -> list[str]:
        """The key of each sample."""
        keys: list[str] = self.table[KEY].take(pa.array(self.bounds[:-1])).to_pylist()
        return keys

    @functools.cached_property
    def sample(self) -> Integers:
        """Which sample each row belongs to, counted from 0."""
        return np.repeat(np.arange(len(self)), np.diff(self.bounds))

    def part(self, first: int, last: int) -> SampleRows:
        """Samples [first, last)."""
        bounds = self.bounds[first : last + 1]
        return SampleRows(self.table.slice(bounds[0], bounds[-1] - bounds[0]), bounds - bounds[0])


def read_samples(rows: SurvivingRows, shard: Shard, columns: Sequence[str]) -> SampleRows:
    """Read columns of the kept samples of an input shard, ``key`` among them."""
    if not rows.grouped:
        table = rows.read(shard, columns)
        return SampleRows(table, np.arange(len(table) + 1))
    table = rows.read(shard, (*columns, SAMPLE))
    first = np.diff(table[SAMPLE].to_numpy(), prepend=-1) != 0  # no position is -1
    return SampleRows(table.drop_columns(SAMPLE), np.append(np.flatnonzero(first), len(table)))
