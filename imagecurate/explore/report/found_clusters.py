"""Clusters where no column names any: k-means over a sample of the embeddings of what was kept."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from imagecurate.backend.clusters import clusters_on
from imagecurate.columns import matrix, regular
from imagecurate.explore.kinds import is_vectors
from imagecurate.explore.report.clusters import NEAREST, Cluster, Clusters
from imagecurate.explore.report.picks import Ref, drawn
from imagecurate.neighbours.cells import Centroids
from imagecurate.neighbours.vectors import unit_rows
from imagecurate.plan.execute import in_order
from imagecurate.plan.shard_pass import ShardPass
from imagecurate.plan.shard_state import Work
from imagecurate.shards import Shard

__all__ = ["embeddings_in", "find_clusters"]

#: Vectors in the sample, at most: 16 MB at 1,024 numbers each.
_VECTORS = 4_096
#: Shards that it is drawn from: to read vectors is to read much.
_SHARDS = 32
#: Clusters at most, as many as have their sizes listed.
_MOST = 40
#: Of the k-means: passes over the sample, and the seed.
_PASSES, _SEED = 20, 0


def embeddings_in(schema: Mapping[str, pa.DataType]) -> str | None:
    """The column of embeddings: that of an embedder, or the only one of vectors.

    >>> embeddings_in({"key": pa.string(), "clip": pa.list_(pa.float32())})
    'clip'
    """
    found = [name for name, kind in schema.items() if is_vectors(kind)]
    return "image_embedding" if "image_embedding" in found else found[0] if len(found) == 1 else None


def find_clusters(work: Work, shards: Sequence[Shard], column: str, really: str) -> Clusters | None:
    """Draw kept samples from some shards, and part them by k-means; None where there are too few.

    Parameters
    ----------
    work : Work
    shards : sequence of Shard
    column : str
        Of vectors.
    really : str
        What it is really called.
    """
    numbers = np.unique(np.linspace(0, len(shards) - 1, min(_SHARDS, len(shards))).astype(int)).tolist()
    take = _Take(work, really, -(-_VECTORS // len(numbers)))
    taken = [(some, units) for some, units in in_order(take, [(n, shards[n]) for n in numbers]) if some]
    # a shard whose vectors have another length is no part of it
    taken = [(some, units) for some, units in taken if units.shape[1] == taken[0][1].shape[1]]
    places = [ref for some, _ in taken for ref in some]
    # as many as a rule of thumb says: Mardia et al. 1979, "Multivariate analysis"
    count = min(_MOST, math.isqrt(len(places) // 2))
    if count < 2:
        return None
    units = np.concatenate([each for _, each in taken])
    points = clusters_on("cpu").k_means(units, count, max_iter=_PASSES, random_state=_SEED)
    assigned = Centroids.of(points).assign(units, None)
    found = []
    for cell in np.unique(assigned.cells).tolist():
        rows = np.flatnonzero(assigned.cells == cell)
        nearest = rows[np.argsort(assigned.distances[rows], kind="stable")][:NEAREST].tolist()
        found.append(Cluster(len(rows), [(float(assigned.distances[row]), places[row]) for row in nearest]))
    found.sort(key=lambda cluster: -cluster.size)
    named = {f"cluster {number}": cluster for number, cluster in enumerate(found, 1)}
    return Clusters(column, "distance", named, sampled=len(places))


@dataclass(frozen=True)
class _Take:
    """Draws kept rows of a shard that have a vector, which is scaled to unit length."""

    work: Work
    column: str
    most: int

    def __call__(self, item: tuple[int, Shard]) -> tuple[list[Ref], NDArray[np.float32]]:
        number, shard = item
        with ShardPass(self.work, shard, self.work.plan.needed((), everything=True)) as shard_pass:
            kept = shard_pass.run().survivors
            luck = drawn(number, shard.name, len(kept))
            rows = np.sort(kept[np.argsort(luck, kind="stable")[: self.most]])
            vectors = shard_pass.columns([self.column], rows)[self.column]
        whole = regular(vectors) & vectors.is_valid().to_numpy(zero_copy_only=False)
        rows, (values, valid) = rows[whole], matrix(vectors.filter(pa.array(whole)))
        units, usable = unit_rows(values, valid)
        return [Ref(number, row) for row in rows[usable].tolist()], units[usable]
