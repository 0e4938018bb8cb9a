"""One type for a column, and values made to fit."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagecurate.errors import ParameterError
from imagecurate.shards.types import (
    column_of,
    common_type,
    converted,
    json_text,
    json_type,
    plain_type,
    settled_type,
    stated_type,
)

SCALARS = [
    pa.null(),
    pa.bool_(),
    pa.int8(),
    pa.int64(),
    pa.uint8(),
    pa.uint64(),
    pa.float32(),
    pa.float64(),
    pa.string(),
]
NESTED = [pa.list_(pa.int8()), pa.list_(pa.float64()), pa.list_(pa.null()), pa.list_(pa.list_(pa.int8()))]
NESTED += [pa.struct([("a", kind)]) for kind in (pa.int8(), pa.null(), pa.string(), pa.list_(pa.int8()))]
NESTED += [pa.struct([("b", pa.int8())]), pa.struct([("a", pa.int8()), ("b", pa.int8())]), pa.list_(NESTED[-1])]
KINDS = st.sampled_from([*SCALARS, *NESTED, pa.timestamp("s"), pa.timestamp("us")])
VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.integers(), max_size=2)


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        ([pa.null(), pa.string()], pa.string()),
        ([pa.int8(), pa.uint8()], pa.int16()),
        ([pa.int64(), pa.uint32()], pa.int64()),
        ([pa.int64(), pa.uint64()], pa.string()),
        ([pa.uint8(), pa.uint64()], pa.uint64()),
        ([pa.float32(), pa.float64()], pa.float64()),
        ([pa.int8(), pa.float32()], pa.float64()),
        ([pa.bool_(), pa.bool_()], pa.bool_()),
        ([pa.bool_(), pa.int64()], pa.string()),
        ([pa.large_string(), pa.dictionary(pa.int8(), pa.string())], pa.string()),
        ([pa.list_(pa.float32(), 4), pa.large_list(pa.float64())], pa.list_(pa.float64())),
        ([pa.list_(pa.null()), pa.list_(pa.int8())], pa.list_(pa.int8())),
        ([pa.timestamp("s"), pa.timestamp("ns")], pa.timestamp("ns")),
        ([pa.timestamp("s"), pa.timestamp("s", "UTC")], pa.string()),
        ([pa.list_(pa.int8()), pa.int8()], pa.string()),
        ([pa.list_(pa.list_(pa.int8())), pa.list_(pa.string())], pa.string()),
        ([pa.struct([("a", pa.int8())]), pa.struct([("a", pa.large_string())])], pa.struct([("a", pa.string())])),
        ([pa.struct([("a", pa.int8())]), pa.struct([("a", pa.list_(pa.int8()))])], pa.string()),
        ([pa.struct([("a", pa.int8())]), pa.struct([("b", pa.int8())])], pa.string()),
        ([], pa.null()),
    ],
)
def test_types_that_meet(kinds: list[pa.DataType], expected: pa.DataType) -> None:
    """The narrowest that loses nothing."""
    assert common_type(kinds) == expected


@given(st.lists(KINDS, min_size=1, max_size=3))
def test_a_common_type_does_not_depend_on_the_order_of_two(kinds: list[pa.DataType]) -> None:
    """Nor does it change when met again."""
    assert common_type(kinds[:2]) == common_type(kinds[:2][::-1])
    common = common_type(kinds)
    assert common_type([common, *kinds[-1:]]) == common


@given(st.lists(KINDS, min_size=1, max_size=3), st.data())
def test_a_common_type_takes_every_value(kinds: list[pa.DataType], data: st.DataObject) -> None:
    """Of each of the types, nested ones too."""
    common = common_type(kinds)
    for kind in kinds:
        column = data.draw(st.lists(values_of(kind), max_size=3).map(lambda values, kind=kind: pa.array(values, kind)))
        made, misfits = converted(column, common)
        assert misfits == 0
        assert made.is_null().to_pylist() == column.is_null().to_pylist()


def values_of(kind: pa.DataType) -> st.SearchStrategy[Any]:
    """Null and small values of a type."""
    if pa.types.is_list(kind):
        return st.none() | st.lists(values_of(kind.value_type), max_size=2)
    if pa.types.is_struct(kind):
        return st.none() | st.fixed_dictionaries({field.name: values_of(field.type) for field in kind})
    if pa.types.is_null(kind):
        return st.none()
    if pa.types.is_string(kind):
        return st.none() | st.text(max_size=3)
    if pa.types.is_boolean(kind):
        return st.none() | st.booleans()
    return st.none() | st.integers(0, 100)


@pytest.mark.parametrize("kind", NESTED)
def test_null_is_settled_at_any_depth(kind: pa.DataType) -> None:
    """What held only null may hold anything in a file that was not looked at."""
    settled = settled_type(kind)
    assert "null" not in str(settled)
    assert common_type([settled, kind]) == settled


@given(st.lists(VALUES, max_size=6))
def test_a_column_of_the_values_own_type_takes_them_all(values: list[Any]) -> None:
    """What a document holds fits the type that was found for it."""
    kind = common_type(map(json_type, values))
    column, misfits = column_of(values, pa.string() if pa.types.is_null(kind) else kind)
    assert misfits == []
    assert [value is None for value in column.to_pylist()] == [value is None for value in values]


@given(st.lists(VALUES, max_size=6), KINDS)
def test_every_value_is_in_its_column_or_a_misfit(values: list[Any], kind: pa.DataType) -> None:
    """Never an exception, never a value that is silently gone."""
    column, misfits = column_of(values, kind)
    assert column.type == kind
    nulls = [position for position, value in enumerate(column.to_pylist()) if value is None]
    assert nulls == sorted({*misfits, *(position for position, value in enumerate(values) if value is None)})


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        (3, pa.int8(), 3),
        (300, pa.int8(), None),
        (3.0, pa.int64(), 3),
        (3.5, pa.int64(), None),
        ("3", pa.int64(), 3),
        ("three", pa.int64(), None),
        (True, pa.int64(), None),
        (1, pa.bool_(), None),
        (2**60 + 1, pa.float64(), float(2**60)),
        (10**400, pa.float64(), None),
        (7, pa.string(), "7"),
        (True, pa.string(), "true"),
        ({"a": [1]}, pa.string(), '{"a": [1]}'),
        (b"bytes", pa.string(), "bytes"),
        (b"\xff", pa.string(), None),
        ("2024-05-06", pa.date32(), dt.date(2024, 5, 6)),
        ([1, 2], pa.list_(pa.float32()), [1.0, 2.0]),
        ([1, "x"], pa.list_(pa.float32()), None),
    ],
)
def test_what_fits_where(value: Any, kind: pa.DataType, expected: Any) -> None:
    """Values that say the same in the column's type fit; nothing is cut or rounded away."""
    column, misfits = column_of([None, value], kind)
    assert column.to_pylist() == [None, expected]
    assert misfits == ([1] if expected is None else [])


def test_half_a_surrogate_pair_becomes_text() -> None:
    """JSON can hold what UTF-8 cannot."""
    assert column_of(["a\ud800"], pa.string())[0].to_pylist() == ["a?"]
    assert json_text({"a": "\ud800é"}) == '{"a": "\\ud800\\u00e9"}'


@pytest.mark.parametrize(
    ("column", "kind", "expected", "misfits"),
    [
        (pa.array([1, None]), pa.float64(), [1.0, None], 0),
        (pa.array(["1", "x"]), pa.int64(), [1, None], 1),
        (pa.array([[1], None]), pa.string(), ["[1]", None], 0),
        (pa.array([{"a": 1}]), pa.string(), ['{"a": 1}'], 0),
        (pa.array([b"ok", b"\xff"]), pa.string(), ["ok", None], 1),
        (pa.array(["a"]).dictionary_encode(), pa.string(), ["a"], 0),
        (pa.chunked_array([[1.5], [2.0]]), pa.int64(), [None, 2], 1),
    ],
)
def test_columns_are_converted_value_by_value_where_they_must(
    column: Any, kind: pa.DataType, expected: list[Any], misfits: int
) -> None:
    """One bad value costs itself."""
    made, count = converted(column, kind)
    assert (made.to_pylist(), count, made.type) == (expected, misfits, kind)


def test_stated_types() -> None:
    """Arrow's names, Arrow's types and Python's types."""
    assert stated_type("a", "large_string") == pa.large_string()
    assert stated_type("a", pa.list_(pa.int8())) == pa.list_(pa.int8())
    assert stated_type("a", float) == pa.float64()
    assert plain_type(pa.string_view()) == pa.string()
    for stated in ("integer!", dict, 3):
        with pytest.raises(ParameterError, match="is no type for column 'a'"):
            stated_type("a", stated)
