"""LAION's two predictors on OpenAI CLIP ViT-L/14 embeddings.

Both compute in float64, which costs nothing beside the embedding: a row's score, rounded to float32, then does not
depend on how many rows were scored with it.  Both scale the embedding to unit length first, as their authors do; on
longer vectors the aesthetic score leaves its range.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from imagecurate.stages.classifier import ImageClassifier
from imagecurate.weights import AESTHETIC, CLIP_VIT_L14, NSFW, KnownWeights

if TYPE_CHECKING:
    import torch

__all__ = ["AestheticClassifier", "NsfwClassifier"]


class LaionPredictor(ImageClassifier):
    """What both have in common: the embedding they need, and where their weights come from."""

    embedding_size: ClassVar[int] = 768
    embedding_of: ClassVar[str | None] = CLIP_VIT_L14
    weights: ClassVar[KnownWeights]

    def weights_digest(self) -> str:
        """Digest of the tensors; the published ones need not be looked at, for they are verified before use."""
        return self.weights.digest(self.model_path)


class AestheticClassifier(LaionPredictor):
    """Score how much people would like a picture: LAION's aesthetic predictor V2, about 1 to 10, mostly 4 to 7.

    Five linear layers without an activation between them (768 → 1024 → 128 → 64 → 16 → 1) are one affine map; they are
    multiplied out once, and a score is one dot product.

    Parameters
    ----------
    embedding_column : str, default="image_embedding"
        Embeddings of OpenAI CLIP ViT-L/14.
    pred_column : str, default="aesthetic_score"
    model_path : str or Path, optional
        ``sac+logos+ava1-l14-linearMSE.pth``, or a folder that holds it.  By default it is looked for in the model
        folder (``$IMAGECURATE_MODELS``, else ``~/.cache/imagecurate/models``) and fetched into it.
    batch_size : int, default=8192
        See ``ImageClassifier``.

    Adds
    ----
    ``pred_column`` : float

    Raises
    ------
    StageError
        The embeddings are those of another model.
    WeightsError
        The weights cannot be found or fetched, or are not what they should be.
    """

    weights: ClassVar[KnownWeights] = AESTHETIC

    pred_column: str = Field(default="aesthetic_score", min_length=1)

    def load_model(self, device: str) -> Callable[[Any], Any]:
        """Multiply the layers out."""
        weight, bias = (tensor.to(device) for tensor in collapsed(self.weights.load(self.model_path)))

        def score(embeddings: torch.Tensor) -> torch.Tensor:  # (n, 768) -> (n,)
            return unit(embeddings) @ weight + bias

        return score


class NsfwClassifier(LaionPredictor):
    """Score how likely a picture is not safe for work, 0 to 1: LAION's CLIP-based detector.

    The embedding is standardised with the mean and variance stored beside the weights, then
    768 → 64 → 512 → 256 → 1 with ReLU between the layers and a sigmoid at the end.

    Parameters
    ----------
    embedding_column : str, default="image_embedding"
        Embeddings of OpenAI CLIP ViT-L/14.
    pred_column : str, default="nsfw_score"
    model_path : str or Path, optional
        ``clip_autokeras_binary_nsfw.pth``, or a folder that holds it.  By default it is looked for in the model folder
        (``$IMAGECURATE_MODELS``, else ``~/.cache/imagecurate/models``) and fetched into it.
    batch_size : int, default=8192
        See ``ImageClassifier``.

    Adds
    ----
    ``pred_column`` : float

    Raises
    ------
    StageError
        The embeddings are those of another model.
    WeightsError
        The weights cannot be found or fetched, or are not what they should be.
    """

    weights: ClassVar[KnownWeights] = NSFW

    pred_column: str = Field(default="nsfw_score", min_length=1)

    def load_model(self, device: str) -> Callable[[Any], Any]:
        """Put the layers together."""
        import torch

        state = {name: tensor.to(device, torch.float64) for name, tensor in self.weights.load(self.model_path).items()}
        layers = [(state[f"linear_{number}.weight"], state[f"linear_{number}.bias"]) for number in (1, 2, 3, 4)]
        mean, deviation = state["norm.mean"], state["norm.variance"].sqrt()

        def score(embeddings: torch.Tensor) -> torch.Tensor:  # (n, 768) -> (n, 1)
            values = (unit(embeddings) - mean) / deviation
            for weight, bias in layers[:-1]:
                values = torch.nn.functional.linear(values, weight, bias).relu()
            return torch.nn.functional.linear(values, *layers[-1]).sigmoid()

        return score


def unit(embeddings: torch.Tensor) -> torch.Tensor:
    """Scale each row to unit length, in float64; a zero row becomes NaN, which the store keeps as null."""
    values = embeddings.double()
    scaled: torch.Tensor = values / values.norm(dim=1, keepdim=True)
    return scaled


def collapsed(state: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Multiply out linear layers that have no activation between them.

    Parameters
    ----------
    state : mapping of str to tensor
        ``layers.<number>.weight`` of shape (outputs, inputs) and ``layers.<number>.bias``, the last with one output.

    Returns
    -------
    weight : tensor of shape (inputs of the first layer,), float64
    bias : tensor of shape (), float64

    Examples
    --------
    >>> import torch
    >>> weight, bias = collapsed({
    ...     "layers.0.weight": torch.tensor([[1.0, 2.0], [3.0, 4.0]]), "layers.0.bias": torch.tensor([1.0, 1.0]),
    ...     "layers.2.weight": torch.tensor([[1.0, 1.0]]), "layers.2.bias": torch.tensor([0.5]),
    ... })
    >>> weight.tolist(), bias.item()
    ([4.0, 6.0], 2.5)
    """
    numbers = sorted({int(name.split(".")[1]) for name in state})
    layers = [
        (state[f"layers.{number}.weight"].double(), state[f"layers.{number}.bias"].double()) for number in numbers
    ]
    weight, bias = layers[0]
    for outer, outer_bias in layers[1:]:
        weight, bias = outer @ weight, outer @ bias + outer_bias
    return weight[0], bias[0]
