"""Small JPEGs of pictures, for pages that hold many of them."""

from __future__ import annotations

import contextlib
from typing import Any, NamedTuple

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from imagecurate.images import Decoder
from imagecurate.images.header import jpeg_header

__all__ = ["SIDE", "Thumbnail", "thumbnail", "veil"]

#: Pixels of the longer side, by default: sharp enough for a tile on a screen with two pixels a point, some 7 kB.
SIDE = 240

#: libjpeg's scale of 0 to 100; no artefacts at this size, and half the bytes of 90.
_QUALITY = 75
#: Pixels of the longer side of what stands in front of a picture: shapes can no longer be told.
_VEIL_SIDE = 6


class Thumbnail(NamedTuple):
    """A small picture, or the reason why there is none."""

    jpeg: bytes | None
    #: Pixels of the thumbnail; 0 where there is none.
    width: int = 0
    height: int = 0
    error: str | None = None


def thumbnail(data: bytes, side: int = SIDE, decoder: Decoder | None = None) -> Thumbnail:
    """Make a small JPEG of an image file, upright and in colour as the decoder's policy says.

    Parameters
    ----------
    data : bytes
        The whole file, of any format.
    side : int
        Most pixels of the longer side; smaller pictures are not made larger.
    decoder : Decoder, optional
        Many threads may share one.

    Returns
    -------
    Thumbnail
        Bad data never raises; then ``jpeg`` is None and ``error`` says why.

    Examples
    --------
    >>> thumbnail(b"no picture")
    Thumbnail(jpeg=None, width=0, height=0, error='not an image')
    """
    pixels = _scaled_down(data, side)
    if pixels is None:
        with contextlib.nullcontext(decoder) if decoder is not None else Decoder() as used:
            decoded = used.decode(data)
        if decoded.pixels is None:
            return Thumbnail(None, error=decoded.info.error or "not decoded")
        pixels = decoded.pixels
    small = _resized(pixels, side)
    height, width, _ = small.shape
    return Thumbnail(_encoded(small), width, height)


def veil(jpeg: bytes) -> bytes:
    """Make what stands in front of a picture until it is opened: its colours, and no more of it.

    Parameters
    ----------
    jpeg : bytes
        A thumbnail.
    """
    pixels = simplejpeg.decode_jpeg(jpeg)
    return _encoded(_resized(_resized(pixels, _VEIL_SIDE), 8 * _VEIL_SIDE, enlarge=True))


def _scaled_down(data: bytes, side: int) -> NDArray[np.uint8] | None:
    """Decode a plain JPEG at an eighth to a half of its size, which costs as much less; None where that is no use."""
    header = jpeg_header(data)
    if header is None or not header.is_plain or header.orientation != 1 or header.scans > 1:
        return None
    shorter = max(1, side * min(header.width, header.height) // max(header.width, header.height))
    if max(header.width, header.height) < 4 * side:
        return None
    try:
        pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, min_height=2 * shorter, min_width=2 * shorter)
    except ValueError:  # a flaw, which the decoder names
        return None
    return pixels


def _resized(pixels: NDArray[np.uint8], side: int, *, enlarge: bool = False) -> NDArray[np.uint8]:
    from PIL import Image

    picture: Any = Image.fromarray(np.ascontiguousarray(pixels))
    scale = side / max(picture.size)
    if scale >= 1 and not enlarge:
        return pixels
    width, height = (max(1, round(length * scale)) for length in picture.size)
    return np.asarray(picture.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=2.0))


def _encoded(pixels: NDArray[np.uint8]) -> bytes:
    jpeg: bytes = simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), _QUALITY, colorsubsampling="420")
    return jpeg
