"""Rows on a GPU: cuDF series and frames, CuPy arrays.

Two things are done here: columns become the arrays that expressions compute with, and frames that users see.  The same
names, in the same order, are in ``cpu.py``, where each says what it does; here stands what is different.

A column is a cuDF series.  Its null is not NaN, and what a comparison with null gives has changed with cuDF's versions
and differs by dtype; so each truth value is taken together with where its operands are known.  Constants stay Arrow
scalars on the host, and ``matches`` is decided there by RE2: cuDF's own engine knows another language.
"""

from __future__ import annotations

import operator as operators
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import cudf
import cupy
import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from pylibcudf import Column, DataType, TypeId
from pylibcudf.transform import bools_to_mask

from imagecurate.backend import cpu
from imagecurate.backend.readable import readable
from imagecurate.columns import VECTOR

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

#: A CuPy array of float64, NaN where null; of shape (n,), or what broadcasts to it.
Numbers: TypeAlias = Any
#: Where it is true and where it is false; both CuPy arrays of bool, of shape (n,) or what broadcasts to it.
Truth: TypeAlias = tuple[Any, Any]

_COMPARE = {
    "==": operators.eq,
    "!=": operators.ne,
    "<": operators.lt,
    "<=": operators.le,
    ">": operators.gt,
    ">=": operators.ge,
}
_MICROSECONDS = {"s": 1_000_000, "ms": 1_000, "us": 1}


def type_of(column: cudf.Series) -> pa.DataType:
    """Give the Arrow type of a column: that of nothing but nulls for such strings, as which cuDF holds these."""
    type_ = _arrow_type(column.dtype)
    return pa.null() if type_ == pa.string() and column.null_count == len(column) else type_


def numbers(column: cudf.Series) -> Numbers:
    """Read integers, floats or decimals."""
    return _decoded(column).astype("float64").values


def times(column: cudf.Series) -> Numbers:
    """Read dates or timestamps as microseconds since 1970 in UTC, to which those without a zone belong."""
    unit = _arrow_type(column.dtype).unit
    known = column.notnull().values
    ticks = column.astype("int64").fillna(0).values  # of UTC, also where there is a zone
    # Arrow divides nanoseconds towards zero, CuPy towards less.
    exact = (ticks - cupy.fmod(ticks, 1000)) // 1000 if unit == "ns" else ticks * _MICROSECONDS[unit]
    return cupy.where(known, exact.astype(cupy.float64), cupy.nan)


def truth(column: cudf.Series) -> Truth:
    """Read booleans."""
    column = _decoded(column)
    true = column.fillna(False).values.astype(cupy.bool_)
    return true, column.notnull().values & ~true


def strings(column: cudf.Series) -> cudf.Series:
    """Read strings as what the functions on strings below take: rows are told by their place, not by their index."""
    return _decoded(column).reset_index(drop=True)


def numbers_in(values: Numbers, items: Sequence[float]) -> Any:
    """Tell which numbers are among the items; null is not."""
    return cupy.isin(cupy.asarray(values), cupy.asarray(items, cupy.float64))


def string_constant(value: str | None) -> pa.Scalar:
    """Make the operand for a constant string, which stands for as many rows as there are."""
    return cpu.string_constant(value)


def is_null(column: cudf.Series | pa.Scalar) -> Any:
    """Tell which rows of a column of any type are null."""
    return cupy.asarray(cpu.is_null(column)) if isinstance(column, pa.Scalar) else column.isnull().values


def compare_strings(operator: str, left: Any, right: Any) -> Truth:
    """Compare strings by ``==``, ``!=`` or, in the order of code points, by ``<``, ``<=``, ``>`` or ``>=``."""
    series = [each for each in (left, right) if not isinstance(each, pa.Scalar)]
    if not series:
        return _on_device(cpu.compare_strings(operator, left, right))
    left, right = (each.as_py() if isinstance(each, pa.Scalar) else each for each in (left, right))
    if left is None or right is None:
        nowhere = cupy.zeros(len(series[0]), cupy.bool_)
        return nowhere, nowhere
    return _known(_COMPARE[operator](left, right), *series)


def strings_in(operand: Any, items: Sequence[str]) -> Any:
    """Tell which strings are among the items; null is not."""
    if isinstance(operand, pa.Scalar):
        return cupy.asarray(cpu.strings_in(operand, items))
    if not items:
        return cupy.zeros(len(operand), cupy.bool_)
    return _known(operand.isin(list(items)), operand)[0]


def strings_contain(operand: Any, part: str) -> Truth:
    """Tell which strings contain a part, case and all."""
    if isinstance(operand, pa.Scalar):
        return _on_device(cpu.strings_contain(operand, part))
    return _known(operand.str.contains(part, regex=False) if part else operand.notnull(), operand)


def strings_match(operand: Any, pattern: str) -> Truth:
    """Tell in which strings a regular expression (RE2's) is found, anywhere; the strings travel to the host for it."""
    return _on_device(cpu.strings_match(_to_arrow(operand), pattern))


def string_lengths(operand: Any) -> Numbers:
    """Count the characters (code points) of strings."""
    if isinstance(operand, pa.Scalar):
        return cupy.asarray(cpu.string_lengths(operand))
    return numbers(operand.str.len())


def list_lengths(column: cudf.Series) -> Numbers:
    """Count the items of lists."""
    return numbers(column.list.len())


def mask(values: Any, rows: int) -> Any:
    """Make a mask of its own memory that has all rows."""
    return cupy.array(_broadcast(values, rows), order="C")


def number_column(values: Numbers | float, rows: int) -> cudf.Series:
    """Make a float64 column, null where a value is NaN."""
    return cudf.Series(mask(values, rows).astype(cupy.float64)).nans_to_nulls()


def boolean_column(values: Truth, rows: int) -> cudf.Series:
    """Make a boolean column, null where it is neither true nor false."""
    true, false = (mask(part, rows) for part in values)
    if not rows:
        return cudf.Series(true)
    null_mask, nulls = bools_to_mask(Column.from_cuda_array_interface(true | false))
    return cudf.Series.from_pylibcudf(Column.from_cuda_array_interface(true).with_mask(null_mask, nulls))


def string_column(operand: Any, rows: int) -> cudf.Series:
    """Make a string column."""
    return _from_arrow(cpu.string_column(operand, rows)) if isinstance(operand, pa.Scalar) else operand


def null_column(rows: int) -> cudf.Series:
    """Make a column that is null in every row; cuDF has no type for it, so it is one of strings."""
    return _from_arrow(cpu.null_column(rows))


def _arrow_type(dtype: Any) -> pa.DataType:
    if isinstance(dtype, cudf.CategoricalDtype):
        return pa.dictionary(pa.int32(), _arrow_type(dtype.categories.dtype))
    if isinstance(dtype, pd.ArrowDtype):
        return dtype.pyarrow_dtype
    if isinstance(dtype, pd.DatetimeTZDtype):
        return pa.timestamp(dtype.unit, str(dtype.tz))
    if hasattr(dtype, "to_arrow"):  # lists, structs, decimals
        return dtype.to_arrow()
    plain = getattr(dtype, "numpy_dtype", dtype)
    return pa.from_numpy_dtype(plain) if isinstance(plain, np.dtype) and plain.kind != "O" else pa.string()


def _decoded(column: cudf.Series) -> cudf.Series:
    dtype = column.dtype
    return column.astype(dtype.categories.dtype) if isinstance(dtype, cudf.CategoricalDtype) else column


def _known(result: cudf.Series, *operands: cudf.Series) -> Truth:
    """A result that may be null, and what it says of null operands does not matter."""
    true, known = result.fillna(False).values.astype(cupy.bool_), operands[0].notnull().values
    for operand in operands[1:]:
        known = known & operand.notnull().values
    return true & known, ~true & known


def _on_device(values: cpu.Truth) -> Truth:
    true, false = values
    return cupy.asarray(true), cupy.asarray(false)


def _broadcast(values: Any, rows: int) -> Any:
    return cupy.broadcast_to(cupy.asarray(values), (rows,))


def dtype_of(type_: pa.DataType) -> Any:
    """Give the cuDF dtype of an Arrow type: one rule for all frames, whatever their rows hold.

    Numbers and booleans are NumPy's, with a mask for null beside them; strings, times, decimals, lists and structs are
    cuDF's own.  What cuDF has no type for is there as what `readable` makes of it.
    """
    return _from_arrow(pa.array([], type_)).dtype


def to_frame(columns: Mapping[str, pa.Array], index: NDArray[np.int64] | None = None) -> cudf.DataFrame:
    """Make a frame of columns, with the dtypes of `dtype_of`: the one place where rows go from the host to the GPU.

    Parameters
    ----------
    columns : mapping of str to pyarrow.Array
        All of one length.
    index : array of shape (n,), int64, optional
        Positions of the rows; 0, 1, … by default.  Needed where there are no columns but rows.
    """
    if index is None:
        index = np.arange(len(next(iter(columns.values()), ())), dtype=np.int64)
    labels = cudf.Index(np.asarray(index, np.int64))
    if not columns:
        return cudf.DataFrame(index=labels)
    frame = cudf.DataFrame({name: _from_arrow(column) for name, column in columns.items()})
    frame.index = labels  # given at once it would be looked up in the index of each column
    return frame


def meta_frame(schema: Mapping[str, pa.DataType]) -> cudf.DataFrame:
    """Make the empty frame that has the dtypes of every frame with this schema."""
    return to_frame({name: pa.array([], type_) for name, type_ in schema.items()})


def from_frame(frame: cudf.DataFrame) -> dict[str, pa.Array]:
    """Give the columns of a frame; the way back from `to_frame`.

    Strings become ``string`` and NaN null, whatever they were before; other types are those of `to_frame`'s columns.
    """
    return {str(name): _to_arrow(series) for name, series in frame.items()}


def concat(frames: Sequence[cudf.DataFrame]) -> cudf.DataFrame:
    """Put frames of the same columns one below the other, with a new index 0, 1, …."""
    return cudf.concat(frames, ignore_index=True)


def with_category(frame: cudf.DataFrame, name: str, category: str) -> cudf.DataFrame:
    """Add a column that has this one category in every row, and knows it where there is no row.

    The frame itself is changed.
    """
    codes = pa.array(np.zeros(len(frame), np.int8))
    column = cudf.Series.from_arrow(pa.DictionaryArray.from_arrays(codes, pa.array([category])))
    column.index = frame.index
    frame[name] = column
    return frame


def kept(rows: cudf.DataFrame, mask: cudf.Series) -> cudf.DataFrame:
    """Give the rows at whose index a mask, which may have other rows, is true; null is not."""
    return rows[cupy.isin(rows.index.values, mask.index.values[truth(mask)[0]])]


def vectors(series: cudf.Series) -> tuple[Any, Any]:
    """Give the vectors of a column of a frame as a CuPy matrix, without a copy: see the namesake in ``cpu.py``.

    ``torch.from_dlpack`` makes a tensor of it, again without a copy.  For as long as either lives cuDF cannot spill the
    column.
    """
    valid = series.notnull().values
    count = int(valid.sum())
    if count == 0:
        return cupy.zeros((0, 0), cupy.float32), valid
    leaves = series.list.leaves  # without null rows, and of a slice only its own
    if leaves.null_count:
        raise ValueError(f"a vector column holds {leaves.null_count} null numbers inside its vectors")
    width, rest = divmod(len(leaves), count)
    if rest or not bool((list_lengths(series)[valid] == width).all()):
        raise ValueError("a vector column holds vectors of different lengths")
    return leaves.values.astype(cupy.float32, copy=False).reshape(count, width), valid


def vector_series(values: Any, valid: Any) -> cudf.Series:
    """Make a column of a frame from vectors, without a copy; the way back from `vectors`.

    Parameters
    ----------
    values : CuPy array or CUDA tensor of shape (number of valid rows, d), float32
        cuDF takes at most 2^31 - 1 numbers a column: 2,796,202 rows of 768.
    valid : CuPy array or CUDA tensor of shape (n,), bool
        False where the row has no vector.
    """
    values, valid = (each if isinstance(each, cupy.ndarray) else cupy.from_dlpack(each) for each in (values, valid))
    values = cupy.ascontiguousarray(values, cupy.float32)
    if not values.size:
        return _from_arrow(pa.nulls(len(valid), VECTOR))
    cupy.cuda.get_current_stream().synchronize()  # pylibcudf does not wait for the stream that wrote the array
    if len(values) == len(valid):
        return cudf.Series.from_pylibcudf(Column.from_cuda_array_interface(values))
    # A mask over rows that have leaves would show them: null rows have none.
    offsets = cupy.zeros(len(valid) + 1, cupy.int32)
    offsets[1:] = cupy.cumsum(valid.astype(cupy.int32)) * values.shape[1]
    null_mask, nulls = bools_to_mask(Column.from_cuda_array_interface(valid))
    children = [Column.from_cuda_array_interface(each) for each in (offsets, values.reshape(-1))]
    return cudf.Series.from_pylibcudf(Column(DataType(TypeId.LIST), len(valid), None, null_mask, nulls, 0, children))


def _from_arrow(column: pa.Array | pa.ChunkedArray) -> cudf.Series:
    series = cudf.Series.from_arrow(readable(column))
    return series.nans_to_nulls() if series.dtype.kind == "f" else series


def _to_arrow(series: cudf.Series | pa.Scalar) -> Any:
    """A series as an Arrow array of the type of its dtype: cuDF's own leaves lists that are all null without a type."""
    if isinstance(series, pa.Scalar):
        return series
    type_ = _arrow_type(series.dtype)
    column = (series.nans_to_nulls() if series.dtype.kind == "f" else series).to_arrow()
    return column if column.type == type_ or pa.types.is_dictionary(column.type) else column.cast(type_)
