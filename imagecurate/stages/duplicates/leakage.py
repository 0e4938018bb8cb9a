"""Samples that another dataset has, too: an evaluation set that must not be trained on."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import Field

from imagecurate.errors import ParameterError
from imagecurate.neighbours.hamming import hamming_matches
from imagecurate.plan.alive_rows import AliveRows
from imagecurate.plan.stage import Computed, DatasetStage, Stage
from imagecurate.plan.threads import cores
from imagecurate.stages.duplicates.perceptual import PerceptualDeduplicator
from imagecurate.stages.duplicates.semantic import SemanticDeduplicator
from imagecurate.stages.image_digest import ImageDigest

if TYPE_CHECKING:
    from imagecurate.dataset import ImageTextPairDataset

__all__ = ["LeakageFinder", "find_leakage"]

Rows = NDArray[np.int64]


class LeakageFinder(DatasetStage):
    """Mark samples whose image a reference has, too: equal bytes, equal to the eye, or near in meaning.

    Parameters
    ----------
    reference : ImageTextPairDataset
        The dataset to compare with, as an evaluation set.
    max_distance, min_quality
        Of perceptual hashes; see ``PerceptualDeduplicator``.
    min_similarity : float, optional
        Least cosine of embeddings, which both need; by default they are not compared.
    image_embedding_column : str, default="image_embedding"

    Adds
    ----
    leakage_of : str
        ``sample_id`` of the sample of the reference; null where there is none.
    leakage_by : str
        ``"exact"``, ``"perceptual"`` or ``"semantic"``: the first level that found it.
    """

    reference: Any = Field(exclude=True)
    max_distance: int | None = Field(default=None, ge=0)
    min_quality: int = Field(default=50, ge=0, le=100)
    min_similarity: float | None = Field(default=None, gt=0, lt=1)
    image_embedding_column: str = Field(default="image_embedding", min_length=1)

    def model_post_init(self, context: Any) -> None:
        """Refuse what is no dataset."""
        if not hasattr(self.reference, "rows_for"):
            raise ParameterError(f"LeakageFinder: reference must be a dataset, but is {self.reference!r}")

    def adds(self) -> dict[str, pa.DataType]:
        """The sample of the reference, and the level that found it."""
        return {"leakage_of": pa.string(), "leakage_by": pa.string()}

    def reads(self) -> tuple[str, ...]:
        """Digests, hashes and, where they are compared, embeddings."""
        embedding = () if self.min_similarity is None else (self.image_embedding_column,)
        return "image_digest", *self._perceptual.reads(), *embedding

    def requires(self) -> tuple[Stage, ...]:
        """The stages that digest and hash."""
        return ImageDigest(), *self._perceptual.requires()

    def ingredients(self) -> dict[str, Any]:
        """What the reference holds."""
        return {"reference": self.reference.fingerprint}

    def process(self, rows: AliveRows) -> Iterator[Computed]:
        """Compare on each level; the first that finds a sample names it."""
        theirs = self.reference.rows_for(self)
        ids = theirs.sample_ids()
        levels: dict[Literal["exact", "perceptual", "semantic"], Rows] = {
            "exact": _equal(rows, theirs),
            "perceptual": self._alike(rows, theirs),
        }
        if self.min_similarity is not None:
            semantic = SemanticDeduplicator(
                min_similarity=self.min_similarity,
                image_embedding_column=self.image_embedding_column,
                against=self.reference,
            )
            levels["semantic"] = semantic.matches(rows)
        match, by = np.full(len(levels["exact"]), -1, np.int64), np.full(len(levels["exact"]), None, object)
        for level, found in reversed(levels.items()):
            match[found >= 0], by[found >= 0] = found[found >= 0], level
        for start, end in pairwise(np.cumsum([0, *rows.sizes]).tolist()):
            yield {
                "leakage_of": pa.array(ids.of(match[start:end]), pa.string()),
                "leakage_by": pa.array(by[start:end].tolist(), pa.string()),
            }

    @property
    def _perceptual(self) -> PerceptualDeduplicator:
        return PerceptualDeduplicator(max_distance=self.max_distance, min_quality=self.min_quality)

    def _alike(self, rows: AliveRows, theirs: AliveRows) -> Rows:
        """The first row of the reference that looks like each row."""
        near, stage = self._perceptual.near, self._perceptual
        (mine, valid), (other, known) = stage.hashes(rows), stage.hashes(theirs)
        views, width = mine.shape[1:]
        wholes = hamming_matches(mine[:, 0].copy(), other.reshape(-1, width), near, threads=cores()).row
        parts = hamming_matches(mine[:, 1:].reshape(-1, width), other[:, 0].copy(), near, threads=cores()).row
        found = np.column_stack([np.where(wholes >= 0, wholes // views, -1), parts.reshape(len(mine), views - 1)])
        owner = np.where(found >= 0, found, len(other)).min(axis=1, initial=len(other))
        match = np.full(len(valid), -1, np.int64)
        match[valid] = np.append(np.flatnonzero(known), -1)[owner]
        return match


def find_leakage(
    dataset: ImageTextPairDataset, reference: ImageTextPairDataset, **parameters: Any
) -> ImageTextPairDataset:
    """Mark the samples of a dataset that a reference has, too.

    Parameters
    ----------
    dataset : ImageTextPairDataset
    reference : ImageTextPairDataset
        As an evaluation set.
    **parameters
        Of ``LeakageFinder``: ``max_distance``, ``min_quality``, ``min_similarity``, ``image_embedding_column``.

    Returns
    -------
    ImageTextPairDataset
        With the columns ``leakage_of`` and ``leakage_by``; ``ds.filter("leakage_of is null")`` drops what leaked.
    """
    return LeakageFinder(reference=reference, **parameters)(dataset)


def _equal(rows: AliveRows, theirs: AliveRows) -> Rows:
    """The first row of the reference with the same digest, -1 where there is none."""
    mine, other = (each.column("image_digest") for each in (rows, theirs))
    found = pc.index_in(mine, value_set=other.combine_chunks(), skip_nulls=True)
    equal: Rows = pc.fill_null(found, -1).to_numpy().astype(np.int64)
    return equal
