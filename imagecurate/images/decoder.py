"""From the bytes of a file to upright RGB pixels, or to a reason why there are none."""

from __future__ import annotations

import contextlib
import weakref
from typing import Literal, Self

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from imagecurate.images import wire
from imagecurate.images.header import JpegHeader, jpeg_header
from imagecurate.images.policy import Decoded, DecodePolicy, ImageInfo
from imagecurate.images.process import ONE_LARGE, DecoderProcess

__all__ = ["Decoder", "decode_plain", "is_turned", "is_within_bounds", "plain_info", "upright_size"]

#: Work, in pixels times scans, that a plain JPEG may cost where nothing could end it: about two seconds of a thread.
#: Baseline files have one scan; ten is usual in progressive ones.
_MOST_WORK = 300_000_000


class Decoder:
    """Decodes files of any format by one policy; many threads may call it at once.

    Plain JPEG is decoded in the calling thread.  All else, and any JPEG that is not flawless, is decoded by Pillow in
    a process of its own, as many as there are such calls at one time: a file on which a library crashes, hangs or asks
    for too much memory costs that one picture.

    Parameters
    ----------
    policy : DecodePolicy, optional

    Examples
    --------
    >>> with Decoder() as decoder:
    ...     decoded = decoder.decode(b"no picture")
    >>> decoded.pixels is None, decoded.info.error
    (True, 'not an image')
    """

    def __init__(self, policy: DecodePolicy | None = None) -> None:
        self.policy = policy or DecodePolicy()
        self._idle: list[DecoderProcess] = []
        weakref.finalize(self, _close_all, self._idle)

    def decode(self, data: bytes | bytearray | memoryview, header: JpegHeader | None = None) -> Decoded:
        """Decode one file.

        Parameters
        ----------
        data : bytes-like
            The whole file.
        header : JpegHeader, optional
            What ``jpeg_header(data)`` gives, where that is known.

        Returns
        -------
        Decoded
            Pixels, or None and a reason.  Bad data never raises.

        Raises
        ------
        StageError
            The process for pictures that are not plain JPEG cannot be started.
        """
        if not isinstance(data, bytes):
            data = bytes(data)
        if not data:
            return Decoded(None, ImageInfo(error="empty file"))
        header = header or jpeg_header(data)
        if header is not None and header.is_plain:
            pixels = decode_plain(data, header, self.policy)
            if pixels is not None:
                return Decoded(pixels, plain_info(header))
        return self._decode_apart(data)

    def _decode_apart(self, data: bytes) -> Decoded:
        while True:
            process = self._take()
            try:
                decoded = process.decode(data)
            except BaseException:  # KeyboardInterrupt: the rest of this answer would be taken for the next one
                process.kill()
                raise
            if process.is_usable:
                self._idle.append(process)
                return decoded
            if process.timed_out or process.served == 1:
                return decoded
            # What was decoded before may have damaged the process, so a crash counts in a fresh one only.

    def _take(self) -> DecoderProcess:
        while True:
            try:
                process = self._idle.pop()
            except IndexError:
                return DecoderProcess(self.policy)
            if process.is_usable:
                return process
            process.close()

    def close(self) -> None:
        """End the processes; a later call starts new ones."""
        _close_all(self._idle)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _close_all(processes: list[DecoderProcess]) -> None:
    while processes:
        processes.pop().close()


def decode_plain(
    data: bytes, header: JpegHeader, policy: DecodePolicy, reduction: Literal[1, 2, 4, 8] = 1
) -> NDArray[np.uint8] | None:
    """Decode a plain JPEG in this thread.

    Parameters
    ----------
    data : bytes
        The whole file.
    header : JpegHeader
        Of a plain one.
    policy : DecodePolicy
    reduction : {1, 2, 4, 8}, default=1
        Stored pixels a decoded one, along each edge; the last one may stand for fewer.

    Returns
    -------
    array of shape (height, width, 3), uint8, or None
        Upright RGB; None where the file has a flaw, is too large or might take long.
    """
    if not is_within_bounds(header, policy):
        return None
    with ONE_LARGE if header.width * header.height > wire.LARGE_PIXELS else contextlib.nullcontext():
        try:
            pixels = simplejpeg.decode_jpeg(
                data, min_height=-(-header.height // reduction), min_width=-(-header.width // reduction)
            )
        except ValueError:  # Pillow, which has the policy, says what the flaw is and whether it matters
            return None
        return _upright(pixels, header.orientation)


def is_within_bounds(header: JpegHeader, policy: DecodePolicy) -> bool:
    """Whether a plain JPEG is small enough for the policy, and soon decoded."""
    size = header.width * header.height
    return size <= policy.max_pixels and size * header.scans <= _MOST_WORK


def is_turned(header: JpegHeader) -> bool:
    """Whether rows and columns of the upright picture are exchanged in the file (CIPA DC-008, 4.6.4)."""
    return header.orientation >= 5


def upright_size(header: JpegHeader) -> tuple[int, int]:
    """Height and width of the upright picture."""
    return (header.width, header.height) if is_turned(header) else (header.height, header.width)


def _upright(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Apply an EXIF orientation (CIPA DC-008, 4.6.4) to stored pixels."""
    if orientation == 1:
        return pixels
    if orientation >= 5:
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def plain_info(header: JpegHeader) -> ImageInfo:
    """What is known of a plain JPEG file that can be decoded."""
    height, width = upright_size(header)
    return ImageInfo(
        width=width,
        height=height,
        format="jpeg",
        mode="L" if header.components == 1 else "RGB",
        bit_depth=header.precision,
        orientation=header.orientation,
        has_alpha=False,
        is_animated=False,
        is_truncated=False,
    )
