"""Embeddings by any of timm's models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from pydantic import field_validator

from imagecurate.errors import ParameterError
from imagecurate.images import Preprocessing
from imagecurate.stages.embedder import ImageEmbedder
from imagecurate.stages.models import Precision
from imagecurate.store.fingerprint import digest
from imagecurate.weights import CLIP_VIT_L14, existing_file, file_digest
from imagecurate.weights.timm_models import TimmModel, timm_model

__all__ = ["TimmImageEmbedder"]

#: Embeddings that predictors know, by timm's names for the model.
_SPACES = {
    ("vit_large_patch14_clip_quickgelu_224", "openai"): CLIP_VIT_L14,
    ("vit_large_patch14_clip_224", "openai"): CLIP_VIT_L14,
}


class TimmImageEmbedder(ImageEmbedder):
    """Embed pictures with a timm model.

    The embedding is the model's feature: a classifier is removed, the projection head of an image-text model (CLIP,
    MobileCLIP) stays.  So ``vit_large_patch14_clip_quickgelu_224.openai`` gives 768 numbers,
    ``vit_base_patch32_clip_224.openai`` 512 and ``resnet50.a1_in1k`` 2048.  Preprocessing is timm's for the model.

    Parameters
    ----------
    model_name : str
        As for ``timm.create_model``, best with the tag of the weights.
    pretrained : bool, default=False
        Use the published weights, from the Hugging Face Hub's cache or fetched into it.  Without them and without
        ``checkpoint_path`` the weights are random, and the same in every process.
    batch_size, num_threads_per_worker, normalize_embeddings, autocast, image_embedding_column
        See ``ImageEmbedder``.
    checkpoint_path : str or Path, optional
        A local file with the weights, ``.safetensors`` or a torch file; takes the place of the published ones.
    precision : {"auto", "float32", "bfloat16", "float16"}, default="auto"
        As in ``ImageEmbedder``; on a GPU ``"auto"`` is float16 for CLIP and its kin, which is as fast as bfloat16 and
        eight times finer.
    jpeg_decoder, compile_model
        See ``ImageEmbedder``.

    Adds
    ----
    ``image_embedding_column`` : list<float32>
        Null, and the sample failed, where the vector is zero or not finite.

    Raises
    ------
    ParameterError
        timm knows no such model, or has no weights for it.
    WeightsError
        The weights cannot be fetched or read, or do not fit the model.

    Examples
    --------
    >>> TimmImageEmbedder("resnet5")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    imagecurate.errors.ParameterError: TimmImageEmbedder: model_name='resnet5': timm knows no such model
    <BLANKLINE>
    Hint: did you mean 'resnet5...
    """

    neutral: ClassVar[frozenset[str]] = ImageEmbedder.neutral | {"pretrained"}

    model_name: str
    pretrained: bool = False

    @field_validator("model_name")
    @classmethod
    def _known(cls, name: str) -> str:
        timm_model(name)
        return name

    def model_post_init(self, context: Any) -> None:
        """Refuse weights that are not there before any work is planned."""
        super().model_post_init(context)
        if self.pretrained and self.checkpoint_path is None and not self._model.is_published:
            raise ParameterError.because(
                f"timm publishes no weights for {self._model.name!r}", "give checkpoint_path= or pretrained=False"
            )

    @property
    def _model(self) -> TimmModel:
        return timm_model(self.model_name)

    @property
    def preprocessing(self) -> Preprocessing:
        """What timm does to a picture when it evaluates this model."""
        return Preprocessing.from_timm(self._model.data_config)

    def load_model(self, device: str) -> Callable[[Any], Any]:
        """Make the model, with its classifier removed and its weights in place."""
        return self._model.build(self._weights_file())

    def weights_digest(self) -> str:
        """Digest of the file of weights; fetches it where it is not there yet."""
        path = self._weights_file()
        return "random, seed 0" if path is None else file_digest(path)

    def embedding_space(self) -> str | None:
        """Name of the published model, for those that predictors know; else timm's."""
        model = self._model
        return _SPACES.get((model.architecture, model.tag or ""), f"timm/{model.name}")

    def caveat(self) -> str | None:
        """That the weights are random, or were trained with another activation."""
        if not self.pretrained and self.checkpoint_path is None:
            return "its weights are random"
        if (self._model.architecture, self._model.tag) == ("vit_large_patch14_clip_224", "openai"):
            return "it computes GELU where OpenAI trained with QuickGELU (vit_large_patch14_clip_quickgelu_224.openai)"
        return None

    @property
    def _precision_on_gpu(self) -> Precision:
        return "float16" if "clip" in f"{self._model.name} {self._model.architecture}".lower() else "bfloat16"

    def ingredients(self) -> dict[str, Any]:
        """Preprocessing, precision, weights, and what a hub's or folder's configuration says of the architecture."""
        arguments = self._model.arguments
        return super().ingredients() | ({"arguments": digest(dict(arguments))} if arguments else {})

    def _weights_file(self) -> Path | None:
        if self.checkpoint_path is not None:
            return existing_file(self.checkpoint_path, type(self).__name__)
        return self._model.published_file() if self.pretrained else None
