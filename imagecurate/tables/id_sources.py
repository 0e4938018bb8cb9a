"""Where the ids of a list are: in a file, or in the store."""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Generator, Iterable
from contextlib import closing
from dataclasses import dataclass, field
from numbers import Real
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from imagecurate.errors import ParameterError, ShardError, listed
from imagecurate.remote import StorageOptions
from imagecurate.shards.types import plain_type
from imagecurate.store import digest
from imagecurate.tables.files import PARQUET, TableFile, named_file, open_stream, readable
from imagecurate.tables.id_files import READERS, extension_of, ids_in_array
from imagecurate.tables.ids import all_valid, as_text, hashed, is_number
from imagecurate.tables.index import Index, index_schema, indexed, open_index
from imagecurate.tables.sorting import sort_rows, write_index

__all__ = ["IdFile", "IdsGiven"]

#: An index of ids has no values.
_SCHEMA = index_schema([])
#: Ids that are made texts at a time.
_AT_ONCE = 1 << 20

_Ids: TypeAlias = NDArray[Any] | pa.Array | pa.ChunkedArray


@dataclass(frozen=True)
class IdFile:
    """A file of ids that is no parquet.

    Attributes
    ----------
    file : TableFile
    column : str
        Which to read, where the file has several.
    numeric : bool
        True where the ids are integers.
    storage_options : mapping, optional
        For fsspec; no part of what the list is.
    """

    file: TableFile
    column: str
    numeric: bool
    storage_options: StorageOptions = field(default=None, repr=False, compare=False)

    @classmethod
    def open(cls, path: str, column: str, storage_options: StorageOptions = None) -> IdFile:
        """Read the first ids, to see that there are some to be read and what they are."""
        file = named_file(path, storage_options)
        with closing(_read(file, column, storage_options)) as ids:
            first = next(ids, None)
        return cls(file, column, first is not None and is_number(first.type), storage_options)

    def identity(self) -> dict[str, Any]:
        """Name, size and version of the file, and what is read of it."""
        return {"file": list(self.file[1:]), "column": self.column}

    def contains(self, ids: pa.Array, folder: Path) -> NDArray[np.bool_]:
        """Tell which of some ids are in the file."""
        numeric = self.numeric or is_number(ids.type)

        def build(path: Path) -> None:
            texts = (as_text(some, numeric=numeric) for some in _read(self.file, self.column, self.storage_options))
            write_index(path, _SCHEMA, map(_rows, texts))

        name = digest([self.identity(), numeric], 32)
        return _contains(open_index(folder / f"{name}.arrow", _SCHEMA, build), ids, numeric=numeric)


@dataclass(frozen=True)
class IdsGiven:
    """Ids that were given and are kept in the store, hashed, under a digest of what they are.

    Attributes
    ----------
    as_texts, as_numbers : str
        Digests of the ids as they are and without leading zeros, as they compare with integers.
    numeric : bool
        True where some of the ids are integers.
    """

    as_texts: str
    as_numbers: str
    numeric: bool

    @classmethod
    def keep(cls, ids: Any, folder: Path) -> IdsGiven:
        """Write ids to a folder, unless they are there."""
        array, numeric = _given(ids)
        kept = {form: _keep(array, folder, numeric=form) for form in {numeric, True}}
        return cls(kept[numeric], kept[True], numeric)

    def identity(self) -> dict[str, Any]:
        """Digest of the ids."""
        return {"ids": self.as_texts, "numeric": self.numeric}

    def contains(self, ids: pa.Array, folder: Path) -> NDArray[np.bool_]:
        """Tell which of some ids were given."""
        numeric = self.numeric or is_number(ids.type)
        path = folder / f"{self.as_numbers if numeric else self.as_texts}.arrow"
        return _contains(open_index(path, _SCHEMA, _gone), ids, numeric=numeric)


def _read(file: TableFile, column: str, storage_options: StorageOptions) -> Generator[pa.Array]:
    with open_stream(file, storage_options) as stream, readable(file):
        yield from READERS[extension_of(file.name)](stream, column)


def _contains(index: Index, ids: pa.Array, *, numeric: bool) -> NDArray[np.bool_]:
    texts = as_text(ids, numeric=numeric)
    contained: NDArray[np.bool_] = all_valid([texts])
    contained[contained] = index.look_up(hashed([texts.drop_null()]))[1] >= 0
    return contained


def _rows(texts: pa.Array) -> pa.RecordBatch:
    return indexed(hashed([texts.drop_null()]), [], _SCHEMA)


def _keep(array: _Ids, folder: Path, *, numeric: bool) -> str:
    hashes = [np.empty((0, 2), np.uint64)]
    for start in range(0, len(array), _AT_ONCE):
        some = array[start : start + _AT_ONCE]
        some = ids_in_array(some) if isinstance(some, np.ndarray) else some
        texts = as_text(some, numeric=numeric)
        if texts.null_count > some.null_count and not is_number(some.type):
            raise _no_text()
        hashes.append(hashed([texts.drop_null()]))
    rows = sort_rows(indexed(np.concatenate(hashes), [], _SCHEMA))
    name = hashlib.blake2b(b"".join(half.to_numpy().tobytes() for half in rows.columns), digest_size=16).hexdigest()
    open_index(folder / f"{name}.arrow", _SCHEMA, lambda path: write_index(path, _SCHEMA, [rows]))
    return name


def _gone(path: Path) -> None:
    raise ShardError.because(
        f"a list of ids was kept at {str(path)!r}, which is not there or damaged", "give the list again"
    )


def _given(ids: Any) -> tuple[_Ids, bool]:
    """Give ids as an array, and whether some are integers."""
    dimensions = getattr(ids, "ndim", 2 if hasattr(ids, "columns") else 1)
    if isinstance(ids, str | bytes) or dimensions != 1 or not isinstance(ids, Iterable):
        raise ParameterError.because(
            f"expected ids, found {type(ids).__name__}", "give a path, or a list, array or single column of ids"
        )
    if hasattr(ids, "compute"):  # a lazy column, as one of a dataset's metadata
        ids = ids.compute()
    if hasattr(ids, "dropna"):  # pandas has nulls of several kinds
        ids = ids.dropna()
    dtype = getattr(ids, "dtype", None)
    objects = isinstance(dtype, np.dtype) and dtype.kind in "OT"
    if isinstance(ids, np.ndarray) and not objects:
        return ids, is_number(ids_in_array(ids[:0]).type)
    if not isinstance(ids, pa.Array | pa.ChunkedArray):
        if objects or not hasattr(ids, "__arrow_c_stream__"):
            values = list(ids)
            _refuse_paths(values)
            return pa.array(map(_text, values), pa.string()), any(isinstance(one, Real) for one in values)
        ids = pa.chunked_array(ids)  # a column of any data frame library
    kind = plain_type(ids.type)
    if not (is_number(kind) or pa.types.is_string(kind) or pa.types.is_binary(kind) or pa.types.is_null(kind)):
        raise ParameterError(f"ids are texts or integers, not {kind}")
    return ids, is_number(kind)


def _refuse_paths(values: list[Any]) -> None:
    """Take names of files for what they are: as ids they would match nothing."""
    if values and all(isinstance(one, str | os.PathLike) and _may_be_path(os.fspath(one)) for one in values):
        raise ParameterError.because(
            f"expected ids, found a list of paths: {listed(map(repr, values), 3)}",
            "give the path itself, not in a list; several files of ids are a folder or pattern of parquets",
        )


def _may_be_path(text: str) -> bool:
    return extension_of(text) in (PARQUET, *READERS) or (os.sep in text and Path(text).is_file())


def _text(one: Any) -> str | None:
    if one is None or one is pd.NA:
        return None
    if isinstance(one, str):
        return one
    if isinstance(one, bytes):
        try:
            return one.decode()
        except UnicodeDecodeError:
            raise _no_text() from None
    if isinstance(one, uuid.UUID):
        return str(one)
    if isinstance(one, bool) or not isinstance(one, Real):
        raise ParameterError(f"ids are texts or integers, not {one!r}")
    return str(int(one)) if one == one // 1 else None  # type: ignore[call-overload]


def _no_text() -> ParameterError:
    return ParameterError.because(
        "some ids are bytes that are no text in UTF-8", "write digests as the data does, mostly in hex: digest.hex()"
    )
