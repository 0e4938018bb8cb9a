"""JPEG files to resized pictures with nvImageCodec and DALI: on a GPU, or with their operators for the CPU.

nvImageCodec decodes a batch and answers None for a file that it cannot decode, where DALI's own decoder would lose the
batch.  DALI resizes what came out at sizes and places that the caller computed, without a detour through the host.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from imagecurate.errors import MissingDependencyError

if TYPE_CHECKING:
    import torch

__all__ = ["Job", "JpegResizer"]

log = logging.getLogger(__name__)

_FEATURE = "decoding JPEG on the GPU"
#: The JPEG engines get all that they can decode, CUDA kernels the rest.  With a load hint below 1 nvImageCodec would
#: share a batch out between the two, whose pixels may differ, and a picture would depend on its neighbours.
_GPU_BACKENDS = ("HW_GPU_ONLY", "HYBRID_CPU_GPU")
#: Files decoded in one call, and pixels that they may have together: 1.6 GB of device memory for the decoded pictures.
_MOST_FILES = 256
_MOST_PIXELS = 1 << 29


@dataclass(frozen=True, slots=True)
class Job:
    """One file and what is wanted of it.

    Parameters
    ----------
    data : bytes
        A JPEG file.
    shape : (int, int)
        Height and width that it has to have, before EXIF orientation, which is left to the caller.
    begin, end : (float, float)
        Row and column, in its pixels, where the wanted part begins and ends.  Where the end lies before the beginning
        the picture is flipped.  The filter also sees pixels outside of the part.
    target : torch.Tensor of shape (rows, columns, 3), uint8
        Receives the part as RGB; any strides.
    """

    data: bytes
    shape: tuple[int, int]
    begin: tuple[float, float]
    end: tuple[float, float]
    target: torch.Tensor


class JpegResizer:
    """Decodes and resizes batches of JPEG files; many threads may call it, which take turns.

    Parameters
    ----------
    device : torch.device
        A GPU with its number, or the CPU, where the same definition runs on the libraries' CPU operators.
    threads : int
        CPU threads for what is not done on the GPU: parsing, and Huffman decoding of small and progressive files.
    interpolation : {"bicubic", "bilinear"}
        Antialiased.
    backends : sequence of str, optional
        Names out of nvImageCodec's ``BackendKind`` to use instead of the usual ones.

    Raises
    ------
    MissingDependencyError
        nvImageCodec or DALI is not installed, or nvImageCodec finds no library to decode JPEG with.
    """

    def __init__(
        self,
        *,
        device: torch.device,
        threads: int,
        interpolation: str,
        backends: Sequence[str] | None = None,
    ) -> None:
        # A bad file is told by None; by default each also prints two lines.  Read when the library is loaded.
        os.environ.setdefault("PYNVIMGCODEC_VERBOSITY", "0")
        try:
            from nvidia import nvimgcodec
            from nvidia.dali import types
        except ImportError as error:
            raise MissingDependencyError.for_feature(_FEATURE, "nvImageCodec with DALI", "cuda13") from error
        import torch

        self._device = device
        self._on_gpu = device.type == "cuda"
        self._stream: Any = torch.cuda.Stream(device) if self._on_gpu else None  # type: ignore[no-untyped-call]
        kinds = backends or (_GPU_BACKENDS if self._on_gpu else ("CPU_ONLY",))
        self._code_stream = nvimgcodec.CodeStream
        self._decoder = nvimgcodec.Decoder(
            device_id=device.index if self._on_gpu else nvimgcodec.NVIMGCODEC_DEVICE_CPU_ONLY,
            max_num_cpu_threads=threads,
            backends=[nvimgcodec.Backend(getattr(nvimgcodec.BackendKind, kind), load_hint=1.0) for kind in kinds],
            options=":fancy_upsampling=1",  # as libjpeg-turbo does; without, 1.2 grey levels on average
        )
        self._parameters = nvimgcodec.DecodeParams(apply_exif_orientation=False, color_spec=nvimgcodec.ColorSpec.SRGB)
        filters = {"bicubic": types.INTERP_CUBIC, "bilinear": types.INTERP_LINEAR}
        self._new_pipeline = functools.partial(_resizing, filters[interpolation], threads, device.index)
        self._pipeline = self._new_pipeline()
        self._lock = threading.Lock()
        self._check()

    def run(self, jobs: Sequence[Job]) -> NDArray[np.bool_]:
        """Fill the targets; those of files that cannot be decoded keep what they hold.

        Parameters
        ----------
        jobs : sequence of Job
            Any number: more than some hundred files or some hundred million pixels are taken in several steps.

        Returns
        -------
        array of shape (len(jobs),), bool
            False where the file is damaged, of a kind that is not supported, or has another shape than the job says;
            and where DALI failed, for want of memory perhaps, which the log tells.  The targets can be used on any
            stream.
        """
        done = np.zeros(len(jobs), np.bool_)
        with self._lock, self._own_stream():
            for part in _parts([job.shape for job in jobs]):
                try:
                    done[part] = self._run_part(jobs[part])
                except (MemoryError, RuntimeError) as error:  # all that DALI raises
                    log.warning("%d files are left to the CPU decoder: %s", len(jobs[part]), error)
                    self._pipeline = self._new_pipeline()  # the old one is of no use after an error
        return done

    def _run_part(self, jobs: Sequence[Job]) -> list[bool]:
        from torch.utils.dlpack import from_dlpack

        images = self._decode([job.data for job in jobs])
        done = [image is not None and image.shape == (*job.shape, 3) for image, job in zip(images, jobs, strict=True)]
        chosen = [job for job, is_done in zip(jobs, done, strict=True) if is_done]
        if chosen:
            kept = [image for image, is_done in zip(images, done, strict=True) if is_done]
            resized = self._resize(kept, chosen)
            for number, job in enumerate(chosen):
                job.target.copy_(from_dlpack(resized[number]))
            self._synchronise()  # before the memory of these pictures is given back
        return done

    def _decode(self, files: Sequence[bytes]) -> list[Any]:
        streams = [self._code_stream(data) for data in files]
        stream = self._stream.cuda_stream if self._stream else 0
        images: list[Any] = self._decoder.decode(streams, params=self._parameters, cuda_stream=stream)
        return images

    def _resize(self, images: Sequence[Any], jobs: Sequence[Job]) -> Any:
        pixels = images if self._on_gpu else [np.asarray(image) for image in images]
        self._pipeline.feed_input("pixels", pixels, layout="HWC", cuda_stream=self._stream)
        numbers = {
            "size": [job.target.shape[:2] for job in jobs],
            "begin": [job.begin for job in jobs],
            "end": [job.end for job in jobs],
        }
        for name, pairs in numbers.items():
            self._pipeline.feed_input(name, np.array(pairs, np.float32))
        (resized,) = self._pipeline.run(self._stream) if self._on_gpu else self._pipeline.run()
        return resized

    @contextlib.contextmanager
    def _own_stream(self) -> Iterator[None]:
        """Work on this object's stream, after what the caller's has queued for the targets."""
        if self._stream is None:
            yield
            return
        import torch

        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):
            yield

    def _synchronise(self) -> None:
        if self._stream is not None:
            self._stream.synchronize()

    def _check(self) -> None:
        """Decode one small picture: without nvJPEG there is no error, only None for every file."""
        import simplejpeg
        import torch

        target = torch.empty((8, 8, 3), dtype=torch.uint8, device=self._device)
        data = simplejpeg.encode_jpeg(np.zeros((128, 128, 3), np.uint8))
        with self._lock, self._own_stream():
            (decoded,) = self._run_part([Job(data, (128, 128), (0.0, 0.0), (128.0, 128.0), target)])
        if not decoded:
            raise MissingDependencyError.for_feature(_FEATURE, "nvidia-nvjpeg", "cuda13")


def _resizing(filter_: Any, threads: int, device_id: int | None) -> Any:
    """A DALI pipeline that takes pictures, sizes and parts by name."""
    from nvidia.dali import Pipeline, fn, types

    device = "cpu" if device_id is None else "gpu"
    # Nothing is queued ahead: what goes in comes out of the same call.
    pipeline = Pipeline(
        batch_size=_MOST_FILES, num_threads=threads, device_id=device_id, prefetch_queue_depth=1, exec_dynamic=True
    )
    with pipeline:
        # Copied on the stream that pictures were decoded on: without a copy DALI would not wait for that.
        pixels = fn.external_source(name="pixels", device=device, dtype=types.UINT8, ndim=3, layout="HWC")
        size, begin, end = (
            fn.external_source(name=name, dtype=types.FLOAT, ndim=1) for name in ("size", "begin", "end")
        )
        resized = fn.resize(
            pixels, size=size, roi_start=begin, roi_end=end, interp_type=filter_, antialias=True, dtype=types.UINT8
        )
        pipeline.set_outputs(resized)
    pipeline.build()
    return pipeline


def _parts(shapes: Sequence[tuple[int, int]]) -> Iterator[slice]:
    """Cut a sequence of pictures where the next one would be too much for one step."""
    start = pixels = 0
    for number, (height, width) in enumerate(shapes):
        if number > start and (number - start == _MOST_FILES or pixels + height * width > _MOST_PIXELS):
            yield slice(start, number)
            start, pixels = number, 0
        pixels += height * width
    if start < len(shapes):
        yield slice(start, len(shapes))
