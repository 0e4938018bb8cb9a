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

from imagecurate.backend.machines import everywhere, jpeg_trouble, machine_of_run
from imagecurate.errors import MissingDependencyError
from imagecurate.images import DecodePolicy, Preprocessing
from imagecurate.images.device_pictures import FILTERS, DevicePictures, check_filter
from imagecurate.images.header import JpegHeader
from imagecurate.images.reduced import ReducedPictures
from imagecurate.images.resize import SMOOTH
from imagecurate.plan.stage import FilePictures

__all__ = ["FROM_PIXELS", "JpegDecoder", "PixelSource", "file_pictures", "pixel_path", "pixel_source"]

_log = logging.getLogger(__name__)

#: Pixels of a picture from which on ``jpeg_decoder="auto"`` leaves it to the GPU: below, the CPU's cores keep up with
#: the model, and their pixels are those of a run without a GPU.  ``python -m benchmarks gpu pixels`` compares both.
FROM_PIXELS = 2_000_000

JpegDecoder = Literal["auto", "cpu", "gpu"]
#: Where pixels come from: the CPU alone, the GPU for large files, the GPU for all that it takes.
PixelSource = Literal["cpu", "large", "gpu"]


def pixel_path(source: PixelSource) -> str | None:
    """Name where the pixels of a model come from; None for the CPU alone."""
    return {"gpu": "gpu", "large": f"gpu from {FROM_PIXELS} pixels"}.get(source)


def pixel_source(jpeg_decoder: JpegDecoder, preprocessing: Preprocessing) -> PixelSource:
    """Say where pixels come from wherever stages run: one answer, so by ``"auto"`` what all machines can do.

    Raises
    ------
    MissingDependencyError, ParameterError
        The GPU was asked for, and the libraries are missing or cannot do this preprocessing.
    """
    if jpeg_decoder == "cpu" or machine_of_run().device == "cpu":
        return "cpu"
    if jpeg_decoder == "gpu":
        check_filter(preprocessing)
    elif preprocessing.interpolation not in FILTERS:
        return "cpu"
    troubles = [trouble for trouble in everywhere(jpeg_trouble) if trouble]
    if not troubles:
        return "gpu" if jpeg_decoder == "gpu" else "large"
    if jpeg_decoder == "gpu":
        raise MissingDependencyError.because(
            f"jpeg_decoder='gpu' needs a GPU, nvImageCodec and DALI wherever models run: {troubles[0]}",
            "pip install 'imagecurate[cuda13]' there, or give jpeg_decoder='cpu'",
        )
    _log.info("pictures are decoded on the CPU: %s", troubles[0])
    return "cpu"


def file_pictures(source: PixelSource, preprocessing: Preprocessing, policy: DecodePolicy) -> FilePictures | None:
    """Give what prepares files for a model, beside the decoder; None where nothing does.

    Raises
    ------
    MissingDependencyError, ParameterError
        The libraries are missing, or cannot do this preprocessing.
    """
    if source == "cpu":
        return ReducedPictures(preprocessing, policy) if preprocessing.interpolation in SMOOTH else None
    return LargeFiles(_on_device(preprocessing, policy), FROM_PIXELS if source == "large" else 0)


class LargeFiles:
    """Prepares files from some number of pixels on.

    Parameters
    ----------
    pictures : DevicePictures
    from_pixels : int
    """

    #: Files that are prepared at a time: the GPU is fast by the batch.
    at_once = 32

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


_making = threading.Lock()


def _forget() -> None:
    global _making
    _making = threading.Lock()  # one that another thread held would never be released
    _made.cache_clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)  # a CUDA context does not outlive a fork
