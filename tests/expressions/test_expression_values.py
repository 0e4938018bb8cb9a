"""What expressions give for rows, case by case; test_expression_reference.py has the general law."""

from __future__ import annotations

import datetime
import decimal
import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from backends import BACKENDS, arrow, columns, host

from imagecurate.errors import ColumnNotFoundError, ExpressionError
from imagecurate.expressions import Expression

ROWS = {
    "width": pa.array([640, None, 100], pa.int32()),
    "score": pa.array([0.2, math.nan, None], pa.float32()),
    "flag": pa.array([True, False, None]),
    "caption": pa.array(["a cat", "Größe 12", None]),
    "nothing": pa.nulls(3),
    "vector": pa.array([[1.0, 2.0], [], None], pa.list_(pa.float32())),
    "exif": pa.array([{"iso": 1}, {"iso": None}, None]),
    "taken": pa.array([0, 86_400_000, None], pa.timestamp("ms", "Europe/Berlin")),
}

T, F, N = True, False, None


def values(text: str, rows: Any = ROWS, backend: str = "pandas") -> list[Any]:
    result: list[Any] = arrow(Expression.parse(text).values(columns(backend, rows))).to_pylist()
    return result


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("width > 100", [T, N, F]),
        ("width != 100", [T, N, F]),
        ("100 <= width < 640", [F, N, T]),
        ("width between 100 and 640", [T, N, T]),
        ("width not between 200 and 300", [T, N, T]),
        ("width in [640, 1]", [T, N, F]),
        ("width not in [640, 1]", [F, N, T]),
        ("width in []", [F, N, F]),
        ("flag in [true]", [T, F, N]),
        ("flag in []", [F, F, N]),
        ("flag", [T, F, N]),
        ("not flag", [F, T, N]),
        ("flag == true", [T, F, N]),
        ("flag != true", [F, T, N]),
        ("flag and null", [N, F, N]),
        ("flag or null", [T, N, N]),
        ("flag == flag", [T, T, N]),
        ("width is null", [F, T, F]),
        ("width + 1 is not null", [T, F, T]),
        ("(width > 100) is null", [F, T, F]),
        ("score is null", [F, T, T]),
        ("caption is null", [F, F, T]),
        ("vector is null", [F, F, T]),
        ("exif is null", [F, F, T]),
        ("null is null", [T, T, T]),
        ("caption == 'a cat'", [T, F, N]),
        ("caption != 'a cat'", [F, T, N]),
        ("caption < 'a'", [F, T, N]),
        ("caption in ['a cat']", [T, F, N]),
        ("caption not in ['a cat']", [F, T, N]),
        ("caption in []", [F, F, N]),
        ("caption contains 'at'", [T, F, N]),
        ("caption contains 'AT'", [F, F, N]),
        ("caption contains '.'", [F, F, N]),
        ("caption matches '[0-9]+$'", [F, T, N]),
        ("caption matches '(?i)A CAT'", [T, F, N]),
        ("caption not contains 'at'", [F, T, N]),
        ("len(caption)", [5, 8, N]),
        ("len(vector)", [2, 0, N]),
        ("min(width, 200)", [200, N, 100]),
        ("max(width, 200, 300)", [640, N, 300]),
        ("abs(-width)", [640, N, 100]),
        ("width / 0", [N, N, N]),
        ("width // 0", [N, N, N]),
        ("width % 0", [N, N, N]),
        ("-7 // 2", [-4, -4, -4]),
        ("-7 % 3", [2, 2, 2]),
        ("2 ** -1", [0.5, 0.5, 0.5]),
        ("0 ** -1", [N, N, N]),
        ("-2 ** 2", [-4, -4, -4]),
        ("width ** 0", [1, N, 1]),
        ("1 ** width", [1, N, 1]),
        ("(-8) ** 0.5", [N, N, N]),
        ("10 - 2 - 3", [5, 5, 5]),
        ("2 ** 3 ** 2", [512, 512, 512]),
        ("1e308 * 10 > 5", [T, T, T]),
        ("1e308 * 10 - 1e308 * 10", [N, N, N]),
        ("nothing > 5", [N, N, N]),
        ("nothing == 'a'", [N, N, N]),
        ("nothing and flag", [N, F, N]),
        ("nothing in [1, 2]", [N, N, N]),
        ("nothing contains 'a'", [N, N, N]),
        ("len(nothing) > 5 or true", [T, T, T]),
        ("nothing is null", [T, T, T]),
        ("nothing", [N, N, N]),
        ("taken == '1970-01-01'", [T, F, N]),
        ("taken >= '1970-01-02T01:00+01:00'", [F, T, N]),
        ("taken in ['1970-01-02', '2000-01-01']", [F, T, N]),
        ("taken between '1969-12-31' and '1970-01-01T00:00:00.000001'", [T, F, N]),
        ("true", [T, T, T]),
        ("1 < 2 and 'a' < 'b'", [T, T, T]),
        ("'a' in ['a'] and 'abc' contains 'b' and len('abc') == 3 and 'a' is not null", [T, T, T]),
        ("'b' between 'a' and 'c'", [T, T, T]),
        ("'text'", ["text", "text", "text"]),
        ("caption", ["a cat", "Größe 12", N]),
    ],
)
def test_values(text: str, expected: list[Any], backend: str) -> None:
    """Each rule of the language on three rows, and on none, one and a slice of them."""
    expression = Expression.parse(text)
    result = arrow(expression.values(columns(backend, ROWS)))
    assert result.to_pylist() == expected
    kind = expression.check({name: column.type for name, column in ROWS.items()})
    assert result.type == (pa.string() if pa.types.is_null(kind) and backend == "cudf" else kind)
    for part in (slice(0, 0), slice(1, 2), slice(1, 3)):
        rows = columns(backend, {name: column[part] for name, column in ROWS.items()})
        sliced = arrow(expression.values(rows))
        assert sliced.to_pylist() == expected[part]
        assert sliced.type == result.type


@pytest.mark.parametrize("backend", BACKENDS)
def test_numbers_are_compared_in_float64(backend: str) -> None:
    """A float32 keeps its own value: 0.2 as float32 lies above 0.2."""
    assert values("score > 0.2", backend=backend) == [True, None, None]
    assert values("score == 0.2", backend=backend) == [False, None, None]


@pytest.mark.parametrize("backend", BACKENDS)
def test_division_rounds_the_exact_quotient(backend: str) -> None:
    """As Python's: the product of the divisor and the rounded quotient may be more than the dividend."""
    pairs = [(1.0, 0.1), (-1.0, 0.1), (1.0, -0.1), (7.5, 2.5), (-1.0, math.inf), (6.0, 0.1), (3e16, 0.3)]
    left, right = zip(*pairs, strict=True)
    rows = {"x": pa.array(left), "y": pa.array(right)}
    assert values("x // y", rows, backend) == [x // y for x, y in pairs]
    assert values("x % y", rows, backend) == [x % y for x, y in pairs]


NUMBERS = [pa.int8(), pa.uint8(), pa.int64(), pa.uint64(), pa.float16(), pa.float32(), pa.decimal128(5, 1)]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("type_", [*NUMBERS, pa.dictionary(pa.int8(), pa.int64())])
def test_every_type_of_number(type_: pa.DataType, backend: str) -> None:
    """Integers, floats, decimals and dictionaries of them compare and compute alike."""
    plain = [decimal.Decimal(1), None, decimal.Decimal(3)] if pa.types.is_decimal(type_) else [1, None, 3]
    if pa.types.is_float16(type_):
        plain = [np.float16(1), None, np.float16(3)]
    column = pa.array(plain).dictionary_encode() if pa.types.is_dictionary(type_) else pa.array(plain, type_)
    assert values("x + 1 > 3", {"x": column}, backend) == [False, None, True]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "type_", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())]
)
def test_every_type_of_string(type_: pa.DataType, backend: str) -> None:
    """However Arrow keeps strings, all functions read them, and they compare with each other."""
    plain = pa.array(["cat", None, "dog"])
    rows = {"x": plain.dictionary_encode() if pa.types.is_dictionary(type_) else plain.cast(type_), "y": plain}
    assert values("x == y and x == 'cat'", rows, backend) == [True, None, False]
    assert values("x in ['dog'] or x contains 'at' and x matches '^c' and len(x) == 3", rows, backend) == [
        True,
        None,
        True,
    ]
    assert values("x", rows, backend) == ["cat", None, "dog"]
    assert values("x is null", rows, backend) == [False, True, False]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "type_", [pa.timestamp("s"), pa.timestamp("us"), pa.timestamp("ns", "America/New_York"), pa.date32(), pa.date64()]
)
def test_every_type_of_time(type_: pa.DataType, backend: str) -> None:
    """Times of any unit and dates compare with strings and each other; without a zone they are UTC."""
    column = pa.array([datetime.datetime(2024, 2, 29), None]).cast(pa.timestamp("us", getattr(type_, "tz", None)))
    rows = {"x": column.cast(type_), "y": pa.array([datetime.date(2024, 2, 29)] * 2)}
    assert values("x == '2024-02-29' and x == y and not x > '2024-02-29T00:00:00Z'", rows, backend) == [True, None]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("type_", [pa.large_list(pa.int8()), pa.list_(pa.int8(), 2), pa.large_list_view(pa.int8())])
def test_every_type_of_list(type_: pa.DataType, backend: str) -> None:
    """Lists have a length, whatever their layout."""
    assert values("len(x)", {"x": pa.array([[1, 2], None], type_)}, backend) == [2, None]


def test_chunked_columns_are_columns() -> None:
    """A ChunkedArray is read like an Array."""
    rows = {
        "x": pa.chunked_array([[1], [None, 3]]),
        "s": pa.chunked_array([["a"], [None, "b"]]),
        "b": pa.chunked_array([[True], [None, False]]),
        "l": pa.chunked_array([[[1]], [None, [2, 3]]]),
    }
    assert values("x > 1 and s == 'b' and len(l) == 2 and not b", rows) == [False, None, True]
    assert values("s", rows) == ["a", None, "b"]
    assert values("s in ['a'] and s is not null", rows) == [True, False, False]


@pytest.mark.parametrize("backend", BACKENDS)
def test_passes_tells_true_from_null(backend: str) -> None:
    """The first array is where the condition holds, the second where it is unknown; both may be written to."""
    rows = columns(backend, ROWS)
    holds, null = Expression.parse("width >= 200").passes(rows)
    assert host(holds).tolist() == [True, False, False]
    assert host(null).tolist() == [False, True, False]
    for array in (holds, null, *Expression.parse("true").passes(rows)):
        assert array.dtype == bool
        assert array.shape == (3,)
        array[0] = False


def test_a_row_count_is_needed() -> None:
    """An expression without columns takes the number of rows from any column; without one it says so."""
    assert values("1 + 1", {"other": pa.nulls(2)}) == [2, 2]
    with pytest.raises(ExpressionError, match="was given no column, so the number of rows is unknown"):
        values("1 + 1", {})


def test_a_missing_column_is_named() -> None:
    """Rows without a column that the expression reads raise, with the near miss."""
    with pytest.raises(ColumnNotFoundError, match=r"column 'widht' not found; (.|\n)*did you mean 'width'"):
        values("widht > 5")


def test_one_expression_serves_columns_of_several_types() -> None:
    """A column that is all null in one shard and numbers in the next is read by its type in each."""
    expression = Expression.parse("x == '2024-01-01'")
    assert expression.values({"x": pa.nulls(1)}).to_pylist() == [None]
    assert expression.values({"x": pa.array(["2024-01-01"])}).to_pylist() == [True]
    assert expression.values({"x": pa.array([datetime.date(2024, 1, 1)])}).to_pylist() == [True]
    with pytest.raises(ExpressionError, match="cannot compare"):
        expression.values({"x": pa.array([1])})
