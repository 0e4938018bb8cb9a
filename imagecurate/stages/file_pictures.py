"""Which pictures are decoded and resized on the GPU that the model runs on, and which on the CPU."""

from __future__ import annotations

import functools
import logging
import os
import threading
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from imagecurate.errors import MissingDependencyError, ParameterError
from imagecurate.images import DecodePolicy, Preprocessing
from imagecurate.images.device_pictures import DevicePictures
from imagecurate.images.header import JpegHeader

__all__ = ["FROM_PIXELS", "file_pictures", "pixel_path"]

_log = logging.getLogger(__name__)

#: Pixels of a picture from which on ``jpeg_decoder="auto"`` leaves it to the GPU: below, the CPU's cores keep up with
#: the model, and their pixels are those of a run without a GPU.  ``python -m benchmarks gpu pixels`` compares both.
FROM_PIXELS = 2_000_000

JpegDecoder = Literal["auto", "cpu", "gpu"]


def pixel_path(jpeg_decoder: JpegDecoder, preprocessing: Preprocessing) -> str | None:
    """Name where the pixels of a model on a GPU come from; None for the CPU alone."""
    if file_pictures(jpeg_decoder, preprocessing, DecodePolicy()) is None:
        return None
    return "gpu" if jpeg_decoder == "gpu" else f"gpu from {FROM_PIXELS} pixels"


def file_pictures(jpeg_decoder: JpegDecoder, preprocessing: Preprocessing, policy: DecodePolicy) -> LargeFiles | None:
    """Give what prepares files on the GPU; None where all is decoded on the CPU.

    Raises
    ------
    MissingDependencyError, ParameterError
        The GPU was asked for, and the libraries are missing or cannot do this preprocessing.
    """
    if jpeg_decoder == "cpu":
        return None
    if jpeg_decoder == "gpu":
        return LargeFiles(_on_device(preprocessing, policy), 0)
    pictures = _if_possible(preprocessing, policy)
    return None if pictures is None else LargeFiles(pictures, FROM_PIXELS)


class LargeFiles:
    """Prepares files from some number of pixels on.

    Parameters
    ----------
    pictures : DevicePictures
    from_pixels : int
    """

    def __init__(self, pictures: DevicePictures, from_pixels: int) -> None:
        self._pictures = pictures
        self._from_pixels = from_pixels

    def takes(self, data: bytes, header: JpegHeader | None) -> bool:
        """Whether a file is large enough, and one that can be prepared there."""
        large = header is not None and header.width * header.height >= self._from_pixels
        return large and self._pictures.takes(data, header)

    def prepare(self, files: Sequence[bytes], headers: Sequence[JpegHeader]) -> tuple[Any, NDArray[np.bool_]]:
        """Decode, resize and crop; what could not be decoded is told."""
        return self._pictures.prepare(files, headers)


def _on_device(preprocessing: Preprocessing, policy: DecodePolicy) -> DevicePictures:
    """One for each preprocessing in a process: made by the first thread that asks while the others wait."""
    with _making:
        return _made(preprocessing, policy)


@functools.lru_cache(maxsize=8)
def _made(preprocessing: Preprocessing, policy: DecodePolicy) -> DevicePictures:
    return DevicePictures(preprocessing, policy)


@functools.lru_cache(maxsize=8)
def _if_possible(preprocessing: Preprocessing, policy: DecodePolicy) -> DevicePictures | None:
    try:
        return _on_device(preprocessing, policy)
    except (MissingDependencyError, ParameterError) as error:
        _log.info("pictures are decoded on the CPU: %s", str(error).splitlines()[0])
    except Exception as error:  # of libraries that are there, but do not go with this driver or each other
        _log.warning("pictures are decoded on the CPU: %s: %s", type(error).__name__, error)
    return None


_making = threading.Lock()


def _forget() -> None:
    global _making
    _making = threading.Lock()  # one that another thread held would never be released
    _made.cache_clear()
    _if_possible.cache_clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)  # a CUDA context does not outlive a fork
