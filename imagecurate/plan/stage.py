"""The three kinds of stage, and what a new one has to say.

A stage is a frozen pydantic model: its annotated attributes are its parameters, checked when it is made, positional
or by name.  A subclass may give an inherited parameter another default without repeating its annotation.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from imagecurate.errors import ParameterError, near_miss, with_hint
from imagecurate.plan.parameters import OwnFirst
from imagecurate.store.fingerprint import digest, source_of

if TYPE_CHECKING:
    from imagecurate.dataset import ImageTextPairDataset
    from imagecurate.images import DecodePolicy
    from imagecurate.images.header import JpegHeader
    from imagecurate.plan.alive_rows import AliveRows

__all__ = ["ColumnStage", "CompositeStage", "DatasetStage", "FilePictures", "ImageStage", "Stage"]

#: What a stage computes: column name to one value a row.  A matrix of shape (n, d) becomes a vector column.
Computed = Mapping[str, Any]


class Stage(BaseModel, metaclass=OwnFirst):
    """A step that adds columns: ``dataset = stage(dataset)``.

    Frozen, comparable, printable, and validated when it is made.

    Raises
    ------
    ParameterError
        An unknown parameter, a wrong type or a value out of range.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", protected_namespaces=(), use_attribute_docstrings=True, validate_default=True
    )

    #: Raise it when the same parameters begin to give other results: what the store holds is then computed anew.
    version: ClassVar[int] = 1
    #: Parameters that do not change results and so are left out of the fingerprint.
    neutral: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        cls = type(self)
        names = list(cls.model_fields)
        if len(args) > len(names):
            raise ParameterError(f"{cls.__name__} takes {len(names)} parameters, {len(args)} were given")
        given = dict(zip(names, args, strict=False))
        for name in given.keys() & kwargs.keys():
            raise ParameterError(f"{cls.__name__} was given {name!r} twice, by position and by name")
        try:
            super().__init__(**given, **kwargs)
        except ValidationError as error:
            raise _parameter_error(cls, error) from None

    def __repr__(self) -> str:
        fields = type(self).model_fields
        shown = [
            f"{name}={value!r}" for name, value in self if fields[name].is_required() or value != fields[name].default
        ]
        return f"{type(self).__name__}({', '.join(shown)})"

    __str__ = __repr__

    def __call__(self, dataset: ImageTextPairDataset) -> ImageTextPairDataset:
        """Add this stage to the plan of a dataset."""
        return dataset.pipe(self)

    @abstractmethod
    def adds(self) -> dict[str, pa.DataType]:
        """Columns that the stage writes, with their Arrow types."""

    def reads(self) -> tuple[str, ...]:
        """Columns that the stage needs."""
        return ()

    def requires(self) -> tuple[Stage, ...]:
        """Stages that make what this one reads; those whose columns are not there yet are put in front of it."""
        return ()

    def check_inputs(self, producers: Mapping[str, Stage | None]) -> None:
        """Raise if a column that the stage reads was made by something it cannot use.

        Parameters
        ----------
        producers : mapping of str to Stage or None
            For each column in ``reads()`` the stage that makes it; None where it came with the data.
        """

    def settled(self) -> Stage:
        """The same stage with nothing left open that the hardware decides, as it goes to workers.

        Asked where the run is planned, which may have other hardware; see ``backend.machines``.
        """
        return self

    def ingredients(self) -> dict[str, Any]:
        """What decides the results beside class, version and parameters: weights, preprocessing, precision."""
        return {}

    def identity(self) -> dict[str, Any]:
        """All that decides what this stage computes from given inputs, as JSON-like values."""
        cls = type(self)
        parameters = self.model_dump(mode="json", exclude=set(self.neutral))
        record = {"class": f"{cls.__module__}.{cls.__qualname__}", "version": self.version, "parameters": parameters}
        source = source_of(cls)
        return record | ({"source": source} if source else {}) | self.ingredients()

    def fingerprint(self, inputs: Mapping[str, str] | None = None) -> str:
        """Name the columns of this stage by what produced them.

        Parameters
        ----------
        inputs : mapping of str to str, optional
            For each column read, the fingerprint of what produced it.
        """
        return f"{type(self).__name__}-{digest({'stage': self.identity(), 'inputs': dict(inputs or {})})}"


class CompositeStage(Stage):
    """A stage that stands for several steps; what they all require is put in front of the first."""

    @abstractmethod
    def added_to(self, dataset: ImageTextPairDataset) -> ImageTextPairDataset:
        """Add the steps to the plan of a dataset."""


class FilePictures(Protocol):
    """A second source of prepared pictures: made from some files at a time, beside the decoder."""

    @property
    def at_once(self) -> int:
        """How many files it is best given at a time."""

    def takes(self, data: bytes, header: JpegHeader | None) -> bool:
        """Whether a file is prepared here; decided by the file alone, never by its neighbours."""

    def prepare(self, files: Sequence[bytes], headers: Sequence[JpegHeader]) -> tuple[Any, NDArray[np.bool_]]:
        """Prepared pictures, an array or tensor with one for each file, and which of them were decoded."""


class ImageStage(Stage):
    """A stage that looks at pixels; all pending ones share one decode.

    For each sample ``prepare`` is called in a decoding thread with the picture at full size; what it returns is kept,
    the pixels are not.  ``process`` then gets a batch of prepared pictures.
    """

    #: A stage that says ``"bytes"`` is given each image's file as it lies in the tar, and nothing is decoded for it.
    looks_at: ClassVar[Literal["pixels", "bytes"]] = "pixels"

    @property
    def input_shape(self) -> tuple[int, ...] | None:
        """Shape of one prepared picture where all share one (uint8): batches are then one array, else a list."""
        return None

    @property
    def batch_rows(self) -> int | None:
        """Pictures in every batch, a multiple of 64, where what a row gets may depend on the shape of its batch.

        None, the default, for batches of any length.  Where it is a number B, a batch is rows [kB, (k+1)B) of a shard,
        and a picture lies in it at its row's position modulo B; there is nothing (zeros, in a list None) where the
        shard ends, a picture is not asked for or could not be prepared.  So a row's result depends on its position,
        never on which other rows were asked for, provided that the stage computes rows of a batch independently.
        """
        return None

    @property
    def decode_threads(self) -> int:
        """Threads that decode beside the stage even where the worker has fewer; 0 for as many as the worker has."""
        return 0

    def from_files(self, policy: DecodePolicy) -> FilePictures | None:
        """What prepares some of the pictures straight from their files; None where all come from the decoder."""
        return None

    def empty_batch(self, rows: int) -> NDArray[np.uint8]:
        r"""Make the zeros that prepared pictures are written into, of shape (rows, \*input_shape)."""
        return np.zeros((rows, *(self.input_shape or ())), np.uint8)

    def prepare(self, pixels: Any) -> Any:
        """Turn one picture into what ``process`` needs.

        Parameters
        ----------
        pixels : array of shape (height, width, 3), uint8
            RGB, upright, read-only by convention: other stages see the same array.  The file, as bytes, for a stage
            that looks at bytes.
        """
        return pixels

    @abstractmethod
    def process(self, batch: Any) -> Computed:
        """Compute the columns for one batch.

        Parameters
        ----------
        batch : array of shape (n, ...), uint8, or list of n prepared pictures
            The array where ``input_shape`` is given: its trailing dimensions.  Where ``batch_rows`` is given n is that,
            and what is computed for empty places is not looked at.

        Returns
        -------
        mapping of str to array of length n or of shape (n, d)
            A vector that is not finite fails its sample.
        """


class ColumnStage(Stage):
    """A stage that looks at columns of some rows and at no pixels.

    A row in which a column that it reads is null gets nulls, unless ``accepts_null``.
    """

    #: True for a stage that has an answer for null (as the length of a missing caption).
    accepts_null: ClassVar[bool] = False

    @abstractmethod
    def process(self, columns: Mapping[str, NDArray[Any]]) -> Computed:
        """Compute the columns for some rows.

        Parameters
        ----------
        columns : mapping of str to array
            The columns in ``reads()``: a vector column as a float32 matrix of shape (n, d), numbers and booleans as
            arrays of shape (n,), all else as object arrays.  Where the stage accepts null, numbers are float64 with
            NaN for null, and vectors and booleans among which there is a null are object arrays.
        """


class DatasetStage(Stage):
    """A stage that needs all rows; it runs when it is called and does nothing when the store has its result."""

    @abstractmethod
    def process(self, rows: AliveRows) -> Iterator[Computed]:
        """Compute the columns, one mapping a shard in the order of the shards.

        Parameters
        ----------
        rows : AliveRows
            Iterate over it for the columns in ``reads()`` of the rows that reach the stage, shard by shard; never all
            at once.  Its methods run tasks on threads or workers, and give a folder for what should outlast a kill.
        """


def _parameter_error(cls: type[Stage], error: ValidationError) -> ParameterError:
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"])
    known = list(cls.model_fields)
    if first["type"] == "extra_forbidden":
        guess = near_miss(name, known)
        hint = f"did you mean {guess!r}?" if guess else f"its parameters are {', '.join(known)}"
        return ParameterError(with_hint(f"{cls.__name__} has no parameter {name!r}", hint))
    if first["type"] == "missing":
        return ParameterError(f"{cls.__name__} needs the parameter {name!r}")
    message = first["msg"].removeprefix("Value error, ")
    return ParameterError(
        f"{cls.__name__}: {name}={first['input']!r}: {message}" if name else f"{cls.__name__}: {message}"
    )
