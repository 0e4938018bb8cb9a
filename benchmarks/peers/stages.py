"""Stages of the benchmarks' own, as a user would write them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

import imagecurate as ic
from imagecurate.images import Decoder, Preprocessing
from imagecurate.images.header import jpeg_header
from imagecurate.images.reduced import ReducedPictures

if TYPE_CHECKING:
    import torch

__all__ = ["Checks", "Normalised", "Score", "prepared"]

#: What ``vit_base_patch32_clip_224`` takes.
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


class Normalised(ic.ImageEmbedder):
    """The pass over pixels up to the model's input, and a model that costs nothing: one pixel of it."""

    input_size: ClassVar[int] = 224
    crop_pct: ClassVar[float] = 1.0
    mean: ClassVar[tuple[float, float, float]] = MEAN
    std: ClassVar[tuple[float, float, float]] = STD
    normalize_embeddings: bool = False

    def load_model(self, device: str) -> Callable[[torch.Tensor], torch.Tensor]:
        return lambda pictures: pictures[:, :, 112, 112]


def prepared(data: bytes, preprocessing: Preprocessing, decoder: Decoder) -> np.ndarray:
    """A picture as an embedder has it prepared from its file: a large JPEG is decoded at less than its size."""
    files, header = ReducedPictures(preprocessing, decoder.policy), jpeg_header(data)
    if files.takes(data, header):
        return files.prepare([data], [header])[0][0]
    return preprocessing.prepare(decoder.decode(data, header).pixels)


class Score(ic.ColumnStage):
    """Two scores between 0 and 10 that are as good as random, of an embedding or a key."""

    column: str = "key"

    def adds(self) -> dict[str, Any]:
        import pyarrow as pa

        return {"aesthetic": pa.float32(), "nsfw": pa.float32()}

    def reads(self) -> tuple[str, ...]:
        return (self.column,)

    def process(self, columns: Mapping[str, Any]) -> dict[str, Any]:
        given = columns[self.column]
        first = given.astype(np.int64) if given.ndim == 1 else given[:, 0] * 1e6
        aesthetic = (first * 0.6180339887 % 1 * 10).astype(np.float32)
        return {"aesthetic": aesthetic, "nsfw": (first * 0.4142135624 % 1).astype(np.float32)}


class Checks(ic.ImageStage):
    """What cleanvision looks at, as a user would write it: of a thumbnail of at most 64 pixels a side."""

    def prepare(self, pixels: Any) -> Any:
        from PIL import Image

        picture = Image.fromarray(pixels)
        small = picture.copy()
        small.thumbnail((64, 64))
        return pixels.shape, np.asarray(picture.convert("L")), np.asarray(small), picture.entropy()

    def adds(self) -> dict[str, Any]:
        import pyarrow as pa

        return dict.fromkeys(("dark", "light", "aspect", "entropy", "colour", "sharpness"), pa.float32())

    def process(self, batch: Any) -> dict[str, Any]:
        return {
            "dark": [np.percentile(grey, 99) for _, grey, _, _ in batch],
            "light": [np.percentile(grey, 5) for _, grey, _, _ in batch],
            "aspect": [min(shape[:2]) / max(shape[:2]) for shape, _, _, _ in batch],
            "entropy": [entropy for _, _, _, entropy in batch],
            "colour": [np.ptp(small.astype(int), axis=2).mean() for _, _, small, _ in batch],
            "sharpness": [np.diff(small.astype(int), 2, axis=0).var() for _, _, small, _ in batch],
        }
