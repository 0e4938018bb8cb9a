"""What is asked of the decoder, and what it tells about a picture."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from imagecurate.errors import ParameterError

__all__ = ["INFO_COLUMNS", "DecodePolicy", "Decoded", "ImageInfo"]

#: Columns that every sample has once its pixels were looked at, with their Arrow types.
INFO_COLUMNS: dict[str, pa.DataType] = {
    "image_width": pa.int32(),
    "image_height": pa.int32(),
    "image_format": pa.string(),
    "image_mode": pa.string(),
    "image_bit_depth": pa.int32(),
    "image_orientation": pa.int32(),
    "image_has_alpha": pa.bool_(),
    "image_is_animated": pa.bool_(),
    "image_is_truncated": pa.bool_(),
    "image_error": pa.string(),
}


@dataclass(frozen=True)
class DecodePolicy:
    """How far the decoder goes for one picture.

    Parameters
    ----------
    max_pixels : int, default=89_478_485
        Width times height above which a picture is refused, read from its header before anything is decoded.  The
        default is where Pillow begins to warn: 256 MiB of RGB, more than any photograph on the web.
    timeout_s : float, default=10.0
        Seconds that decoding may take, for whatever can take long; the start of a decoder process is not counted.
    accept_truncated : bool, default=False
        Decode what there is of a file that ends early, instead of failing it.  What is missing is grey or black.

    Raises
    ------
    ParameterError
        A limit that is not positive.

    Examples
    --------
    >>> DecodePolicy(max_pixels=1_000_000).identity()
    {'version': 2, 'max_pixels': 1000000, 'accept_truncated': False}
    """

    max_pixels: int = 89_478_485
    timeout_s: float = 10.0
    accept_truncated: bool = False

    #: Raise it when the same file begins to give other pixels, another reason or other columns.
    VERSION: ClassVar[int] = 2

    def __post_init__(self) -> None:
        if self.max_pixels < 1:
            raise ParameterError(f"DecodePolicy expects max_pixels of at least 1, found {self.max_pixels!r}")
        if not 0 < self.timeout_s < float("inf"):
            raise ParameterError(f"DecodePolicy expects a positive, finite timeout_s, found {self.timeout_s!r}")

    def identity(self) -> dict[str, Any]:
        """What decides the pixels; the time limit does not."""
        return {"version": self.VERSION, "max_pixels": self.max_pixels, "accept_truncated": self.accept_truncated}


@dataclass(frozen=True)
class ImageInfo:
    """What is known of a picture; None where its file does not tell.

    Parameters
    ----------
    width, height : int
        Pixels of the upright picture, after EXIF orientation.
    format : str
        As Pillow calls it, in lower case: ``"jpeg"``, ``"png"``, ``"webp"``, ``"avif"``, ``"gif"``, ``"tiff"``, ….  By
        content, never by file name.
    mode : str
        Pillow's mode of the picture as stored: ``"RGB"``, ``"L"``, ``"CMYK"``, ``"P"``, ``"RGBA"``, ``"I;16"``, ….
    bit_depth : int
        Bits a channel (of a palette: bits an index) in the file.
    orientation : int
        EXIF orientation, 1 to 8; 1 where none is given.
    has_alpha : bool
        Has an alpha channel or a transparent colour, whether or not a pixel uses it.
    is_animated : bool
        Has more frames or pages than the one that was decoded.
    is_truncated : bool
        The file ends before its picture does.
    error : str
        Why there are no pixels; None where all is well.
    """

    width: int | None = None
    height: int | None = None
    format: str | None = None
    mode: str | None = None
    bit_depth: int | None = None
    orientation: int | None = None
    has_alpha: bool | None = None
    is_animated: bool | None = None
    is_truncated: bool | None = None
    error: str | None = None

    def columns(self) -> dict[str, Any]:
        """One value for each of ``INFO_COLUMNS``.

        >>> ImageInfo(width=4, height=3).columns()["image_width"]
        4
        """
        return {f"image_{field.name}": getattr(self, field.name) for field in fields(self)}


@dataclass
class Decoded:
    """One picture.

    Parameters
    ----------
    pixels : array of shape (height, width, 3), uint8, or None
        RGB, upright, C-contiguous; None where ``info.error`` says why.
    info : ImageInfo
    """

    pixels: NDArray[np.uint8] | None
    info: ImageInfo
