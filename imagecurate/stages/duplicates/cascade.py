"""The three levels in a row."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa
from pydantic import Field

from imagecurate.columns import DUPLICATE_OF
from imagecurate.errors import ParameterError
from imagecurate.plan.stage import CompositeStage, DatasetStage, Stage
from imagecurate.stages.duplicates.exact import ExactDeduplicator
from imagecurate.stages.duplicates.perceptual import PerceptualDeduplicator
from imagecurate.stages.duplicates.semantic import SemanticDeduplicator

if TYPE_CHECKING:
    from imagecurate.dataset import ImageTextPairDataset

__all__ = ["Deduplicate"]

_log = logging.getLogger(__name__)

Level = Literal["exact", "perceptual", "semantic"]


class Deduplicate(CompositeStage):
    """Drop duplicates on several levels, each among what the former kept: equal bytes, equal to the eye, in meaning.

    Each level is its own deduplicator with a filter behind it, called ``exact duplicates``, … in the ledger; how many
    each found is in ``ds.counts()`` and in the log.

    Parameters
    ----------
    levels : list of {"exact", "perceptual", "semantic"}, default=all three
    keep_by : str or list of str, optional
        Columns that say which one of a group stays; see ``ExactDeduplicator``.
    max_distance : int, optional
        Of perceptual hashes; see ``PerceptualDeduplicator``.
    eps, min_similarity : float, optional
        Of embeddings; see ``SemanticDeduplicator``.
    image_embedding_column : str, default="image_embedding"

    Examples
    --------
    >>> Deduplicate(levels=["exact", "semantic"], min_similarity=0.96).stages()
    [ExactDeduplicator(), SemanticDeduplicator(min_similarity=0.96)]
    """

    levels: tuple[Level, ...] = ("exact", "perceptual", "semantic")
    keep_by: str | tuple[str, ...] | None = None
    max_distance: int | None = None
    eps: float | None = None
    min_similarity: float | None = None
    image_embedding_column: str = Field(default="image_embedding", min_length=1)

    def model_post_init(self, context: Any) -> None:
        """Make the stages, which check their parameters."""
        if len(set(self.levels)) < len(self.levels) or not self.levels:
            raise ParameterError(f"Deduplicate needs each level once, but got {list(self.levels)}")
        self.stages()

    def adds(self) -> dict[str, pa.DataType]:
        """What the levels add, they say themselves."""
        return {column: kind for stage in self.stages() for column, kind in stage.adds().items()}

    def stages(self) -> list[DatasetStage]:
        """The deduplicators, in order."""
        shared: dict[str, Any] = {} if self.keep_by is None else {"keep_by": self.keep_by}
        perceptual = {} if self.max_distance is None else {"max_distance": self.max_distance}
        semantic = {
            name: value
            for name, value in (("eps", self.eps), ("min_similarity", self.min_similarity))
            if value is not None
        }
        if self.image_embedding_column != "image_embedding":
            semantic["image_embedding_column"] = self.image_embedding_column  # type: ignore[assignment]
        made: dict[str, DatasetStage] = {
            "exact": ExactDeduplicator(**shared),
            "perceptual": PerceptualDeduplicator(**shared, **perceptual),
            "semantic": SemanticDeduplicator(**shared, **semantic),
        }
        return [made[level] for level in self.levels]

    def requires(self) -> tuple[Stage, ...]:
        """What all levels look at, computed in front of the first, from one decode."""
        return tuple(required for stage in self.stages() for required in stage.requires())

    def added_to(self, dataset: ImageTextPairDataset) -> ImageTextPairDataset:
        """Run the levels."""
        for level, stage in zip(self.levels, self.stages(), strict=True):
            dataset = stage(dataset).filter(f"{level}{DUPLICATE_OF} is null", name=f"{level} duplicates")
            if dataset.all_runs.samples and _log.isEnabledFor(logging.INFO):  # counting is a pass over all shards
                counts = dataset.counts()
                _log.info("%s duplicates: %d of %d", level, counts["dropped"].iloc[-1], counts["left"].iloc[-2])
        return dataset
