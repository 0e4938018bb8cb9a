"""Names of the columns that imagecurate itself writes, and how columns are kept in memory.

Inside the library a set of rows is a mapping from column name to Arrow array.  Vectors are Arrow lists of
float32, never object columns: Dask would turn those into strings.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

__all__ = ["CAPTION", "KEY", "SAMPLE_ID", "SHARD", "SOURCE", "VECTOR", "matrix", "regular", "valid_vectors", "vectors"]

SAMPLE_ID = "sample_id"
KEY = "key"
SOURCE = "source"
SHARD = "shard"
CAPTION = "caption"
JSON_EXTRA = "json_extra"

IMAGE_WIDTH = "image_width"
IMAGE_HEIGHT = "image_height"
IMAGE_FORMAT = "image_format"
IMAGE_ERROR = "image_error"

#: How the column is called in which each level of deduplication names the sample that a row duplicates.
DUPLICATE_OF = "_duplicate_of"
#: In an expression: whether any level did.
IS_DUPLICATE = "is_duplicate"

#: Columns every dataset has, in the order in which they are shown.
IDENTITY = (SAMPLE_ID, KEY, SOURCE, SHARD)

#: The Arrow type of an embedding column.
VECTOR = pa.list_(pa.float32())

#: A set of rows: column name to Arrow array, all of one length.
Columns: TypeAlias = Mapping[str, pa.Array]

#: A data frame of the backend in use: pandas or cuDF, plain or Dask.
Frame: TypeAlias = Any


def vectors(values: NDArray[np.float32], valid: NDArray[np.bool_] | None = None) -> pa.Array:
    """Make a vector column from a matrix.

    Parameters
    ----------
    values : array of shape (n, d), float32
        One row a sample; rows that are not valid are ignored.
    valid : array of shape (n,), bool, optional
        False where the sample has no vector.  Everything is valid by default.

    Returns
    -------
    pyarrow.Array
        Of type list<float32> and length n; null where not valid.  Shares memory with ``values`` where all are valid.

    Examples
    --------
    >>> vectors(np.eye(2, dtype=np.float32), np.array([True, False])).to_pylist()
    [[1.0, 0.0], None]
    """
    count, width = values.shape
    if valid is None or valid.all():
        leaves = np.ascontiguousarray(values, dtype=np.float32).reshape(-1)
        offsets = np.arange(count + 1, dtype=np.int32) * np.int32(width)
        return pa.ListArray.from_arrays(pa.array(offsets), pa.array(leaves))
    return valid_vectors(values[valid], valid)


def valid_vectors(values: NDArray[np.float32], valid: NDArray[np.bool_]) -> pa.Array:
    """Make a vector column from the vectors of its valid rows; the way back from `matrix`.

    Parameters
    ----------
    values : array of shape (number of valid rows, d), float32
    valid : array of shape (n,), bool
        False where the sample has no vector.

    Returns
    -------
    pyarrow.Array
        Of type list<float32> and length n; null where not valid.
    """
    leaves = np.ascontiguousarray(values, dtype=np.float32).reshape(-1)
    offsets = np.zeros(len(valid) + 1, dtype=np.int32)
    np.cumsum(valid, out=offsets[1:])
    offsets *= np.int32(values.shape[1] if len(values) else 0)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(leaves), mask=pa.array(~valid))


def matrix(column: pa.Array) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Give the vectors of a column as a matrix.

    Parameters
    ----------
    column : pyarrow.Array of list<float>
        All vectors that are not null have the same length.

    Returns
    -------
    values : array of shape (number of valid rows, d), float32
        Read-only where it shares the column's memory.  Shape (0, 0) where no row is valid.
    valid : array of shape (n,), bool
        False where the column is null.

    Raises
    ------
    ValueError
        Vectors of different lengths, or a null inside one.

    Examples
    --------
    >>> values, valid = matrix(pa.array([[1.0, 2.0], None], VECTOR))
    >>> values.tolist(), valid.tolist()
    ([[1.0, 2.0]], [True, False])
    """
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    valid = column.is_valid().to_numpy(zero_copy_only=False)
    count = int(valid.sum())
    leaves = column.flatten()  # skips null rows and respects slices
    if leaves.null_count:
        raise ValueError(f"a vector column holds {leaves.null_count} null numbers inside its vectors")
    if count == 0:
        return np.zeros((0, 0), np.float32), valid
    width, rest = divmod(len(leaves), count)
    if rest or not bool(np.all(column.value_lengths().drop_null().to_numpy(zero_copy_only=False) == width)):
        raise ValueError("a vector column holds vectors of different lengths")
    values = leaves.to_numpy(zero_copy_only=False).astype(np.float32, copy=False)
    return values.reshape(count, width), valid


def regular(column: pa.Array) -> NDArray[np.bool_]:
    """Tell which vectors of a column are whole and as long as most of them; null is.

    Parameters
    ----------
    column : pyarrow.Array of list<float>

    Returns
    -------
    array of shape (n,), bool

    Examples
    --------
    >>> regular(pa.array([[1.0, 2.0], [3.0], None, [4.0, None], [5.0, 6.0]], VECTOR)).tolist()
    [True, False, True, False, True]
    """
    lengths = column.value_lengths().fill_null(-1).to_numpy(zero_copy_only=False)
    valid = lengths >= 0
    if not valid.any():
        return np.ones(len(column), np.bool_)
    values, counts = np.unique(lengths[valid], return_counts=True)
    fine = np.asarray(~valid | (lengths == values[np.argmax(counts)]))
    leaves = column.flatten()
    if leaves.null_count:
        owner = np.repeat(np.flatnonzero(valid), lengths[valid])
        fine[owner[leaves.is_null().to_numpy(zero_copy_only=False)]] = False
    return fine
