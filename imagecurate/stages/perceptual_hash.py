"""A hash of what a picture looks like, for finding copies that are not equal byte by byte."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field

from imagecurate.images.perceptual import (
    CROPS,
    THUMBNAIL,
    HashSize,
    detail,
    luma_thumbnail,
    perceptual_hashes,
    texts_of,
)
from imagecurate.plan.stage import Computed, ImageStage

__all__ = ["PerceptualHash"]


class PerceptualHash(ImageStage):
    r"""Hash pictures so that copies of one, altered a little, have hashes that differ in few bits.

    Of 256 bits, two different photographs differ in about 128, hardly ever in fewer than 80; copies at half size, from
    JPEG of quality 30, 40 % brighter or grey in at most 40.  A copy that lost 5 % of its height and width differs in
    about 45, but in 6 from the hash of that part of the original: so compare the hash of one with the hash and the
    crops of the other, both ways.  A picture that was turned, mirrored, framed or cut by more is not found.

    Parameters
    ----------
    hash_size : {256, 64}, default=256
        Bits.  256: PDQ, comparable with hashes that other tools made.  64: pHash, as imagehash makes it; in a million
        pairs of pictures on a white ground thousands are within 8 bits.
    crops : {9, 1, 0}, default=9
        Parts of the picture, 95 % of its height and width, that have hashes too: the middle, and the edges and corners,
        so that copies that were cut anywhere are found.  1: the middle alone, of which a search is five times as fast.
    hash_column : str, default="perceptual_hash"
    quality_column : str, default="perceptual_quality"

    Adds
    ----
    ``hash_column`` : string
        The bits in hexadecimal digits, 64 or 16: as lists of known pictures are exchanged, and as an expression or a
        data frame on any backend can compare them.
    ``<hash_column>_crops`` : string
        The hashes of the parts, one after the other; not there with ``crops=0``.
    ``quality_column`` : int32
        How much there is to see, from 0 (flat) to 100 (most photographs), by PDQ's measure.  The hash of a picture with
        little detail says nothing.

    Examples
    --------
    >>> hasher = PerceptualHash(hash_size=64)
    >>> picture = np.random.default_rng(1).integers(0, 256, (8, 8, 3), dtype=np.uint8).repeat(40, 0).repeat(60, 1)
    >>> thumbnails = np.stack([hasher.prepare(copy) for copy in (picture, picture[::2, ::2], picture // 2)])
    >>> hasher.process(thumbnails)["perceptual_hash"]
    ['8ce7f058b83a27ca', '8ce7f058b83a27ca', '8ce7f058b83a27ca']
    """

    hash_size: HashSize = 256
    crops: Literal[0, 1, 9] = 9
    hash_column: str = Field(default="perceptual_hash", min_length=1)
    quality_column: str = Field(default="perceptual_quality", min_length=1)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of the thumbnail."""
        return THUMBNAIL.input_size

    def adds(self) -> dict[str, pa.DataType]:
        """The hash, those of the crops and the quality."""
        crops = {self._crops_column: pa.string()} if self.crops else {}
        return {self.hash_column: pa.string(), **crops, self.quality_column: pa.int32()}

    def ingredients(self) -> dict[str, Any]:
        """How pictures are made small."""
        return {"thumbnail": THUMBNAIL.identity()}

    def prepare(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Squash one picture to 64 × 64 shades of grey."""
        return luma_thumbnail(pixels)

    def process(self, batch: NDArray[np.uint8]) -> Computed:
        """Hash some thumbnails."""
        batch = np.asarray(batch)
        hashes = texts_of(perceptual_hashes(batch, self.hash_size))
        parts = [perceptual_hashes(batch, self.hash_size, place) for place in CROPS[self.crops]]
        crops = {self._crops_column: texts_of(np.concatenate(parts, axis=1))} if parts else {}
        return {self.hash_column: hashes, **crops, self.quality_column: detail(batch)}

    @property
    def _crops_column(self) -> str:
        return f"{self.hash_column}_crops"
