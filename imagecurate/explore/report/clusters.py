"""Clusters: how large they are, and the samples nearest to their centres; here those that a column names."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from imagecurate.explore.report.picks import Ref, drawn

__all__ = ["NEAREST", "Cluster", "Clusters", "clusters_in", "clusters_of"]

#: How columns are called that say to which cluster a sample belongs; ``nearest_cent`` is NeMo Curator's.
_NAMES = ("cluster", "cluster_id", "nearest_cent")
#: And those with the distance to its centre.
_DISTANCES = ("cluster_distance", "distance_to_cluster", "cosine_dist_to_cent", "l2_dist_to_cent")

#: Clusters that are counted: above, the smallest are let go.
_MOST = 20_000
#: Samples of each that are known by place.
NEAREST = 5


@dataclass
class Cluster:
    """A cluster: its size, and the samples nearest to its centre, each with its distance, in order."""

    size: int
    nearest: list[tuple[float, Ref]]

    def plus(self, other: Cluster) -> Cluster:
        """The same cluster in other shards."""
        return Cluster(self.size + other.size, sorted(self.nearest + other.nearest)[:NEAREST])


@dataclass
class Clusters:
    """All clusters of one column.

    Parameters
    ----------
    column : str
        Names them; or holds the vectors among which they were found.
    distance : str or None
        Column with the distance to the centre; without one, samples are drawn at random.
    found : dict of str to Cluster
        By name.
    dropped : int
        Samples of clusters that were let go of, as there are too many.
    sampled : int or None
        Where no column names them: samples among which they were found.
    """

    column: str
    distance: str | None = None
    found: dict[str, Cluster] = field(default_factory=dict)
    dropped: int = 0
    sampled: int | None = None

    def plus(self, other: Clusters) -> Clusters:
        """Count other shards in."""
        found = dict(self.found)
        for name, cluster in other.found.items():
            found[name] = found[name].plus(cluster) if name in found else cluster
        dropped = self.dropped + other.dropped
        if len(found) > _MOST:
            order = sorted(found, key=lambda name: (-found[name].size, name))
            dropped += sum(found[name].size for name in order[_MOST:])
            found = {name: found[name] for name in order[:_MOST]}
        return Clusters(self.column, self.distance, found, dropped)

    def largest(self, count: int) -> list[tuple[str, Cluster]]:
        """The largest clusters, with their names."""
        return sorted(self.found.items(), key=lambda item: (-item[1].size, item[0]))[:count]


def clusters_in(schema: Mapping[str, pa.DataType]) -> Clusters | None:
    """Tell whether a column names clusters."""
    named: Sequence[str] = [
        name
        for name, kind in schema.items()
        if (name in _NAMES or name.endswith("_cluster")) and (pa.types.is_integer(kind) or pa.types.is_string(kind))
    ]
    if not named:
        return None
    candidates = (f"{named[0]}_distance", *_DISTANCES)
    return Clusters(named[0], next((name for name in candidates if name in schema), None))


def clusters_of(asked: Clusters, shard: int, name: str, columns: Mapping[str, pa.Array]) -> Clusters:
    """Find the clusters of one shard.

    Parameters
    ----------
    asked : Clusters
        Names of the columns.
    shard : int
        Its number.
    name : str
        Its name.
    columns : mapping of str to pyarrow.Array
        All rows of the shard.
    """
    coded = columns[asked.column].dictionary_encode()
    codes = pc.fill_null(coded.indices, -1).to_numpy()
    if asked.distance is None:
        distance = drawn(shard, name, len(codes))
    else:
        distance = pc.cast(columns[asked.distance], pa.float64()).to_numpy(zero_copy_only=False)
    order = np.lexsort((distance, codes))
    starts = np.searchsorted(codes[order], np.arange(len(coded.dictionary))).tolist()
    far, rows = distance[order].tolist(), order.tolist()
    found = {}
    for label, start, end in zip(coded.dictionary.to_pylist(), starts, [*starts[1:], len(rows)], strict=True):
        some = slice(start, min(end, start + NEAREST))
        nearest = [
            (away, Ref(shard, row)) for away, row in zip(far[some], rows[some], strict=True) if not math.isnan(away)
        ]
        found[str(label)] = Cluster(end - start, nearest)
    return Clusters(asked.column, asked.distance, found)
