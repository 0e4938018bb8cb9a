"""The base of all stages that turn an embedding into a score by a torch model."""

from __future__ import annotations

import logging
import sys
import types
import warnings
from abc import abstractmethod
from collections.abc import Callable, Mapping
from numbers import Integral
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field

from imagecurate.backend.clusters import best_device
from imagecurate.errors import ParameterError, StageError
from imagecurate.plan.stage import ColumnStage, Computed, Stage
from imagecurate.stages.embedder import ImageEmbedder, LocalPath
from imagecurate.stages.models import loaded_once, on_device, side_stream, to_host
from imagecurate.weights import CLIP_VIT_L14, existing_file, file_digest

__all__ = ["EmbeddingWarning", "ImageClassifier"]

#: How to make the embeddings that predictors ask for.
_EMBEDDERS = {CLIP_VIT_L14: "TimmImageEmbedder('vit_large_patch14_clip_quickgelu_224.openai', pretrained=True)"}
_TITLES = {CLIP_VIT_L14: "OpenAI CLIP ViT-L/14"}

#: Rows of every batch on a GPU, filled up with zeros: a row's score then does not depend on how many were asked for.
_GPU_ROWS = 256

_log = logging.getLogger(__name__)


class EmbeddingWarning(UserWarning):
    """A predictor cannot tell whether the embeddings are of the model that it was trained on."""


class ImageClassifier(ColumnStage):
    """Base of stages that score embeddings; subclass it to bring your own model.

    A subclass has ``load_model``, ``embedding_size`` and a default for ``pred_column``.

    Parameters
    ----------
    embedding_column : str, default="image_embedding"
    pred_column : str
        Where the score goes.
    model_path : str or Path, optional
        File with the model's weights, for ``load_model`` to read; its digest is part of the fingerprint.
    batch_size : int, default=8192
        Rows that go through the model at a time; on a GPU always 256, the last ones filled up with zeros.  Does not
        change results.

    Adds
    ----
    ``pred_column`` : float
        Null where there is no embedding, or no finite score for it.

    Raises
    ------
    ParameterError
        The subclass has no ``embedding_size``.
    StageError
        The embeddings have another length, or come from another model where the subclass names one in
        ``embedding_of``; or the model gives something else than one score a row, or cannot be loaded.
    WeightsError
        ``model_path`` names nothing.

    Examples
    --------
    >>> class Brightest(ImageClassifier):
    ...     embedding_size = 3
    ...     pred_column = "brightest"
    ...
    ...     def load_model(self, device):
    ...         return lambda embeddings: embeddings.amax(dim=1)
    >>> Brightest().process({"image_embedding": np.eye(2, 3, dtype=np.float32)})
    {'brightest': array([1., 1.], dtype=float32)}
    """

    #: Length of the embeddings that the model takes.
    embedding_size: ClassVar[int]
    #: The published model whose embeddings it was trained on, where only those will do.
    embedding_of: ClassVar[str | None] = None

    neutral: ClassVar[frozenset[str]] = frozenset({"batch_size", "model_path"})

    embedding_column: str = Field(default="image_embedding", min_length=1)
    pred_column: str = Field(min_length=1)
    model_path: LocalPath | None = None
    batch_size: int = Field(default=8192, ge=1)

    def model_post_init(self, context: Any) -> None:
        """Refuse a class that lacks something, and a model that is not there, before any work is planned."""
        size = getattr(self, "embedding_size", None)
        if not isinstance(size, Integral) or size < 1:
            found = "it has none" if size is None else f"found {size!r}"
            raise ParameterError.because(
                f"the class must say how long the embeddings are that its model takes, as embedding_size, but {found}",
                "write, for example, embedding_size = 768 in the class",
            )
        if self.model_path is not None and not Path(self.model_path).is_dir():
            existing_file(self.model_path, type(self).__name__)

    @abstractmethod
    def load_model(self, device: str) -> Callable[[Any], Any]:
        """Make the model.

        Called once a process, with torch's generator seeded; a ``torch.nn.Module`` is put into eval mode and onto the
        device afterwards.

        Parameters
        ----------
        device : {"cpu", "cuda"}

        Returns
        -------
        callable
            Takes a float32 tensor of shape (n, embedding_size) and gives a tensor of shape (n,) or (n, 1).
        """

    def weights_digest(self) -> str | None:
        """Digest of the weights: that of the file at ``model_path``, unless a subclass knows better."""
        return None if self.model_path is None else file_digest(self.model_path)

    def adds(self) -> dict[str, pa.DataType]:
        """The score."""
        return {self.pred_column: pa.float32()}

    def reads(self) -> tuple[str, ...]:
        """The embedding."""
        return (self.embedding_column,)

    def ingredients(self) -> dict[str, Any]:
        """The weights."""
        return {"weights": self.weights_digest()}

    def check_inputs(self, producers: Mapping[str, Stage | None]) -> None:
        """Refuse embeddings of another model than the one this was trained on.

        Warns (``EmbeddingWarning``) where the column came with the data; where an embedder is the right one but its
        weights are random or otherwise not what they should be, the log says so.
        """
        if self.embedding_of is None:
            return
        name, column = type(self).__name__, self.embedding_column
        needed = _TITLES.get(self.embedding_of, self.embedding_of)
        producer = producers.get(column)
        if producer is None:
            warnings.warn(
                f"{name} needs embeddings of {needed}, but which model made column {column!r} cannot be told",
                EmbeddingWarning,
                stacklevel=_users_level(),
            )
            return
        space = producer.embedding_space() if isinstance(producer, ImageEmbedder) else None
        if space != self.embedding_of:
            raise StageError.because(
                f"{name} needs embeddings of {needed}, but column {column!r} is made by {producer!r}",
                f"embed with {_EMBEDDERS.get(self.embedding_of, self.embedding_of)}; scores of other embeddings mean "
                "nothing, even where their length fits",
            )
        caveat = producer.caveat() if isinstance(producer, ImageEmbedder) else None
        if caveat is not None:
            _log.warning("scores of %s mean little: %r makes its embeddings, and %s", name, producer, caveat)

    def process(self, columns: Mapping[str, NDArray[Any]]) -> Computed:
        """Score some embeddings."""
        embeddings = self._checked(columns[self.embedding_column])
        device = best_device()
        model = loaded_once(self.fingerprint(), device, self.load_model, repr(self))
        size = _GPU_ROWS if device == "cuda" else self.batch_size
        starts = range(0, len(embeddings), size)
        parts = [self._score(model, device, embeddings[start : start + size]) for start in starts]
        return {self.pred_column: np.concatenate(parts) if parts else np.zeros(0, np.float32)}

    def _score(self, model: Callable[[Any], Any], device: str, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
        import torch

        asked = len(embeddings)
        if device == "cuda":
            embeddings = np.concatenate([embeddings, np.zeros((_GPU_ROWS - asked, embeddings.shape[1]), np.float32)])
        with torch.inference_mode(), side_stream(device):
            scores = model(on_device(embeddings, device))
            rows = len(embeddings)
            if not isinstance(scores, torch.Tensor) or tuple(scores.shape) not in ((rows,), (rows, 1)):
                found = tuple(scores.shape) if isinstance(scores, torch.Tensor) else type(scores).__name__
                raise StageError(
                    f"{self!r} expects of its model a tensor of shape ({rows},), one score a row, but got {found}"
                )
            wait = to_host(scores.reshape(rows).float())
        scored: NDArray[np.float32] = wait()[:asked]
        return scored

    def _checked(self, embeddings: NDArray[Any]) -> NDArray[np.float32]:
        """Give the embeddings as one matrix of the right width."""
        name, column = type(self).__name__, self.embedding_column
        if len(embeddings) == 0:
            return np.zeros((0, self.embedding_size), np.float32)
        if embeddings.ndim == 1:  # lists of fixed or large size come as objects
            try:
                embeddings = np.array(embeddings.tolist(), dtype=np.float32)
            except (TypeError, ValueError):
                embeddings = embeddings[:, None].astype(object)
        if embeddings.ndim != 2 or embeddings.dtype == object:
            raise StageError.because(
                f"{name} expects vectors of length {self.embedding_size} in column {column!r}, not what is there",
                "name the column with the embeddings by embedding_column=",
            )
        if embeddings.shape[1] != self.embedding_size:
            needed = _TITLES.get(self.embedding_of or "", self.embedding_of)
            raise StageError.because(
                f"{name} expects embeddings of length {self.embedding_size}, but column {column!r} has length "
                f"{embeddings.shape[1]}",
                f"the predictor was trained on {needed} embeddings; embed with that model." if needed else None,
            )
        return embeddings


def _users_level() -> int:
    """The ``stacklevel`` with which a warning of the caller points at the line that called imagecurate."""
    level = 1
    frame: types.FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "imagecurate":
        level, frame = level + 1, frame.f_back
    return level
