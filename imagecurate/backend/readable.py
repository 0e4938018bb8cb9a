"""Arrow columns as cuDF takes them: a cast where it has another type for the same values, text where it has none."""

from __future__ import annotations

import pyarrow as pa

__all__ = ["readable"]

_is = pa.types
_IS_PLAIN = (_is.is_integer, _is.is_floating, _is.is_boolean, _is.is_string, _is.is_large_string, _is.is_duration)
_IS_LIST = (_is.is_list, _is.is_large_list, _is.is_fixed_size_list, _is.is_list_view, _is.is_large_list_view)


def readable(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Give a column of a type that cuDF has.

    Half floats become float32, dictionaries their values, dates timestamps in seconds, times in a zone that is a mere
    offset those in UTC, lists of every layout ``list``, maps lists of pairs, and what is null throughout strings.  Text
    becomes what cuDF has no type for: bytes (in hexadecimal), times of day, decimals of more than 38 digits, and what
    holds these.

    Examples
    --------
    >>> readable(pa.array([bytes([1, 255]), None])).to_pylist()
    ['01ff', None]
    >>> readable(pa.array([[1.5, 2.5]], pa.list_(pa.float16(), 2))).type
    ListType(list<item: float>)
    """
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    type_ = _counterpart(column.type)
    if type_ is None:
        return _as_text(column)
    if _is.is_list_view(column.type) or _is.is_large_list_view(column.type):
        return pa.array(column.to_pylist(), type_)  # pyarrow 26 casts [[1], [2]] to [[1], []]
    return column if type_ == column.type else column.cast(type_, safe=False)  # date64 may hold parts of a day


def _counterpart(type_: pa.DataType) -> pa.DataType | None:
    """The type that cuDF has, to which Arrow casts, or None."""
    if _is.is_dictionary(type_):
        return _counterpart(type_.value_type)
    if _is.is_float16(type_):
        return pa.float32()
    if _is.is_null(type_) or _is.is_string_view(type_):
        return pa.string()
    if _is.is_date(type_):
        return pa.timestamp("s")
    if _is.is_timestamp(type_):
        return pa.timestamp(type_.unit, "UTC") if type_.tz and type_.tz[0] in "+-" else type_
    if _is.is_decimal(type_):
        return None if _is.is_decimal256(type_) else type_
    if _is.is_map(type_):
        return _counterpart(pa.list_(pa.struct([("key", type_.key_type), ("value", type_.item_type)])))
    if _is.is_struct(type_):
        fields = [(field.name, _counterpart(field.type)) for field in type_]
        return None if any(each is None for _, each in fields) else pa.struct(fields)
    if any(is_list(type_) for is_list in _IS_LIST):
        items = _counterpart(type_.value_type)
        return None if items is None else pa.list_(items)
    return type_ if any(is_plain(type_) for is_plain in _IS_PLAIN) else None


def _as_text(column: pa.Array) -> pa.Array:
    if _is.is_time(column.type) or _is.is_decimal(column.type):
        return column.cast(pa.string())
    values = column.to_pylist()
    return pa.array([None if v is None else v.hex() if isinstance(v, bytes) else str(v) for v in values], pa.string())
