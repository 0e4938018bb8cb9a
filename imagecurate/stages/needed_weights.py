"""The weights that stages need: where they come from, whether they are here, and fetching them ahead of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from imagecurate.plan.stage import CompositeStage, Stage
from imagecurate.stages.embedder import ImageEmbedder
from imagecurate.stages.laion import AestheticClassifier, LaionPredictor, NsfwClassifier
from imagecurate.stages.timm_embedder import TimmImageEmbedder
from imagecurate.weights import EMBEDDERS, file_digest
from imagecurate.weights.known import model_folder
from imagecurate.weights.timm_models import timm_model

__all__ = ["NeededWeights", "documented_weights", "weights_of"]


@dataclass(frozen=True)
class NeededWeights:
    """One file of weights.

    Attributes
    ----------
    stage : str
        Name of the stage's class.
    name : str
        Of the model or the file.
    source : str
        Where it is published; a path where it is the user's own.
    licence : str or None
        SPDX identifier, where the publisher states one.
    needs : str or None
        The embedding that it was trained on.
    gives : str or None
        The embedding that it makes.
    path : Path or None
        The file on this machine; None where it must be fetched.
    published_sha256 : str or None
        Digest of the published file, where that is known beforehand.
    tensors : str or None
        ``tensor_digest`` of what it holds, where it is verified by that.
    """

    stage: str
    name: str
    source: str
    licence: str | None
    needs: str | None
    gives: str | None
    path: Path | None
    published_sha256: str | None
    tensors: str | None
    _fetch: Callable[[], Path] = field(repr=False, compare=False)

    @property
    def sha256(self) -> str | None:
        """Digest of the file that is here, else of the published one, as far as it is known."""
        return self.published_sha256 if self.path is None else file_digest(self.path)

    def fetch(self) -> Path:
        """Give the file, fetched if it is not here.

        Raises
        ------
        WeightsError
            It cannot be had, or is not what it should be.
        """
        return self._fetch()


def weights_of(stages: Iterable[Stage]) -> Iterator[NeededWeights]:
    """Give the weights that some stages need, in their order; stages with none, or with random ones, are left out."""
    for stage in stages:
        if isinstance(stage, CompositeStage):
            yield from weights_of(getattr(stage, "stages", tuple)())
        elif isinstance(stage, LaionPredictor):
            yield _of_predictor(stage)
        elif isinstance(stage, TimmImageEmbedder) and stage.pretrained and stage.checkpoint_path is None:
            yield _of_timm(stage)
        elif isinstance(stage, ImageEmbedder) and stage.checkpoint_path is not None:
            yield _of_file(stage, Path(stage.checkpoint_path))


def documented_weights() -> Iterator[NeededWeights]:
    """Give those of the predictors, and of the embedders that the documentation names."""
    yield from weights_of([AestheticClassifier(), NsfwClassifier()])
    yield from weights_of(TimmImageEmbedder(model_name=name, pretrained=True) for name in EMBEDDERS)


def _of_predictor(stage: LaionPredictor) -> NeededWeights:
    known = stage.weights
    there = model_folder() / known.file if stage.model_path is None else known.find(stage.model_path)
    return NeededWeights(
        type(stage).__name__,
        known.file,
        known.url if stage.model_path is None else str(there),
        known.licence,
        known.embedding_of,
        None,
        there if there.is_file() else None,
        known.sha256,
        known.tensors,
        lambda: known.find(stage.model_path),
    )


def _of_file(stage: ImageEmbedder, path: Path) -> NeededWeights:
    name, space = type(stage).__name__, stage.embedding_space()
    return NeededWeights(name, path.name, str(path), None, None, space, path, None, None, lambda: path)


def _of_timm(stage: TimmImageEmbedder) -> NeededWeights:
    model = timm_model(stage.model_name)
    return NeededWeights(
        type(stage).__name__,
        model.name,
        model.source or "",
        model.licence,
        None,
        stage.embedding_space(),
        model.cached_file(),
        None,
        None,
        model.published_file,
    )
