"""Stages under the names, and with the parameters, that the stage-based NeMo Curator has for them.

Each puts our own stage, and the filter that belongs to it, into the plan.  Parameters that say how a worker runs change
nothing here and are taken without a word: threads, memory and GPUs are found out.
"""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import pyarrow as pa
from pydantic import Field

from imagecurate.plan.stage import CompositeStage, Stage
from imagecurate.stages.embedder import LocalPath
from imagecurate.stages.laion import AestheticClassifier, LaionPredictor, NsfwClassifier
from imagecurate.stages.timm_embedder import TimmImageEmbedder

if TYPE_CHECKING:
    from imagecurate.dataset import ImageTextPairDataset

__all__ = ["ImageAestheticFilterStage", "ImageEmbeddingStage", "ImageNSFWFilterStage"]

#: timm's name of the model that NeMo Curator embeds with (openai/clip-vit-large-patch14).
MODEL = "vit_large_patch14_clip_quickgelu_224.openai"


class _Familiar(CompositeStage):
    """What all have in common: the parameters that change no result."""

    model_dir: LocalPath | None = None
    num_gpus_per_worker: float = Field(default=0.25, ge=0)
    model_inference_batch_size: int = Field(default=32, ge=1)
    verbose: bool = False

    @abstractmethod
    def stages(self) -> list[Stage]:
        """Our stages, in order."""

    def adds(self) -> dict[str, pa.DataType]:
        """What these add."""
        return {column: kind for stage in self.stages() for column, kind in stage.adds().items()}

    def added_to(self, dataset: ImageTextPairDataset) -> ImageTextPairDataset:
        """Add these."""
        return dataset.pipe(*self.stages())


class ImageEmbeddingStage(_Familiar):
    """Embed pictures with OpenAI CLIP ViT-L/14, as ``TimmImageEmbedder`` does.

    Parameters
    ----------
    model_dir, num_gpus_per_worker, verbose, remove_image_data
        Change nothing: weights come from the Hugging Face Hub or its cache, and pixels are never kept.
    model_inference_batch_size : int, default=32
        ``batch_size``.

    Adds
    ----
    image_embedding : list<float32>
    """

    remove_image_data: bool = False

    def stages(self) -> list[Stage]:
        """The embedder."""
        return [TimmImageEmbedder(model_name=MODEL, pretrained=True, batch_size=self.model_inference_batch_size)]


class _ScoreFilter(_Familiar):
    """A predictor with a filter behind it."""

    predictor: ClassVar[type[LaionPredictor]]
    title: ClassVar[str]
    keeps: ClassVar[str]

    score_threshold: float = 0.5

    def stages(self) -> list[Stage]:
        """The predictor, with its weights where ``model_dir`` has them."""
        name = self.predictor.weights.file
        found = sorted(Path(self.model_dir).rglob(name)) if self.model_dir else []
        return [self.predictor(**({"model_path": str(found[0])} if found else {}))]

    def added_to(self, dataset: ImageTextPairDataset) -> ImageTextPairDataset:
        """Add the predictor and the filter."""
        (column,) = self.adds()
        return super().added_to(dataset).filter(f"{column} {self.keeps} {self.score_threshold!r}", name=self.title)


class ImageAestheticFilterStage(_ScoreFilter):
    """Keep pictures with an aesthetic score of at least ``score_threshold``.

    The scale is about 1 to 10, not 0 to 1: 0.5, the default there and so here, keeps everything.

    Adds
    ----
    aesthetic_score : float
    """

    predictor: ClassVar[type[LaionPredictor]] = AestheticClassifier
    title: ClassVar[str] = "aesthetic"
    keeps: ClassVar[str] = ">="


class ImageNSFWFilterStage(_ScoreFilter):
    """Keep pictures with an NSFW score below ``score_threshold``.

    Adds
    ----
    nsfw_score : float
    """

    predictor: ClassVar[type[LaionPredictor]] = NsfwClassifier
    title: ClassVar[str] = "nsfw"
    keeps: ClassVar[str] = "<"

    weights_path: LocalPath | None = None
