"""Large JPEG files decoded at a half, a quarter or an eighth of their size, where the model sees far less of them.

A JPEG is stored in blocks of 8 x 8 coefficients.  Of the low ones libjpeg-turbo makes 4 x 4 or 2 x 2 pixels or one, at
less cost than all 64, and they are resized at less cost, too: what is left is reading the coefficients.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from imagecurate.images.decoder import decode_plain, upright_size
from imagecurate.images.header import JpegHeader
from imagecurate.images.policy import DecodePolicy
from imagecurate.images.preprocessing import Preprocessing

__all__ = ["ReducedPictures"]


@dataclass(frozen=True)
class ReducedPictures:
    """Prepares plain JPEG files of which ``Preprocessing.reduction`` says that they may be decoded smaller.

    Parameters
    ----------
    preprocessing : Preprocessing
    policy : DecodePolicy
    """

    preprocessing: Preprocessing
    policy: DecodePolicy

    #: Files that are prepared at a time: there is nothing to be gained by more.
    at_once: ClassVar[int] = 1

    def takes(self, data: bytes, header: JpegHeader | None) -> bool:
        """Whether a file is plain JPEG, and large enough.

        A picture that has to be turned is one of whole blocks, too: part of a block is expected at the far end.
        """
        if header is None or not header.is_plain:
            return False
        reduction = self.preprocessing.reduction(upright_size(header))
        is_whole = not (header.width % reduction or header.height % reduction)
        return reduction > 1 and (header.orientation == 1 or is_whole)

    def prepare(
        self, files: Sequence[bytes], headers: Sequence[JpegHeader]
    ) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        r"""Decode, resize and crop.

        Returns
        -------
        pictures : array of shape (len(files), \*input_size, 3), uint8
            Zero where a file was not decoded.
        decoded : array of shape (len(files),), bool
            False where the file has a flaw, which the decoder knows what to do about.
        """
        pictures = np.zeros((len(files), *self.preprocessing.input_size, 3), np.uint8)
        decoded = np.zeros(len(files), np.bool_)
        for place, (data, header) in enumerate(zip(files, headers, strict=True)):
            size = upright_size(header)
            pixels = decode_plain(data, header, self.policy, self.preprocessing.reduction(size))
            if pixels is not None:
                pictures[place] = self.preprocessing.prepare(pixels, size)
                decoded[place] = True
        return pictures, decoded
