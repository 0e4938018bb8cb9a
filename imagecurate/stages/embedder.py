"""The base of all stages that turn a picture into a vector by a torch model."""

from __future__ import annotations

import functools
import logging
import os
import re
import types
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field, PrivateAttr

from imagecurate.backend.clusters import best_device
from imagecurate.backend.machines import connected_client, everywhere, machine_of_run, this_machine
from imagecurate.columns import VECTOR
from imagecurate.errors import ParameterError, StageError
from imagecurate.images import DecodePolicy, Preprocessing
from imagecurate.plan.stage import Computed, FilePictures, ImageStage
from imagecurate.stages.file_pictures import JpegDecoder, PixelSource, file_pictures, pixel_path, pixel_source
from imagecurate.stages.models import Precision, fast_precision, loaded_once
from imagecurate.stages.runner import ModelRunner
from imagecurate.store import PART_ROWS
from imagecurate.weights import existing_file, file_digest

if TYPE_CHECKING:
    import torch

__all__ = ["ImageEmbedder", "LocalPath"]

_log = logging.getLogger(__name__)

#: Pictures that go through a model at a time on a CPU.  More is no faster there (ViT-B/32 in bfloat16 on one core: 31
#: pictures/s at 4, 35 at 16, 37 at 32, 32 at 256), and every thread holds the activations of its own.
_CPU_BATCH = 16

#: Most pictures of a batch on a GPU: with 256 of ViT-L/14 each matrix product has 65,792 rows already, and each
#: decoding thread holds a batch of its own.
_MOST_GPU_ROWS = 1024


def _as_text(path: Any) -> Any:
    """A path as text with ``~`` made out; what is no path is told by pydantic."""
    return os.path.expanduser(os.fspath(path)) if isinstance(path, str | os.PathLike) else path  # noqa: PTH111 - gives text


#: A parameter that names a file: text or ``os.PathLike``, ``~`` made out where the stage is made.
LocalPath = Annotated[str, BeforeValidator(_as_text)]


@dataclass(frozen=True)
class _Used:
    """What hardware decides of the results."""

    precision: Precision
    source: PixelSource


class ImageEmbedder(ImageStage):
    """Base of stages that embed pictures; subclass it to bring your own model.

    A subclass has ``load_model`` and says how a picture becomes the model's input: either by the class attributes
    ``input_size``, ``interpolation``, ``crop_pct``, ``crop_mode``, ``mean`` and ``std``, whose defaults are timm's, or
    by a ``transform`` of its own.  Parameters of its own are annotated attributes.

    Parameters
    ----------
    batch_size : int, default=256
        Pictures that go through the model at a time on a GPU: the largest power of two in it, at most 1024; half of it,
        and half again, where memory does not suffice.  On a CPU at most 16 go at a time.  Changes results in their last
        bits only.
    num_threads_per_worker : int, default=4
        Threads that decode beside a GPU, where the worker has fewer; without Dask, and on a CPU, every core decodes
        anyway.  Does not change results.
    normalize_embeddings : bool, default=True
        Scale each vector to unit length.
    autocast : bool, default=True
        False computes in float32, True in ``precision``.
    image_embedding_column : str, default="image_embedding"
    checkpoint_path : str or Path, optional
        File with the model's weights, for ``load_model`` to read; its digest is part of the fingerprint.
    precision : {"auto", "float32", "bfloat16", "float16"}, default="auto"
        Of matrix products and convolutions; the precision that is used is part of the fingerprint.  ``"auto"`` is
        bfloat16 where the hardware multiplies in it (CUDA from Ampere on; CPUs with AVX512-BF16 or AMX) and float32
        elsewhere; a class may name another one for GPUs in ``gpu_precision``.
    jpeg_decoder : {"auto", "cpu", "gpu"}, default="auto"
        Where plain JPEG files are decoded and resized for a model on a GPU.  ``"gpu"`` does it there, by nvImageCodec
        and DALI, within stated tolerances of the CPU (see ``docs/pixels.md``); ``"auto"`` so for files from two
        megapixels on, and only where these libraries are installed.  What is used is part of the fingerprint.
    compile_model : bool, default=True
        On a GPU, let ``torch.compile`` make the model faster, which takes about a minute for a large one at the start
        of each process.  Changes results in their last bits only.

    Adds
    ----
    ``image_embedding_column`` : list<float32>
        Null, and the sample failed, where the vector is zero or not finite.

    Raises
    ------
    ParameterError
        No picture could be prepared by the class attributes; ``autocast=False`` with a ``precision`` that is not
        float32.
    MissingDependencyError
        ``jpeg_decoder="gpu"`` where there are GPUs, but not everywhere the libraries.
    StageError
        The model gives something else than one vector a picture, or cannot be loaded, or has no room for one picture.
        A worker is to decode on a GPU, as the others do, and has none.
    WeightsError
        ``checkpoint_path`` names no file.

    Notes
    -----
    What ``"auto"`` means is decided once for a dataset, when it is first needed, by what stages then run on: this
    process, or the workers of the Dask cluster that it is connected to.  If these are unlike, those with a GPU decide.

    On a GPU a batch is rows [kB, (k+1)B) of a shard, B being ``batch_size`` and at least 64: a row's vector then does
    not depend on which other rows were computed with it.  What a ``transform`` gives must have one shape there, too;
    where it has not, the pictures of that batch go through the model one by one.

    Examples
    --------
    >>> class MeanColour(ImageEmbedder):
    ...     input_size = (8, 8)
    ...
    ...     def load_model(self, device):
    ...         return lambda pictures: pictures.mean(dim=(2, 3))
    >>> embedder = MeanColour(normalize_embeddings=False)
    >>> batch = np.stack([embedder.prepare(np.full((20, 30, 3), level, np.uint8)) for level in (0, 255)])
    >>> embedder.process(batch)["image_embedding"].round(2).tolist()
    [[-2.119999885559082, -2.0399999618530273, -1.7999999523162842], [2.25, 2.430000066757202, 2.640000104904175]]
    """

    #: Height and width of what the model takes; one number for a square; timm's (3, height, width) will do.
    input_size: ClassVar[int | tuple[int, ...]] = 224
    interpolation: ClassVar[str] = "bicubic"
    crop_pct: ClassVar[float] = 0.875
    crop_mode: ClassVar[str] = "center"
    #: Of pixels between 0 and 1; ImageNet's.
    mean: ClassVar[Sequence[float]] = (0.485, 0.456, 0.406)
    std: ClassVar[Sequence[float]] = (0.229, 0.224, 0.225)

    #: Takes the place of the six attributes above where it is given, as a method or as any callable (a torchvision
    #: ``Compose``): gets a PIL image in RGB and gives an array or tensor of one shape, which the model gets stacked.
    transform: ClassVar[Callable[..., Any] | None] = None

    #: The published model whose embedding this is ("openai/clip-vit-large-patch14"), for predictors to compare.
    embedding_of: ClassVar[str | None] = None

    #: What ``precision="auto"`` is on a GPU.
    gpu_precision: ClassVar[Precision] = "bfloat16"

    neutral: ClassVar[frozenset[str]] = frozenset(
        {
            "autocast",
            "batch_size",
            "checkpoint_path",
            "compile_model",
            "jpeg_decoder",
            "num_threads_per_worker",
            "precision",
        }
    )

    batch_size: int = Field(default=256, ge=1)
    num_threads_per_worker: int = Field(default=4, ge=1)
    normalize_embeddings: bool = True
    autocast: bool = True
    image_embedding_column: str = Field(default="image_embedding", min_length=1)
    checkpoint_path: LocalPath | None = None
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    jpeg_decoder: JpegDecoder = "auto"
    compile_model: bool = True

    _settled: _Used | None = PrivateAttr(default=None)

    def model_post_init(self, context: Any) -> None:
        """Refuse a checkpoint that is not there, or sizes that make no sense, before any work is planned."""
        if self.transform is None:
            _ = self.preprocessing
        if not self.autocast and self.precision not in ("auto", "float32"):
            raise ParameterError.because(
                f"precision={self.precision!r} and autocast=False contradict each other: that one means float32",
                "leave one of the two out",
            )
        if self.checkpoint_path is not None:
            existing_file(self.checkpoint_path, type(self).__name__)

    @abstractmethod
    def load_model(self, device: str) -> Callable[[Any], Any]:
        """Make the model.

        Called once a process, with torch's generator seeded; a ``torch.nn.Module`` is put into eval mode and onto the
        device afterwards.

        Parameters
        ----------
        device : {"cpu", "cuda"}

        Returns
        -------
        callable
            Takes a float32 tensor of shape (n, 3, height, width), or what ``transform`` gave stacked, and gives a
            tensor of shape (n, d).  Threads call it at the same time.
        """

    def embedding_space(self) -> str | None:
        """Name of the published model whose embedding this is, where that is known."""
        return self.embedding_of

    def caveat(self) -> str | None:
        """Why a predictor trained on this embedding may give scores that mean less, where there is a reason."""
        return None

    def weights_digest(self) -> str | None:
        """Digest of the weights: that of the file at ``checkpoint_path``, unless a subclass knows better."""
        return None if self.checkpoint_path is None else file_digest(self.checkpoint_path)

    @property
    def preprocessing(self) -> Preprocessing:
        """How a picture becomes the model's input, where there is no ``transform``."""
        return _preprocessing(
            _sides(self.input_size),
            self.interpolation,
            self.crop_pct,
            self.crop_mode,
            _three("mean", self.mean),
            _three("std", self.std),
        )

    @property
    def input_shape(self) -> tuple[int, ...] | None:
        """Shape of a prepared picture; None with a ``transform``, whose results come as a list."""
        return None if self.transform is not None else (*self.preprocessing.input_size, 3)

    @property
    def batch_rows(self) -> int | None:
        """On a GPU the rows of a batch: those that go through the model at a time, or 64 where that is fewer."""
        return max(self._gpu_rows, PART_ROWS) if best_device() == "cuda" else None

    @property
    def decode_threads(self) -> int:
        """Threads that decode beside a GPU."""
        return self.num_threads_per_worker if best_device() == "cuda" else 0

    @property
    def _gpu_rows(self) -> int:
        return 1 << min(self.batch_size, _MOST_GPU_ROWS).bit_length() - 1

    def adds(self) -> dict[str, pa.DataType]:
        """The embedding."""
        return {self.image_embedding_column: VECTOR}

    def ingredients(self) -> dict[str, Any]:
        """Preprocessing, precision, weights, and where pixels come from if not from the CPU alone."""
        transform = type(self).transform
        if transform is None:
            prepared: Any = self.preprocessing.identity()
        elif isinstance(transform, types.FunctionType | staticmethod):
            prepared = "transform"  # its text belongs to the class's source, or to the installed package's version
        else:
            prepared = re.sub(r" at 0x[0-9a-f]+", "", repr(transform))
        used = self._used
        record = {"preprocessing": prepared, "precision": used.precision, "weights": self.weights_digest()}
        path = pixel_path(used.source)
        return record | ({"pixels": path} if path else {})

    def settled(self) -> Self:
        """The same embedder, which knows the precision and the source of pixels that are used wherever it runs."""
        settled = self.model_copy()
        settled._settled = used = self._used
        is_open = (self.precision == "auto" and self.autocast) or (
            self.jpeg_decoder == "auto" and self.transform is None
        )
        if is_open and connected_client() is not None:
            unlike = sum(machine.device != best_device() for machine in everywhere(this_machine))
            if unlike:
                _log.warning(
                    "%r: %d workers have other hardware than this process, and compute in %s; for this process to find "
                    "that when it is no longer connected to them, the stage needs precision=%r and jpeg_decoder='cpu'",
                    self,
                    unlike,
                    used.precision,
                    used.precision,
                )
        return settled

    @property
    def _used(self) -> _Used:
        """What is used where stages run; of a settled embedder what was used when it was settled."""
        return self._settled or _Used(self._used_precision, self._used_source)

    @property
    def _used_precision(self) -> Precision:
        if self.precision != "auto":
            return self.precision
        return fast_precision(machine_of_run(), self._precision_on_gpu) if self.autocast else "float32"

    @property
    def _precision_on_gpu(self) -> Precision:
        return self.gpu_precision

    @property
    def _used_source(self) -> PixelSource:
        return "cpu" if self.transform is not None else pixel_source(self.jpeg_decoder, self.preprocessing)

    def from_files(self, policy: DecodePolicy) -> FilePictures | None:
        """What decodes large files at less than their size or, if ``jpeg_decoder`` has it so, on the GPU."""
        if self.transform is not None:
            return None
        source = self._used.source
        if source != "cpu" and best_device() == "cpu":
            raise StageError.because(
                f"{self!r} is to decode on a GPU, as the other workers do, but this one has none",
                "give jpeg_decoder='cpu', or leave such workers out",
            )
        return file_pictures(source, self.preprocessing, policy)

    def empty_batch(self, rows: int) -> NDArray[np.uint8]:
        """Zeros; for a GPU in pinned memory, from where they are copied while other things go on."""
        if best_device() == "cpu":
            return super().empty_batch(rows)
        import torch

        zeros: NDArray[np.uint8] = torch.zeros(
            (rows, *self.preprocessing.input_size, 3), dtype=torch.uint8, pin_memory=True
        ).numpy()
        return zeros

    def prepare(self, pixels: NDArray[np.uint8]) -> NDArray[Any]:
        """Turn one picture into the model's input, before normalisation where there is no ``transform``."""
        if self.transform is None:
            return self.preprocessing.prepare(pixels)
        from PIL import Image

        return np.asarray(self.transform(Image.fromarray(pixels)))

    def process(self, batch: Any) -> Computed:
        """Embed some prepared pictures."""
        if len(batch) == 0:
            return {self.image_embedding_column: np.zeros((0, 0), np.float32)}
        device = best_device()
        runner: ModelRunner = loaded_once(
            self.fingerprint(),
            device,
            lambda device: ModelRunner(self.load_model(device), device, repr(self)),
            repr(self),
        )
        rows = self._gpu_rows if device == "cuda" else min(self.batch_size, _CPU_BATCH)
        vectors = runner.run(_stacked(batch), self._inputs, self._embed, rows=rows, compiled=self.compile_model)
        return {self.image_embedding_column: vectors}

    def _inputs(self, pictures: torch.Tensor) -> torch.Tensor:
        """What the model takes: normalised here, or made whole by ``transform``."""
        return pictures if self.transform is not None else self.preprocessing.normalise(pictures)

    def _embed(self, model: Callable[[Any], Any], inputs: torch.Tensor) -> torch.Tensor:
        import torch

        precision = self._used.precision
        with torch.autocast(inputs.device.type, getattr(torch, precision), enabled=precision != "float32"):
            given = model(inputs)
        if not isinstance(given, torch.Tensor) or given.ndim != 2 or len(given) != len(inputs):
            found = tuple(given.shape) if isinstance(given, torch.Tensor) else type(given).__name__
            raise StageError.because(
                f"{self!r} expects of its model a tensor of shape ({len(inputs)}, d), one vector a picture, but "
                f"got {found}",
                "subclass ImageEmbedder with a load_model that pools over tokens or positions",
            )
        vectors = given.float()
        lengths = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
        # A zero vector has no direction: it becomes one that is not finite, which fails its sample.
        scale = torch.where(lengths > 0, lengths if self.normalize_embeddings else 1.0, torch.nan)
        return vectors / scale


def _stacked(batch: Any) -> NDArray[Any]:
    """Pictures as one array; zeros where a list has None."""
    if isinstance(batch, np.ndarray):
        return batch
    arrays = [np.asarray(picture) for picture in batch if picture is not None]
    nothing = np.zeros_like(arrays[0])
    return np.stack([nothing if picture is None else np.asarray(picture) for picture in batch])


#: Made once, for it is asked for with every picture; 1 and 1.0 are two parameters.
_preprocessing = functools.lru_cache(typed=True)(Preprocessing)


def _sides(size: Any) -> tuple[int, int]:
    """Height and width, where timm's three channels may come first."""
    sides = tuple(size) if isinstance(size, Sequence) else (size, size)
    if len(sides) == 3 and sides[0] == 3:
        sides = sides[1:]
    if len(sides) != 2 or not all(isinstance(side, Integral) for side in sides):
        raise ParameterError.because(
            f"input_size={size!r} is no height and width",
            "give one number for a square, (height, width) or timm's (3, height, width)",
        )
    return int(sides[0]), int(sides[1])


def _three(name: str, values: Sequence[float]) -> tuple[float, float, float]:
    try:
        red, green, blue = (float(value) for value in values)
    except (TypeError, ValueError):
        raise ParameterError(f"{name}={values!r} is not three numbers: those of red, green and blue") from None
    return red, green, blue
