"""Pictures prepared on the device that the model runs on: which files go there, and where their pixels lie.

Sizes and positions are those of ``Preprocessing.prepare``.  A picture is turned upright after it was resized: a part
that ends before it begins is flipped, and the few pixels that are kept are cheap to transpose.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from imagecurate.backend.gpu_pixels import Job, JpegResizer
from imagecurate.errors import ParameterError
from imagecurate.images.decoder import is_turned, is_within_bounds, upright_size
from imagecurate.images.geometry import Span
from imagecurate.images.header import JpegHeader
from imagecurate.images.policy import DecodePolicy
from imagecurate.images.preprocessing import Preprocessing

if TYPE_CHECKING:
    import torch

__all__ = ["FILTERS", "DevicePictures", "check_filter"]

#: Filters of DALI that are Pillow's.
FILTERS = ("bicubic", "bilinear")
_EOI = b"\xff\xd9"
_SOS = 0xDA
_ADOBE = 0xEE
_YCC = 1  # in Adobe's segment
_RESTART = 0xD0  # and the seven above
_PLAIN_FRAMES = (0xC0, 0xC1, 0xC2)


class DevicePictures:
    r"""Decodes, resizes and crops plain JPEG files where the model runs; many threads may call it, which take turns.

    Parameters
    ----------
    preprocessing : Preprocessing
    policy : DecodePolicy
    device : {"cuda", "cpu"}, default="cuda"
        ``"cuda"`` is torch's current device; ``"cpu"`` does the same with the libraries' CPU operators.
    threads : int, default=4
        CPU threads for the part of decoding that is not done on the GPU.

    Raises
    ------
    ParameterError
        A preprocessing with a filter other than bicubic and bilinear.
    MissingDependencyError
        nvImageCodec or DALI is not installed.

    Notes
    -----
    On equal pixels the result is within 0.2 grey levels of ``Preprocessing.prepare`` on average: Pillow rounds to 8
    bits between its two passes, DALI does not.  On the CPU the decoded pixels are equal; on a GPU nvJPEG's arithmetic
    adds its own difference, see ``docs/pixels.md``.
    """

    def __init__(
        self,
        preprocessing: Preprocessing,
        policy: DecodePolicy,
        *,
        device: Literal["cuda", "cpu"] = "cuda",
        threads: int = 4,
    ) -> None:
        import torch

        check_filter(preprocessing)
        self.preprocessing = preprocessing
        self.policy = policy
        # A thread's current device is its own, so the number is taken once.
        self.device = torch.device("cuda", torch.cuda.current_device()) if device == "cuda" else torch.device("cpu")
        self._border = torch.tensor(preprocessing.border, dtype=torch.uint8, device=self.device)
        self._resizer = JpegResizer(device=self.device, threads=threads, interpolation=preprocessing.interpolation)

    def takes(self, data: bytes, header: JpegHeader | None) -> bool:
        """Whether a file can be prepared here; all others, and those that then fail, are the CPU decoder's.

        Parameters
        ----------
        data : bytes
            The whole file.
        header : JpegHeader or None
            What ``jpeg_header(data)`` gives.

        Returns
        -------
        bool
            True for a whole file of plain JPEG in grey or YCbCr, within the policy's limits.
        """
        if header is None or not header.is_plain or not data.endswith(_EOI):
            return False
        if not is_within_bounds(header, self.policy):
            return False
        start = _coded_data(data, header.components)
        return start is not None and (header.scans > 1 or _is_unbroken(data, start))

    def prepare(self, files: Sequence[bytes], headers: Sequence[JpegHeader]) -> tuple[Any, NDArray[np.bool_]]:
        r"""Decode, resize and crop.

        Parameters
        ----------
        files : sequence of bytes
            Those that ``takes`` accepts.
        headers : sequence of JpegHeader
            One for each.

        Returns
        -------
        pictures : torch.Tensor of shape (len(files), \*input_size, 3), uint8
            On the device, ready for any stream; zero where a file was not decoded.
        decoded : array of shape (len(files),), bool
            False where the file has to go to the CPU decoder, which decodes it or knows the reason.
        """
        import torch

        height, width = self.preprocessing.input_size
        pictures = torch.zeros((len(files), height, width, 3), dtype=torch.uint8, device=self.device)
        jobs = [
            self._job(data, header, picture) for data, header, picture in zip(files, headers, pictures, strict=True)
        ]
        decoded = self._resizer.run(jobs)
        if not decoded.all():
            pictures[torch.from_numpy(~decoded).to(self.device)] = 0  # the border may have been painted
        return pictures, decoded

    def _job(self, data: bytes, header: JpegHeader, picture: torch.Tensor) -> Job:
        stored = header.height, header.width
        placement = self.preprocessing.placement(upright_size(header))
        rows, columns = placement.rows, placement.columns
        if (rows.count, columns.count) != self.preprocessing.input_size:
            picture[...] = self._border
        target = picture[rows.pad : rows.pad + rows.count, columns.pad : columns.pad + columns.count]
        # Upright rows run against the stored ones, or upright columns do.
        spans = [(rows, header.orientation in (3, 4, 7, 8)), (columns, header.orientation in (2, 3, 6, 7))]
        if is_turned(header):
            spans.reverse()
            target = target.transpose(0, 1)
        (top, bottom), (left, right) = (_reach(span, is_flipped) for span, is_flipped in spans)
        return Job(data, stored, (top, left), (bottom, right), target)


def check_filter(preprocessing: Preprocessing) -> None:
    """Raise ``ParameterError`` where DALI has not the filter of a preprocessing."""
    if preprocessing.interpolation not in FILTERS:
        raise ParameterError.because(
            f"DevicePictures expects bicubic or bilinear interpolation, found {preprocessing.interpolation!r}",
            "prepare the pictures of this model on the CPU: jpeg_decoder='cpu'.",
        )


def _reach(span: Span, is_flipped: bool) -> tuple[float, float]:
    """Stored pixels where the kept part of an axis begins and ends."""
    begin, end = span.start * span.scale, (span.start + span.count) * span.scale
    return (span.stored - begin, span.stored - end) if is_flipped else (begin, end)


def _coded_data(data: bytes, components: int) -> int | None:
    """Where the first scan's coded data begin; None where some decoder might take a colour file's pixels for RGB.

    Nearly all colour files hold YCbCr.  RGB is said by Adobe's segment (Adobe Technical Note 5116, APP14) or by the
    names of the components, and decoders differ in what they believe where the two disagree.
    """
    position = 2
    while True:
        marker = data[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        body = position + 4
        if components == 3:
            if marker == _ADOBE and data.startswith(b"Adobe", body) and data[body + 11] != _YCC:
                return None
            if marker in _PLAIN_FRAMES and data[body + 6 : body + 15 : 3] == b"RGB":
                return None
        position += 2 + (data[position + 2] << 8 | data[position + 3])
        if marker == _SOS:
            return position


def _is_unbroken(data: bytes, start: int) -> bool:
    """Whether coded data that reach to the end of the file hold no marker but restarts; else they are damaged.

    libjpeg-turbo and nvJPEG fill in what is missing and say nothing.
    """
    coded = np.frombuffer(data, np.uint8)[start:]
    marks = coded[1:][coded[:-1] == 0xFF][:-1]  # what follows each FF but that of EOI
    return bool(((marks == 0) | (marks & 0xF8 == _RESTART)).all())
