"""Memory that stages took where somebody measured it; what is not here was not measured.

CPU: peak resident memory (``getrusage``) of a fresh ``imagecurate run p.yaml --until 0 -q`` whose step is the stage,
over 460 photographs (mean 199 kpixel) on 2 cores of an AMD EPYC with AVX512-BF16, torch 2.15, Python 3.11.  Libraries,
decoder and model are in it: the same run with a filter on captions takes 198 MB, one that decodes 229 MB.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["MEASURED", "Measured"]


@dataclass(frozen=True)
class Measured:
    """Bytes at the peak; None where that was not measured."""

    #: With which parameters.
    of: str
    cpu: int | None = None
    gpu: int | None = None


#: By the name of the stage.  The embedder with vit_base_patch32_clip_224 took 1,534 MB.
MEASURED: Mapping[str, Measured] = {
    "ImageDigest": Measured("with its defaults", cpu=218_000_000),
    "PixelDigest": Measured("with its defaults", cpu=236_000_000),
    "PerceptualHash": Measured("with its defaults", cpu=876_000_000),
    "ThumbnailEmbedder": Measured("with its defaults", cpu=271_000_000),
    "TimmImageEmbedder": Measured("with vit_large_patch14_clip_quickgelu_224.openai", cpu=2_832_000_000),
}
