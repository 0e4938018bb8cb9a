"""One Arrow type for a column that many files and writers fill, and values made to fit it."""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Iterable
from types import NoneType
from typing import Any

import numpy as np
import pyarrow as pa

from imagecurate.errors import ParameterError

__all__ = [
    "column_of",
    "common_type",
    "converted",
    "json_text",
    "json_type",
    "plain_type",
    "settled_type",
    "stated_type",
]

#: What a user may write for a type beside Arrow's own names.
_PYTHON = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
#: Most columns: told at once, since every parquet is asked for each of its columns.
_PLAIN = frozenset(kind.id for kind in (*_PYTHON.values(), pa.int32(), pa.float32()))
_UNITS = ("s", "ms", "us", "ns")
_CONVERSION_ERRORS = (pa.ArrowException, ValueError, TypeError, OverflowError)


def plain_type(kind: pa.DataType) -> pa.DataType:
    """The simplest type that holds the same values: no dictionaries, large or fixed-size lists, half floats.

    >>> plain_type(pa.dictionary(pa.int8(), pa.large_string())), plain_type(pa.list_(pa.float16(), 768))
    (DataType(string), ListType(list<item: float>))
    """
    if kind.id in _PLAIN:
        return kind
    if pa.types.is_dictionary(kind):
        return plain_type(kind.value_type)
    if isinstance(kind, pa.BaseExtensionType):
        return plain_type(kind.storage_type)
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind) or pa.types.is_fixed_size_binary(kind):
        return pa.binary()
    if pa.types.is_float16(kind):
        return pa.float32()
    if _is_list(kind):
        return pa.list_(plain_type(kind.value_type))
    if pa.types.is_map(kind):
        return pa.map_(plain_type(kind.key_type), plain_type(kind.item_type))
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(field.name, plain_type(field.type)) for field in kind])
    return kind


def common_type(kinds: Iterable[pa.DataType]) -> pa.DataType:
    """The type that takes every value of some types without loss; text where there is no other.

    Null gives way to any type, the narrower number to the wider, an integer to a float (which holds integers up to
    2**53 exactly).  Structs agree that have the same fields in the same order.

    >>> common_type([pa.null(), pa.int32(), pa.int64()]), common_type([pa.int64(), pa.float32()])
    (DataType(int64), DataType(double))
    >>> common_type([pa.int64(), pa.string()]), common_type([pa.bool_(), pa.int8()]), common_type([])
    (DataType(string), DataType(string), DataType(null))
    """
    return functools.reduce(_common, map(plain_type, kinds), pa.null())


def settled_type(kind: pa.DataType) -> pa.DataType:
    """Text in place of null, at any depth: what was null in all files that were looked at may be anything in others.

    >>> settled_type(pa.list_(pa.null()))
    ListType(list<item: string>)
    """
    if pa.types.is_null(kind):
        return pa.string()
    if pa.types.is_list(kind):
        return pa.list_(settled_type(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(field.name, settled_type(field.type)) for field in kind])
    return kind


def json_type(value: Any) -> pa.DataType:
    """The type of a value from JSON: bool, int64, double or string; what is nested becomes text.

    >>> json_type(3), json_type([1, 2]), json_type(None)
    (DataType(int64), DataType(string), DataType(null))
    """
    if value is None:
        return pa.null()
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return pa.string()
    return _PYTHON.get(type(value), pa.string())


def stated_type(column: str, stated: Any) -> pa.DataType:
    """The type that a user wrote for a column: an Arrow type, its name, a NumPy dtype, or str, int, float or bool.

    Raises
    ------
    ParameterError
        It is none of these.

    Examples
    --------
    >>> stated_type("score", "float32"), stated_type("width", int), stated_type("height", np.uint16)
    (DataType(float), DataType(int64), DataType(uint16))
    """
    if isinstance(stated, pa.DataType):
        return stated
    try:
        if isinstance(stated, type) and stated in _PYTHON:
            return _PYTHON[stated]
        is_numpy = isinstance(stated, type | np.dtype)
        return pa.from_numpy_dtype(stated) if is_numpy else pa.type_for_alias(str(stated))
    except (TypeError, ValueError, pa.ArrowNotImplementedError):
        raise ParameterError.because(
            f"schema: {stated!r} is no type for column {column!r}",
            "write an Arrow type such as 'string', 'int64', 'float32', 'bool', or a pyarrow.DataType",
        ) from None


def column_of(values: list[Any], kind: pa.DataType) -> tuple[pa.Array, list[int]]:
    """Make a column from Python values.

    A text column takes everything (what is no text as JSON); the others take what says the same in their type: 3.0 or
    "3" for an integer, but neither 3.5 nor true.

    Returns
    -------
    column : pyarrow.Array
        Null where a value does not fit.
    misfits : list of int
        Positions of those values.

    Examples
    --------
    >>> column, misfits = column_of([1, 2.5, "x", "7", None], pa.int64())
    >>> column.to_pylist(), misfits
    ([1, None, None, 7, None], [1, 2])
    """
    if set(map(type, values)) <= _natural(kind):
        try:
            return pa.array(values, kind), []
        except _CONVERSION_ERRORS:  # an integer beyond 64 bits, half a surrogate pair
            pass
    fitted: list[Any] = []
    misfits: list[int] = []
    for position, value in enumerate(values):
        try:
            fitted.append(_fitted(value, kind))
        except _CONVERSION_ERRORS:
            fitted.append(None)
            misfits.append(position)
    return pa.array(fitted, kind), misfits


def converted(column: pa.Array | pa.ChunkedArray, kind: pa.DataType) -> tuple[pa.Array | pa.ChunkedArray, int]:
    """Convert a column to another type; also how many values did not fit and are null."""
    if column.type == kind:
        return column, 0
    if not (pa.types.is_nested(column.type) and pa.types.is_string(kind)):
        try:
            return column.cast(kind), 0
        except _CONVERSION_ERRORS:
            pass
    made, misfits = column_of(column.to_pylist(), kind)
    return made, len(misfits)


def json_text(value: Any) -> str:
    """Write a value as JSON that Arrow can hold, as readable as may be.

    >>> json_text({"ü": [1, None]})
    '{"ü": [1, null]}'
    """
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if _is_sound(text) else json.dumps(value, default=str)


def _fitted(value: Any, kind: pa.DataType) -> Any:
    """Give the value as the type has it, or raise."""
    if value is None:
        return None
    if pa.types.is_string(kind):
        if isinstance(value, bytes):
            value = value.decode()
        text = value if isinstance(value, str) else json_text(value)
        return text if _is_sound(text) else text.encode("utf-8", "replace").decode()
    if isinstance(value, bool) != pa.types.is_boolean(kind) and not isinstance(value, str):
        raise TypeError(f"{value!r} is no {kind}")
    if pa.types.is_floating(kind) and isinstance(value, int):
        value = float(value)  # Arrow refuses integers beyond 2**53
    if pa.types.is_integer(kind) and isinstance(value, float):
        if not value.is_integer():
            raise TypeError(f"{value!r} is no {kind}")  # Arrow would cut it
        value = int(value)
    scalar = pa.scalar(value).cast(kind) if isinstance(value, str) else pa.scalar(value, kind)
    return scalar.as_py()


def _common(a: pa.DataType, b: pa.DataType) -> pa.DataType:
    if a == b or pa.types.is_null(b):
        return a
    if pa.types.is_null(a):
        return b
    if pa.types.is_floating(a) and pa.types.is_floating(b):
        return max(a, b, key=lambda kind: kind.bit_width)
    if pa.types.is_integer(a) and pa.types.is_integer(b):
        return _common_integer(a, b)
    if {pa.types.is_integer(a) or pa.types.is_floating(a), pa.types.is_integer(b) or pa.types.is_floating(b)} == {True}:
        return pa.float64()
    if pa.types.is_list(a) and pa.types.is_list(b):
        inner = _common_inner(a.value_type, b.value_type)
        return pa.string() if inner is None else pa.list_(inner)
    if pa.types.is_struct(a) and pa.types.is_struct(b):
        return _common_struct(a, b)
    if pa.types.is_timestamp(a) and pa.types.is_timestamp(b) and a.tz == b.tz:
        return pa.timestamp(max(a.unit, b.unit, key=_UNITS.index), a.tz)
    return pa.string()


def _common_inner(a: pa.DataType, b: pa.DataType) -> pa.DataType | None:
    """The common type of what is nested; None where that is text for something nested, which no cast makes."""
    common = _common(a, b)
    becomes_text = pa.types.is_string(common) and (pa.types.is_nested(a) or pa.types.is_nested(b))
    return None if becomes_text else common


def _common_struct(a: pa.StructType, b: pa.StructType) -> pa.DataType:
    fields = []
    for one, other in itertools.zip_longest(a, b):
        inner = None
        if one is not None and other is not None and one.name == other.name:
            inner = _common_inner(one.type, other.type)
        if inner is None:
            return pa.string()
        fields.append(pa.field(one.name, inner))
    return pa.struct(fields)


def _common_integer(a: pa.DataType, b: pa.DataType) -> pa.DataType:
    if pa.types.is_signed_integer(a) == pa.types.is_signed_integer(b):
        return max(a, b, key=lambda kind: kind.bit_width)
    signed, unsigned = (a, b) if pa.types.is_signed_integer(a) else (b, a)
    if unsigned.bit_width == 64:
        return pa.string()
    bits = max(signed.bit_width, 2 * unsigned.bit_width)
    return {16: pa.int16(), 32: pa.int32(), 64: pa.int64()}[bits]


@functools.cache
def _natural(kind: pa.DataType) -> frozenset[type]:
    """Python types that a column takes as they are."""
    if pa.types.is_floating(kind):
        return frozenset((float, int, NoneType))
    for test, natural in ((pa.types.is_string, str), (pa.types.is_integer, int), (pa.types.is_boolean, bool)):
        if test(kind):
            return frozenset((natural, NoneType))
    return frozenset((NoneType,))


def _is_list(kind: pa.DataType) -> bool:
    tests = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list, pa.types.is_list_view)
    return any(test(kind) for test in tests) or pa.types.is_large_list_view(kind)


def _is_sound(text: str) -> bool:
    """Tell whether text can be UTF-8: JSON may hold halves of surrogate pairs."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
