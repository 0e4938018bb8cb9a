"""Duplicates that look equal: perceptual hashes within a Hamming distance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field

from imagecurate.images.perceptual import hashes_of
from imagecurate.neighbours.hamming_views import hamming_duplicates
from imagecurate.plan.alive_rows import AliveRows
from imagecurate.plan.stage import Computed, DatasetStage, Stage
from imagecurate.plan.threads import cores
from imagecurate.stages.duplicates.preference import columns_of, ranks_by
from imagecurate.stages.duplicates.stars import star_columns, star_types
from imagecurate.stages.perceptual_hash import PerceptualHash

__all__ = ["PerceptualDeduplicator"]

_LEVEL = "perceptual"
#: Distances within which copies are, and two different photographs are not; measured in tests/stages.
_NEAR: dict[int, int] = {64: 8, 256: 40}


class PerceptualDeduplicator(DatasetStage):
    """Mark images that look equal: scaled, compressed again, made brighter or grey, with up to 5 % cut off.

    In the order of preference a sample stays unless one that stays looks like it; a sample that does not stay names the
    first such one.  Two look alike if the hash of one is within ``max_distance`` bits of that of the other, or of a
    part of the other; every such pair is found.

    The client holds the hashes, 320 bytes a row by default, and while it searches some ten times that.

    Parameters
    ----------
    max_distance : int, optional
        Bits that may differ: 40 of 256 by default, 8 of 64.
    min_quality : int, default=50
        Images with less to see are left alone: their hashes say nothing.
    hash_size : {256, 64}, default=256
        Bits; 64 finds many false pairs among a million pictures.
    crops : {9, 1, 0}, default=9
        Parts of each picture that are compared, too; see ``PerceptualHash``.
    keep_by : str or list of str, optional
        Columns that say which one stays: the largest value, or the smallest where the name begins with ``-``; nulls
        last.  Ties, and everything by default, go by source, shard and position.
    max_pairs_per_row : int, default=64
        Neighbours kept of each row; what is beyond is compared again where the outcome depends on it.

    Adds
    ----
    perceptual_duplicate_of : str
        ``sample_id`` of the sample that stays; null for those that stay.
    perceptual_duplicate_group : str
        The same for all of a group, the one that stays included; null where there is no group.
    perceptual_distance : int
        Bits that differ between the two.
    """

    neutral: ClassVar[frozenset[str]] = frozenset({"max_pairs_per_row"})

    max_distance: int | None = Field(default=None, ge=0)
    min_quality: int = Field(default=50, ge=0, le=100)
    hash_size: Literal[256, 64] = 256
    crops: Literal[9, 1, 0] = 9
    keep_by: str | tuple[str, ...] | None = None
    max_pairs_per_row: int = Field(default=64, ge=1)

    def adds(self) -> dict[str, pa.DataType]:
        """The sample that stays, the group, and how far the two are apart."""
        return star_types(_LEVEL) | {"perceptual_distance": pa.int32()}

    def reads(self) -> tuple[str, ...]:
        """The hashes, the quality, and the columns of the preference."""
        return *self._hash.adds(), *(name for name, _ in columns_of(self.keep_by))

    def requires(self) -> tuple[Stage, ...]:
        """The stage that hashes."""
        return (self._hash,)

    def process(self, rows: AliveRows) -> Iterator[Computed]:
        """Find the pairs, and keep by preference."""
        hashes, valid = self.hashes(rows)
        ranks = ranks_by(rows, self.keep_by)
        compared = np.flatnonzero(valid)
        order = np.empty(len(compared), np.int64)
        order[np.argsort(ranks[compared])] = np.arange(len(compared))
        found = hamming_duplicates(
            hashes, self.near, ranks=order, max_pairs_per_row=self.max_pairs_per_row, threads=cores()
        )
        keeper, distance = np.full(len(valid), -1, np.int64), np.full(len(valid), -1, np.int64)
        keeper[compared] = np.where(found.row >= 0, compared[found.row], -1)
        distance[compared] = found.distance
        columns = {"perceptual_distance": pa.array(distance, pa.int32(), mask=keeper < 0)}
        return star_columns(_LEVEL, keeper, rows.sample_ids(), columns)

    def hashes(self, rows: AliveRows) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Read the hashes of the rows that have enough to see.

        Returns
        -------
        hashes : array of shape (valid rows, 1 + crops, hash_size / 8), uint8
        valid : array of shape (n,), bool
        """
        parts = list(rows.map(_Hashes(self.hash_size, self.crops, self.min_quality), self._hash.adds()))
        valid = np.concatenate([np.zeros(0, np.bool_), *(good for _, good in parts)])
        none = np.zeros((0, 1 + self.crops, self.hash_size // 8), np.uint8)
        return np.concatenate([none, *(found for found, _ in parts)]), valid

    @property
    def near(self) -> int:
        """Bits that may differ."""
        return _NEAR[self.hash_size] if self.max_distance is None else self.max_distance

    @property
    def _hash(self) -> PerceptualHash:
        return PerceptualHash(hash_size=self.hash_size, crops=self.crops)


class _Hashes:
    """Takes the hashes of a shard: those of the whole and of the parts, of the rows that have enough to see."""

    def __init__(self, hash_size: int, crops: int, min_quality: int) -> None:
        self.width = hash_size // 8
        self.crops = crops
        self.min_quality = min_quality

    def __call__(self, columns: Mapping[str, Any]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        quality = columns["perceptual_quality"].fill_null(-1).to_numpy(zero_copy_only=False)
        whole = columns["perceptual_hash"]
        valid = (quality >= self.min_quality) & whole.is_valid().to_numpy(zero_copy_only=False)
        chosen = pa.array(valid)
        views = [hashes_of(whole.filter(chosen))[0].reshape(-1, 1, self.width)]
        if self.crops:
            parts = hashes_of(columns["perceptual_hash_crops"].filter(chosen))[0]
            views.append(parts.reshape(-1, self.crops, self.width))
        return np.concatenate(views, axis=1), valid
