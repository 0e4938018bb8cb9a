"""Perceptual hashes: pictures that look alike have hashes that differ in few bits.

A picture is squashed to 64 × 64, and of its lowest spatial frequencies each gives one bit: whether it is stronger than
the median of them all.  Copies that were scaled, compressed again, made brighter or grey keep nearly all their bits;
two different photographs differ in half of them.  A copy that lost its margins differs in more, but in few from the
hash of that part of the picture, which the same 64 × 64 give.
"""

from __future__ import annotations

import functools
import re
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from imagecurate.images.preprocessing import Preprocessing

__all__ = [
    "CROPS",
    "THUMBNAIL",
    "HashSize",
    "detail",
    "hashes_of",
    "luma_thumbnail",
    "perceptual_hashes",
    "texts_of",
]

#: Bits of a hash.
HashSize = Literal[64, 256]

#: How a picture becomes small: PDQ's side, and a filter no narrower than PDQ's two box filters.
THUMBNAIL = Preprocessing((64, 64), interpolation="bilinear", crop_mode="squash")

#: Parts of a picture that may have a hash of their own, 95 % of its height and width, by how many there are: where they
#: lie down and across, 0 at one edge, 1 at the other.
CROPS: dict[int, tuple[tuple[float, float], ...]] = {
    0: (),
    1: ((0.5, 0.5),),
    9: tuple((down, across) for down in (0.0, 0.5, 1.0) for across in (0.0, 0.5, 1.0)),
}
_CROP_SIDE = 0.95

_SIDE = 64

_HEXADECIMAL = re.compile("([0-9a-fA-F]{2})*")

#: Luma of ITU-R BT.601, as in JPEG and PDQ, in thousandths.
_LUMA = np.array([299, 587, 114])

#: PDQ's filter stands off centre by half its window: an eighth of a thumbnail's pixel where a picture has 512, to which
#: PDQ brings larger ones.  We look there whatever the size; in PDQ the place moves with the size of the picture, so
#: that half-size copies differ in 16 bits there and in none here (medians of 400 photographs).
_PDQ_SHIFT = 1 / 8


def luma_thumbnail(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Squash a picture to 64 × 64 shades of grey, all that its hash is made of.

    Parameters
    ----------
    pixels : array of shape (height, width, 3), uint8
        RGB, upright.

    Returns
    -------
    array of shape (64, 64), uint8
    """
    luma: NDArray[np.uint8] = ((THUMBNAIL.prepare(pixels) @ _LUMA + 500) // 1000).astype(np.uint8)
    return luma


def perceptual_hashes(
    thumbnails: NDArray[np.uint8], hash_size: HashSize, crop: tuple[float, float] | None = None
) -> NDArray[np.uint8]:
    """Hash some pictures.

    Parameters
    ----------
    thumbnails : array of shape (n, 64, 64), uint8
    hash_size : {64, 256}
        256: PDQ (Meta, 2019, "The TMK+PDQF video-hashing algorithm and the PDQ image-hashing algorithm"), frequencies 1
        to 16 along each axis.  64: pHash as the library imagehash has it, frequencies 0 to 7.
    crop : (float, float), optional
        The place of the part to hash, as in ``CROPS``; the whole picture by default.

    Returns
    -------
    array of shape (n, hash_size / 8), uint8
        The bits in the order in which those libraries write them.

    Examples
    --------
    >>> ramp = np.tile(np.arange(64, dtype=np.uint8), (1, 64, 1))
    >>> texts_of(perceptual_hashes(ramp, 64))
    ['8000000000000000']
    """
    start, side = ((0.0, 0.0), 1.0) if crop is None else (crop, _CROP_SIDE)
    down, across = (_transform(hash_size, place * (1 - side), side) for place in start)
    strengths = down @ thumbnails.astype(np.float64) @ across.T  # (n, 8, 8) or (n, 16, 16)
    # What is zero or equal but for the last digits, as in a flat or a symmetric picture, is so on every machine.
    strengths = strengths.reshape(-1, hash_size).round(3)
    stronger = strengths > np.median(strengths, axis=1, keepdims=True)
    return np.packbits(stronger[:, ::-1] if hash_size == 256 else stronger, axis=1)


def detail(thumbnails: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Say how much there is to see in some pictures, by PDQ's measure: the steps between neighbouring pixels.

    Parameters
    ----------
    thumbnails : array of shape (n, 64, 64), uint8

    Returns
    -------
    array of shape (n,), int32
        0 (flat) to 100, which most photographs have.

    Examples
    --------
    >>> detail(np.zeros((1, 64, 64), np.uint8)).tolist()
    [0]
    """
    shades = thumbnails.astype(np.int32)
    down, along = (np.abs(np.diff(shades, axis=axis)) * 100 // 255 for axis in (1, 2))  # in percent, rounded down
    total = down.sum(axis=(1, 2)) + along.sum(axis=(1, 2))
    quality: NDArray[np.int32] = np.minimum(total // 90, 100).astype(np.int32)  # PDQ's pdqImageDomainQualityMetric
    return quality


def texts_of(hashes: NDArray[np.uint8]) -> list[str]:
    """Write hashes, of shape (n, bytes), as hexadecimal text.

    >>> texts_of(np.array([[1, 255], [0, 16]], np.uint8))
    ['01ff', '0010']
    """
    count, width = hashes.shape
    text = hashes.tobytes().hex()
    return [text[start : start + 2 * width] for start in range(0, 2 * width * count, 2 * width)]


def hashes_of(texts: pa.Array) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Read hashes that are written as hexadecimal text.

    Parameters
    ----------
    texts : pyarrow.Array of string

    Returns
    -------
    hashes : array of shape (number of valid rows, bytes), uint8
        Shape (0, 0) where no row is valid.
    valid : array of shape (n,), bool
        False where the text is null.

    Raises
    ------
    ValueError
        Text that is not hexadecimal, or texts of different lengths.

    Examples
    --------
    >>> hashes, valid = hashes_of(pa.array(["01ff", None]))
    >>> hashes.tolist(), valid.tolist()
    ([[1, 255]], [True, False])
    """
    valid = texts.is_valid().to_numpy(zero_copy_only=False)
    written = texts.drop_null().to_pylist()
    lengths = {len(text) for text in written}
    if len(lengths) > 1:
        raise ValueError(f"hashes of one column have as many digits each, found {min(lengths)} and {max(lengths)}")
    try:
        flat = np.frombuffer(bytes.fromhex("".join(written)), np.uint8)
        return flat.reshape(len(written), max(lengths, default=0) // 2), valid
    except ValueError:
        wrong = next(text for text in written if not _HEXADECIMAL.fullmatch(text))
        raise ValueError(f"a hash is written in hexadecimal digits, two a byte, found {wrong!r}") from None


@functools.cache
def _transform(hash_size: HashSize, start: float, side: float) -> NDArray[np.float64]:
    """Cosine transform along one axis of what begins at ``start`` and is ``side`` long, shape (8 or 16, 64)."""
    first, count, shift = (1, 16, _PDQ_SHIFT) if hash_size == 256 else (0, 8, 0.0)
    frequencies, pixels = np.arange(first, first + count)[:, None], np.arange(_SIDE)
    cosines = np.cos(np.pi / _SIDE * frequencies * (pixels + 0.5))
    # The part's 64 pixels lie between those of the thumbnail.
    places = np.clip(start * _SIDE + side * (pixels + 0.5 + shift) - 0.5, 0, _SIDE - 1)
    weights = np.maximum(0, 1 - np.abs(places[:, None] - pixels))  # (64, 64)
    transform: NDArray[np.float64] = cosines @ weights
    return transform
