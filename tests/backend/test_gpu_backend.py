"""Both backends hold the same rows, and read them alike."""

from __future__ import annotations

import datetime
import decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from backends import BACKENDS, arrow, columns, host, module, shown

from imagecurate.backend import cpu
from imagecurate.backend.readable import readable
from imagecurate.columns import VECTOR

NOON = datetime.datetime(2024, 2, 29, 12)

#: Of each type two values that differ.
CASES: list[tuple[pa.DataType, Any, Any]] = [
    *[(type_, 1, 7) for type_ in (pa.int8(), pa.int16(), pa.int32(), pa.uint8(), pa.uint16(), pa.uint32())],
    (pa.int64(), 2**63 - 1, -(2**63)),
    (pa.uint64(), 2**64 - 1, 0),
    (pa.float16(), np.float16(0.5), np.float16(-2)),
    (pa.float32(), 0.5, -0.25),
    (pa.float64(), 0.1, float("inf")),
    (pa.bool_(), True, False),
    (pa.string(), "é", ""),
    (pa.large_string(), "a", "b"),
    (pa.string_view(), "a", "b"),
    (pa.dictionary(pa.int32(), pa.string()), "a", "b"),
    *[(pa.timestamp(unit), NOON, datetime.datetime(1969, 7, 20)) for unit in ("s", "ms", "us", "ns")],
    (pa.timestamp("ms", "Europe/Berlin"), NOON, NOON + datetime.timedelta(hours=1)),
    (pa.timestamp("us", "+02:00"), NOON, NOON + datetime.timedelta(hours=1)),
    (pa.timestamp("ns", "UTC"), NOON, NOON + datetime.timedelta(hours=1)),
    (pa.date32(), NOON.date(), datetime.date(1969, 7, 20)),
    (pa.date64(), NOON.date(), datetime.date(1969, 7, 20)),
    (pa.duration("us"), datetime.timedelta(1), datetime.timedelta(0, 5)),
    (pa.decimal128(5, 2), decimal.Decimal("1.5"), decimal.Decimal("-0.25")),
    (VECTOR, [0.5, 1.5], [2.0, 3.0]),
    (pa.list_(pa.float16()), [np.float16(0.5)], []),
    (pa.list_(pa.float32(), 2), [0.5, 1.5], [2.0, 3.0]),
    (pa.large_list(pa.int64()), [1], [2, None]),
    (pa.list_(pa.string()), ["a", None], []),
    (pa.list_(pa.list_(pa.int32())), [[1], []], [[2, 3]]),
    (pa.struct([("a", pa.int8()), ("b", pa.string())]), {"a": 1, "b": "x"}, {"a": None, "b": "y"}),
    (pa.null(), None, None),
    (pa.binary(), b"a", b"\xff"),
    (pa.time64("us"), datetime.time(12, 30), datetime.time(0)),
    (pa.decimal256(50, 2), decimal.Decimal("1.50"), decimal.Decimal("-3.25")),
]


def column_of(type_: pa.DataType, values: list[Any]) -> pa.Array:
    if pa.types.is_dictionary(type_):
        return pa.array(values, type_.value_type).dictionary_encode()
    if pa.types.is_timestamp(type_) and type_.tz:
        return pa.array(values, pa.timestamp(type_.unit, "UTC")).cast(type_)
    return pa.array(values, type_)


def as_kept(backend: str, column: pa.Array) -> pa.Array:
    """The column as it is after a frame of a backend."""
    if backend == "cudf":
        column = readable(column)
    if cpu.dtype_of(column.type) == cpu.dtype_of(pa.string()):
        return cpu.strings(column).cast(pa.string())
    if pa.types.is_floating(column.type):
        wide = pa.float32() if pa.types.is_float16(column.type) else column.type
        return pa.array(column.to_numpy(zero_copy_only=False), wide, from_pandas=True)
    return column


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("type_", "one", "other"), CASES, ids=[str(case[0]) for case in CASES])
def test_frames_hold_what_columns_hold(backend: str, type_: pa.DataType, one: Any, other: Any) -> None:
    """A column comes back from a frame: values, nulls, only nulls, no rows, slices and chunks; one dtype for all."""
    frames = module(backend)
    column = column_of(type_, [one, None, other])
    chunked = pa.chunked_array([column, column_of(type_, [None])])
    for part in (column, column[1:2], column[:0], column[1:], column[2:], chunked):
        frame = frames.to_frame({"x": part})
        assert frame["x"].dtype == frames.dtype_of(type_) == frames.meta_frame({"x": type_})["x"].dtype
        expected = as_kept(backend, part.combine_chunks() if part is chunked else part)
        back = frames.from_frame(frame)["x"]
        assert back.to_pylist() == expected.to_pylist()
        assert back.type == expected.type
        assert frame["x"].isna().sum() == part.null_count


@pytest.mark.parametrize("backend", BACKENDS)
def test_nan_is_null(backend: str) -> None:
    """A NaN is missing in a frame and null when it comes back; inside a vector it stays."""
    frame = module(backend).to_frame(
        {"x": pa.array([1.0, float("nan"), None]), "v": pa.array([[1.0, float("nan")]] * 3, VECTOR)}
    )
    assert frame["x"].isna().sum() == 2
    assert float(frame["x"].mean()) == 1.0
    assert shown(frame)["x"] == [1.0, None, None]
    assert str(shown(frame)["v"][0]) == "[1.0, nan]"


@pytest.mark.parametrize("backend", BACKENDS)
def test_positions_are_the_index(backend: str) -> None:
    """The index is int64, also where there are no columns and where none is given; columns keep their order."""
    frames = module(backend)
    two = {"b": pa.array([1, 2]), "a": pa.array(["x", None])}
    frame = frames.to_frame(two, np.array([3, 9], np.int32))
    assert list(frame.columns) == ["b", "a"]
    assert frame.index.to_numpy().tolist() == [3, 9]
    assert frame.index.dtype == np.int64
    assert shown(frame) == {"b": [1, 2], "a": ["x", None]}
    assert frames.to_frame(two).index.to_numpy().tolist() == [0, 1]
    bare = frames.to_frame({}, np.array([3, 9]))
    assert (len(bare), bare.index.to_numpy().tolist(), len(bare.columns)) == (2, [3, 9], 0)
    assert len(frames.meta_frame({})) == 0
    assert len(frame[[]]) == 2


@pytest.mark.parametrize("backend", BACKENDS)
def test_frames_are_put_below_each_other(backend: str) -> None:
    """Empty ones among them; the index begins anew."""
    frames = module(backend)
    part = {"x": pa.array([1, None]), "v": pa.array([[1.0], None], VECTOR), "s": pa.array(["a", None])}
    schema = {name: column.type for name, column in part.items()}
    whole = frames.concat([frames.meta_frame(schema), frames.to_frame(part, np.array([5, 6])), frames.to_frame(part)])
    assert whole.index.to_numpy().tolist() == [0, 1, 2, 3]
    assert shown(whole) == {name: column.to_pylist() * 2 for name, column in part.items()}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("rows", [0, 1, 3])
def test_a_category_is_known_without_rows(backend: str, rows: int) -> None:
    """It is there for any number of rows, with other columns or none, after a selection too."""
    frames = module(backend)
    positions = np.arange(10, 10 + rows)
    for given in ({"x": pa.array(range(rows), pa.int64())}, {}):
        frame = frames.with_category(frames.to_frame(given, positions), "_shard", '{"url": "é"}')
        for part in (frame, frame[["_shard"]], frame.iloc[:0]):
            assert part["_shard"].cat.categories[0] == '{"url": "é"}'
        assert frame.index.to_numpy().tolist() == positions.tolist()
        assert frame["_shard"].isna().sum() == 0


@pytest.mark.parametrize("backend", BACKENDS)
def test_rows_are_kept_by_their_index(backend: str) -> None:
    """A mask has fewer rows, more, another order and nulls; what it lacks is dropped."""
    frames = module(backend)
    rows = frames.to_frame({"x": pa.array(["a", "b", "c", "d"])}, np.array([3, 5, 7, 9]))
    for truth, index, expected in [
        ([True, False, True, None], [3, 5, 7, 9], ["a", "c"]),
        ([True, True], [9, 4], ["d"]),
        ([True, None, True, True, False], [9, 7, 5, 8, 3], ["b", "d"]),
        ([], [], []),
    ]:
        mask = frames.to_frame({"m": pa.array(truth, pa.bool_())}, np.array(index, np.int64))["m"]
        assert shown(frames.kept(rows, mask))["x"] == expected
        assert shown(frames.kept(rows.iloc[:0], mask))["x"] == []


@pytest.mark.parametrize("backend", BACKENDS)
def test_vectors_there_and_back(backend: str) -> None:
    """With and without null rows, of a slice, of a selection, with no row at all."""
    frames = module(backend)
    rows = [[1.0, 2.0], None, [3.0, 4.0], [5.0, 6.0], None]
    series = frames.to_frame({"v": pa.array(rows, VECTOR)})["v"]
    for part in (series, series.iloc[2:4], series.iloc[1:], series.iloc[[3, 1, 0]], series.iloc[1:2], series.iloc[:0]):
        values, valid = frames.vectors(part)
        expected = shown(part.to_frame("v"))["v"]
        assert host(valid).tolist() == [row is not None for row in expected]
        assert host(values).tolist() == [row for row in expected if row is not None]
        assert host(values).dtype == np.float32
        made = frames.vector_series(values, valid)
        assert made.dtype == series.dtype
        assert shown(made.to_frame("v"))["v"] == expected
        assert made.isna().sum() == expected.count(None)
        again, _ = frames.vectors(made)
        assert host(again).tolist() == host(values).tolist()


@pytest.mark.parametrize("backend", BACKENDS)
def test_vectors_that_are_none_are_refused(backend: str) -> None:
    """Of different lengths, or with a null inside; equal lengths in the sum do not hide it."""
    frames = module(backend)
    for rows, message in [
        ([[1.0], [1.0, 2.0, 3.0]], "different lengths"),
        ([[1.0], [1.0, 2.0]], "different lengths"),
        ([[1.0, None]], "1 null numbers"),
    ]:
        with pytest.raises(ValueError, match=message):
            frames.vectors(frames.to_frame({"v": pa.array(rows, VECTOR)})["v"])


@pytest.mark.parametrize("backend", BACKENDS)
def test_tensors_become_columns(backend: str) -> None:
    """A tensor of the backend's device is a column, whatever its strides; on a GPU both share their memory."""
    import torch

    frames = module(backend)
    device = "cuda" if backend == "cudf" else "cpu"
    tensor = torch.arange(6, dtype=torch.float32, device=device).reshape(3, 2)
    for valid in ([True] * 3, [True, False, True, True]):
        series = frames.vector_series(tensor, torch.tensor(valid, device=device))
        values, _ = frames.vectors(series)
        assert host(values).tolist() == [[0, 1], [2, 3], [4, 5]]
        if backend == "cudf":
            shared = torch.from_dlpack(values)
            assert shared.data_ptr() == tensor.data_ptr()
    turned = frames.vector_series(tensor.T, torch.tensor([True, True], device=device))
    assert shown(turned.to_frame("v"))["v"] == [[0, 2, 4], [1, 3, 5]]


NUMBERS = {
    "int": pa.array([1, None, -3]),
    "float": pa.array([0.5, None, float("nan")], pa.float32()),
    "decimal": pa.array([decimal.Decimal("1.5"), None, decimal.Decimal(-3)], pa.decimal128(5, 1)),
    "none": pa.array([None, None], pa.int32()),
    "no rows": pa.array([], pa.int64()),
}
TIMES = {
    **{unit: pa.array([NOON, None, datetime.datetime(1960, 1, 1)], pa.timestamp(unit)) for unit in ("s", "ms", "us")},
    "ns": pa.array([1_700_000_000_123_456_789, None, -1_500], pa.timestamp("ns")),
    "zone": column_of(pa.timestamp("ms", "America/New_York"), [NOON, None]),
    "date": pa.array([NOON.date(), None]),
}
WORDS = pa.array(["a cat", "Größe 12", None, "", "a.c", "カ", "\U0001f600"])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", NUMBERS)
def test_numbers(backend: str, name: str) -> None:
    """Null and NaN are NaN; all else is its value in float64."""
    values = host(module(backend).numbers(columns(backend, {"x": NUMBERS[name]})["x"]))
    assert values.dtype == np.float64
    np.testing.assert_array_equal(values, cpu.numbers(NUMBERS[name]))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", TIMES)
def test_times(backend: str, name: str) -> None:
    """Microseconds in UTC, exact."""
    values = host(module(backend).times(columns(backend, {"x": TIMES[name]})["x"]))
    np.testing.assert_array_equal(values, cpu.times(TIMES[name]))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("values", [[True, None, False], [None, None], [True], []])
def test_truth_and_masks(backend: str, values: list[bool | None]) -> None:
    """Where it is true, where false; and a column made of these is the one they came from."""
    frames = module(backend)
    column = columns(backend, {"x": pa.array(values, pa.bool_())})["x"]
    true, false = frames.truth(column)
    assert host(true).tolist() == [each is True for each in values]
    assert host(false).tolist() == [each is False for each in values]
    back = arrow(frames.boolean_column((true, false), len(values)))
    assert back.to_pylist() == values
    assert back.type == pa.bool_()
    mask = frames.mask(true, len(values))
    mask[:] = False
    assert host(true).tolist() == [each is True for each in values]
    assert host(frames.mask(np.bool_(True), 2)).tolist() == [True, True]


@pytest.mark.parametrize("backend", BACKENDS)
def test_columns_of_values(backend: str) -> None:
    """NaN becomes null; constants fill as many rows as there are."""
    frames = module(backend)
    numbers = frames.numbers(columns(backend, {"x": NUMBERS["float"]})["x"])
    assert arrow(frames.number_column(numbers, 3)).to_pylist() == [0.5, None, None]
    assert arrow(frames.number_column(np.float64(2), 2)).to_pylist() == [2.0, 2.0]
    assert arrow(frames.number_column(np.float64("nan"), 2)).to_pylist() == [None, None]
    assert arrow(frames.number_column(np.float64(2), 0)).type == pa.float64()
    assert arrow(frames.string_column(frames.string_constant("é"), 2)).to_pylist() == ["é", "é"]
    assert arrow(frames.string_column(frames.strings(columns(backend, {"x": WORDS})["x"]), 7)).equals(WORDS)
    assert arrow(frames.null_column(2)).to_pylist() == [None, None]
    assert arrow(frames.boolean_column((np.bool_(False), np.bool_(True)), 2)).to_pylist() == [False, False]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("nulls", [False, True])
def test_strings(backend: str, nulls: bool) -> None:
    """Comparison, membership, parts, patterns and lengths; with nulls, without, and of nothing but nulls."""
    frames = module(backend)
    words = WORDS if nulls else WORDS.drop_null()
    other = pa.array(["a cat", "b", "x", None, "", "ア", None][: len(words)])
    for left, right in [(words, other), (other, words), (pa.nulls(len(words), pa.string()), words), (words[:0],) * 2]:
        given = {"l": left, "r": right}
        l_, r_ = (frames.strings(column) for column in columns(backend, given).values())
        for constant in ("a cat", "", None):
            held = frames.string_constant(constant)
            for operator in ("==", "!=", "<", "<=", ">", ">="):
                for mine, theirs in [
                    (frames.compare_strings(operator, l_, r_), cpu.compare_strings(operator, left, right)),
                    (frames.compare_strings(operator, l_, held), cpu.compare_strings(operator, left, held)),
                    (frames.compare_strings(operator, held, r_), cpu.compare_strings(operator, held, right)),
                ]:
                    assert_same_truth(mine, theirs)
        for items in (["a cat", "カ"], [""], []):
            assert host(frames.strings_in(l_, items)).tolist() == cpu.strings_in(left, items).tolist()
        for part in ("a", ".", "", "ß", "\U0001f600"):
            assert_same_truth(frames.strings_contain(l_, part), cpu.strings_contain(left, part))
        for pattern in ("[0-9]+$", "(?i)A C", "^$", "a.c", r"\p{Katakana}"):
            assert_same_truth(frames.strings_match(l_, pattern), cpu.strings_match(left, pattern))
        np.testing.assert_array_equal(host(frames.string_lengths(l_)), cpu.string_lengths(left))
        assert host(frames.is_null(l_)).tolist() == cpu.is_null(left).tolist()


def assert_same_truth(mine: Any, theirs: Any) -> None:
    for one, other in zip(mine, theirs, strict=True):
        assert np.array_equal(np.broadcast_to(host(one), host(other).shape), host(other))


@pytest.mark.parametrize("backend", BACKENDS)
def test_lists(backend: str) -> None:
    """Items are counted, and a list without items is not null."""
    frames = module(backend)
    column = columns(backend, {"x": pa.array([[1.0, 2.0], [], None], VECTOR)})["x"]
    np.testing.assert_array_equal(host(frames.list_lengths(column)), [2, 0, np.nan])
    assert host(frames.is_null(column)).tolist() == [False, False, True]


@pytest.mark.parametrize("backend", BACKENDS)
def test_numbers_in(backend: str) -> None:
    """Null is among no items."""
    frames = module(backend)
    values = frames.numbers(columns(backend, {"x": NUMBERS["float"]})["x"])
    assert host(frames.numbers_in(values, [0.5, 7.0])).tolist() == [True, False, False]
    assert host(frames.numbers_in(values, [])).tolist() == [False] * 3


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore")
def test_types_of_series() -> None:
    """Every dtype of a cuDF frame has an Arrow type, categories of a user's own among them; CuPy has a backend."""
    cudf = pytest.importorskip("cudf")
    import cupy

    from imagecurate.backend import backend_of, gpu

    for type_, one, _ in CASES:
        series = gpu.to_frame({"x": column_of(type_, [one])})["x"]
        assert gpu.type_of(series) == (type_ if one is None else as_kept("cudf", column_of(type_, [one])).type)
        assert backend_of(series) is backend_of(series.to_frame("x")) is gpu
    category = cudf.Series(["a", None, "b"], dtype="category")
    assert gpu.type_of(category) == pa.dictionary(pa.int32(), pa.string())
    assert arrow(gpu.strings(category)).to_pylist() == ["a", None, "b"]
    assert host(gpu.numbers(cudf.Series(pd.array([1, None], "Int64")))).tolist()[0] == 1.0
    assert backend_of(cupy.zeros(1)) is gpu
