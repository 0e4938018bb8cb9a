"""Digests of images: of the file as it is, or of what is to be seen in it."""

from __future__ import annotations

import hashlib
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
import xxhash
from numpy.typing import NDArray
from pydantic import Field

from imagecurate.plan.stage import Computed, ImageStage

__all__ = ["ImageDigest", "PixelDigest"]

_DIGESTS: dict[str, Any] = {"xxh3_128": xxhash.xxh3_128, "sha256": hashlib.sha256}


class ImageDigest(ImageStage):
    """Digest each image's file: equal for equal bytes.  Nothing is decoded.

    Parameters
    ----------
    algorithm : {"xxh3_128", "sha256"}, default="xxh3_128"
        The first costs next to nothing; the second is what lists of known images hold.
    column : str, default="image_digest"

    Adds
    ----
    ``column`` : str
        In hex.

    Examples
    --------
    >>> stage = ImageDigest(algorithm="sha256")
    >>> stage.process([stage.prepare(b"a file")])["image_digest"][0][:16]
    '7365d029861e32c5'
    """

    looks_at: ClassVar[Literal["pixels", "bytes"]] = "bytes"

    algorithm: Literal["xxh3_128", "sha256"] = "xxh3_128"
    column: str = Field(default="image_digest", min_length=1)

    def adds(self) -> dict[str, pa.DataType]:
        """The digest."""
        return {self.column: pa.string()}

    def prepare(self, pixels: bytes) -> str:
        """Digest one file."""
        return str(_DIGESTS[self.algorithm](pixels).hexdigest())

    def process(self, batch: list[str]) -> Computed:
        """Give the digests."""
        return {self.column: batch}


class PixelDigest(ImageStage):
    """Digest each decoded picture: equal where every pixel is, whatever the file's format and metadata.

    Parameters
    ----------
    column : str, default="pixel_digest"

    Adds
    ----
    ``column`` : str
        xxh3_128 of height, width and pixels, in hex.

    Examples
    --------
    >>> stage = PixelDigest()
    >>> tall, wide = (stage.prepare(np.zeros(shape, np.uint8)) for shape in ((4, 2, 3), (2, 4, 3)))
    >>> tall == wide, tall == stage.prepare(np.zeros((4, 2, 3), np.uint8))
    (False, True)
    """

    column: str = Field(default="pixel_digest", min_length=1)

    def adds(self) -> dict[str, pa.DataType]:
        """The digest."""
        return {self.column: pa.string()}

    def prepare(self, pixels: NDArray[np.uint8]) -> str:
        """Digest one picture."""
        state = xxhash.xxh3_128(f"{pixels.shape[0]}x{pixels.shape[1]}".encode())
        state.update(np.ascontiguousarray(pixels).data)
        return str(state.hexdigest())

    def process(self, batch: list[str]) -> Computed:
        """Give the digests."""
        return {self.column: batch}
