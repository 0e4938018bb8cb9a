"""Rows on the CPU: Arrow columns, NumPy arrays and pandas frames.

Two things are done here: columns become the arrays that expressions compute with, and frames that users see.  The same
names, in the same order, are in ``gpu.py``.

To an expression a number or a time is a float64 array in which NaN is null, and a truth value a pair of boolean
arrays: where it holds, and where its opposite holds.  Where neither does it is null.  Strings stay in Arrow.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from imagecurate.columns import VECTOR, matrix, valid_vectors

__all__ = [
    "Numbers",
    "Truth",
    "boolean_column",
    "compare_strings",
    "concat",
    "dtype_of",
    "from_frame",
    "is_null",
    "kept",
    "list_lengths",
    "mask",
    "meta_frame",
    "null_column",
    "number_column",
    "numbers",
    "numbers_in",
    "string_column",
    "string_constant",
    "string_lengths",
    "strings",
    "strings_contain",
    "strings_in",
    "strings_match",
    "times",
    "to_frame",
    "truth",
    "type_of",
    "vector_series",
    "vectors",
    "with_category",
]

#: float64, NaN where null; of shape (n,), or what broadcasts to it.
Numbers: TypeAlias = NDArray[np.float64]
#: Where it is true and where it is false; both bool, of shape (n,) or what broadcasts to it.
Truth: TypeAlias = tuple[NDArray[np.bool_], NDArray[np.bool_]]

_COMPARE = {
    "==": pc.equal,
    "!=": pc.not_equal,
    "<": pc.less,
    "<=": pc.less_equal,
    ">": pc.greater,
    ">=": pc.greater_equal,
}


def type_of(column: pa.Array) -> pa.DataType:
    """Give the Arrow type of a column."""
    return column.type


def numbers(column: pa.Array) -> Numbers:
    """Read integers, floats or decimals.

    >>> numbers(pa.array([1, None, 3], pa.int8()))
    array([ 1., nan,  3.])
    """
    column = _decoded(column)
    if pa.types.is_decimal(column.type):
        column = column.cast(pa.float64())
    values: Numbers = column.to_numpy(zero_copy_only=False).astype(np.float64, copy=False)
    return values


def times(column: pa.Array) -> Numbers:
    """Read dates or timestamps as microseconds since 1970 in UTC, to which those without a zone belong.

    >>> times(pa.array([0, None], pa.timestamp("s", "Europe/Berlin")))
    array([ 0., nan])
    """
    return numbers(_decoded(column).cast(pa.timestamp("us"), safe=False).cast(pa.int64()))


def truth(column: pa.Array) -> Truth:
    """Read booleans.

    >>> truth(pa.array([True, None, False]))
    (array([ True, False, False]), array([False, False,  True]))
    """
    values = numbers(_decoded(column).cast(pa.uint8()))  # null becomes NaN, which equals nothing
    return values == 1, values == 0


def strings(column: pa.Array) -> pa.Array:
    """Read strings of any Arrow type as what the functions on strings below take."""
    column = _decoded(column)
    return column.cast(pa.large_string()) if pa.types.is_string_view(column.type) else column


def numbers_in(values: Numbers, items: Sequence[float]) -> NDArray[np.bool_]:
    """Tell which numbers are among the items; null is not."""
    return np.isin(values, np.array(items, np.float64))


def string_constant(value: str | None) -> pa.Scalar:
    """Make the operand for a constant string, which stands for as many rows as there are."""
    return pa.scalar(value, pa.string())


def is_null(column: pa.Array | pa.Scalar) -> NDArray[np.bool_]:
    """Tell which rows of a column of any type are null."""
    return truth(_rows(pc.is_null(column)))[0]


def compare_strings(operator: str, left: Any, right: Any) -> Truth:
    """Compare strings by ``==``, ``!=`` or, in the order of code points, by ``<``, ``<=``, ``>`` or ``>=``."""
    return truth(_rows(_COMPARE[operator](left, right)))


def strings_in(operand: Any, items: Sequence[str]) -> NDArray[np.bool_]:
    """Tell which strings are among the items; null is not."""
    return truth(_rows(pc.is_in(operand, value_set=pa.array(items, operand.type))))[0]


def strings_contain(operand: Any, part: str) -> Truth:
    """Tell which strings contain a part, case and all."""
    return truth(_rows(pc.match_substring(operand, part)))


def strings_match(operand: Any, pattern: str) -> Truth:
    """Tell in which strings a regular expression (RE2's) is found, anywhere."""
    return truth(_rows(pc.match_substring_regex(operand, pattern)))


def string_lengths(operand: Any) -> Numbers:
    """Count the characters (code points) of strings."""
    return numbers(_rows(pc.utf8_length(operand)))


def list_lengths(column: pa.Array) -> Numbers:
    """Count the items of lists."""
    return numbers(pc.list_value_length(_decoded(column)))


def mask(values: NDArray[np.bool_], rows: int) -> NDArray[np.bool_]:
    """Make a mask of its own memory that has all rows."""
    return np.array(np.broadcast_to(values, rows))


def number_column(values: Numbers | float, rows: int) -> pa.Array:
    """Make a float64 column, null where a value is NaN."""
    return pa.array(np.broadcast_to(values, rows), pa.float64(), from_pandas=True)


def boolean_column(values: Truth, rows: int) -> pa.Array:
    """Make a boolean column, null where it is neither true nor false."""
    true, false = (np.broadcast_to(part, rows) for part in values)
    return pa.array(true, pa.bool_(), mask=~(true | false))


def string_column(operand: Any, rows: int) -> pa.Array:
    """Make a string column."""
    if isinstance(operand, pa.Scalar):
        return pa.repeat(operand, rows)
    return _whole(operand).cast(pa.string())


def null_column(rows: int) -> pa.Array:
    """Make a column that is null in every row."""
    return pa.nulls(rows)


def _decoded(column: pa.Array) -> pa.Array:
    return _whole(column).dictionary_decode() if pa.types.is_dictionary(column.type) else column


def _whole(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _rows(result: pa.Array | pa.Scalar) -> pa.Array:
    """A scalar, which Arrow gives for constants alone, becomes one row, which NumPy broadcasts."""
    return pa.array([result.as_py()], result.type) if isinstance(result, pa.Scalar) else result


#: Strings in frames: what pandas 3 calls ``str``.
_STRING_DTYPE = pd.StringDtype("pyarrow", na_value=np.nan)
_NUMPY_DTYPES = {pa.float16(): np.dtype("f4"), pa.float32(): np.dtype("f4"), pa.float64(): np.dtype("f8")}
_NULLABLE_DTYPES = {
    pa.bool_(): pd.BooleanDtype(),
    pa.int8(): pd.Int8Dtype(),
    pa.int16(): pd.Int16Dtype(),
    pa.int32(): pd.Int32Dtype(),
    pa.int64(): pd.Int64Dtype(),
    pa.uint8(): pd.UInt8Dtype(),
    pa.uint16(): pd.UInt16Dtype(),
    pa.uint32(): pd.UInt32Dtype(),
    pa.uint64(): pd.UInt64Dtype(),
}


@functools.lru_cache(maxsize=1024)
def dtype_of(type_: pa.DataType) -> Any:
    """Give the pandas dtype of an Arrow type: one rule for all frames, whatever their rows hold.

    Integers and booleans are nullable; floats are NumPy's, NaN where null; strings are pandas' ``str``; timestamps are
    ``datetime64`` and keep unit and zone; all else, vectors among it, stays in Arrow.

    >>> dtype_of(pa.int32()), dtype_of(pa.float32()), dtype_of(pa.list_(pa.float32()))
    (Int32Dtype(), dtype('float32'), list<item: float>[pyarrow])
    """
    plain = type_.value_type if pa.types.is_dictionary(type_) else type_
    if pa.types.is_string(plain) or pa.types.is_large_string(plain) or pa.types.is_string_view(plain):
        return _STRING_DTYPE
    if pa.types.is_timestamp(type_):
        return np.dtype(f"M8[{type_.unit}]") if type_.tz is None else pd.DatetimeTZDtype(type_.unit, type_.tz)
    return _NUMPY_DTYPES.get(type_) or _NULLABLE_DTYPES.get(type_) or pd.ArrowDtype(type_)


def to_frame(columns: Mapping[str, pa.Array], index: NDArray[np.int64] | None = None) -> pd.DataFrame:
    """Make a frame of columns, with the dtypes of `dtype_of`.

    Parameters
    ----------
    columns : mapping of str to pyarrow.Array
        All of one length.
    index : array of shape (n,), int64, optional
        Positions of the rows; 0, 1, … by default.  Needed where there are no columns but rows.

    Examples
    --------
    >>> to_frame({"width": pa.array([640, None]), "caption": pa.array(["a cat", None])}, np.array([3, 7]))
       width caption
    3    640   a cat
    7   <NA>     NaN
    """
    if index is None:
        index = np.arange(len(next(iter(columns.values()), ())), dtype=np.int64)
    arrays = {name: _to_pandas(column) for name, column in columns.items()}
    names = None if arrays else pd.Index([], dtype=_STRING_DTYPE)  # naming them always would double the time
    return pd.DataFrame(arrays, index=pd.Index(np.asarray(index, np.int64)), columns=names, copy=False)


def meta_frame(schema: Mapping[str, pa.DataType]) -> pd.DataFrame:
    """Make the empty frame that has the dtypes of every frame with this schema."""
    return to_frame({name: pa.array([], type_) for name, type_ in schema.items()})


def from_frame(frame: pd.DataFrame) -> dict[str, pa.Array]:
    """Give the columns of a frame; the way back from `to_frame`.

    Strings become ``string`` and NaN null, whatever they were before; other types are those of `to_frame`'s columns.
    """
    return {str(name): _from_pandas(series) for name, series in frame.items()}


def concat(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Put frames of the same columns one below the other, with a new index 0, 1, …."""
    return pd.concat(frames, ignore_index=True)


def with_category(frame: pd.DataFrame, name: str, category: str) -> pd.DataFrame:
    """Add a column that has this one category in every row, and knows it where there is no row.

    The frame itself is changed.
    """
    frame[name] = pd.Categorical.from_codes(np.zeros(len(frame), np.int8), categories=[category])
    return frame


def kept(rows: pd.DataFrame, mask: pd.Series) -> pd.DataFrame:
    """Give the rows at whose index a mask, which may have other rows, is true; null is not.

    >>> kept(to_frame({"width": pa.array([8, 9])}), pd.Series([True, None], [1, 2], dtype="boolean"))
       width
    1      9
    """
    aligned = mask.reindex(rows.index)
    return rows[aligned.eq(True).fillna(False).to_numpy(dtype=bool)]


def vectors(series: pd.Series) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Give the vectors of a column of a frame as a matrix.

    Parameters
    ----------
    series : Series of list<float>
        All vectors that are not null have the same length.

    Returns
    -------
    values : array of shape (number of valid rows, d), float32
        Shares the column's memory where it can: do not write into it.  Shape (0, 0) where no row is valid.
    valid : array of shape (n,), bool
        False where the column is null.

    Raises
    ------
    ValueError
        Vectors of different lengths, or a null inside one.
    """
    return matrix(_from_pandas(series))


def vector_series(values: Any, valid: Any) -> pd.Series:
    """Make a column of a frame from vectors; the way back from `vectors`.

    Parameters
    ----------
    values : array or CPU tensor of shape (number of valid rows, d), float32
    valid : array or CPU tensor of shape (n,), bool
        False where the row has no vector.

    Examples
    --------
    >>> vector_series(np.eye(2, dtype=np.float32)[:1], np.array([False, True])).tolist()
    [<NA>, [1.0, 0.0]]
    """
    column = valid_vectors(np.asarray(values), np.asarray(valid))
    return pd.Series(dtype_of(VECTOR).__from_arrow__(column))


def _to_pandas(column: pa.Array | pa.ChunkedArray) -> Any:
    dtype = dtype_of(column.type)
    if dtype is _STRING_DTYPE:
        column = strings(column)
    if isinstance(dtype, np.dtype):
        return np.array(column.to_numpy(zero_copy_only=False), dtype)  # a copy: users write into frames
    return dtype.__from_arrow__(column)


def _from_pandas(series: pd.Series) -> pa.Array:
    column = _whole(pa.array(series, from_pandas=True))
    return column.cast(pa.string()) if pa.types.is_large_string(column.type) else column
