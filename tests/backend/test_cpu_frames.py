"""Frames of columns and the way back."""

from __future__ import annotations

import datetime
import decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from dask.dataframe.utils import assert_eq
from hypothesis import given, settings
from hypothesis import strategies as st

from imagecurate.backend import backend_of, cpu
from imagecurate.backend.cpu import from_frame, meta_frame, to_frame
from imagecurate.columns import VECTOR

STR = pd.StringDtype("pyarrow", na_value=np.nan)

#: One example of each type of column, with the dtype that frames give it.
CASES: list[tuple[pa.DataType, Any, Any]] = [
    (pa.int8(), 1, pd.Int8Dtype()),
    (pa.int16(), -(2**15), pd.Int16Dtype()),
    (pa.int32(), 1, pd.Int32Dtype()),
    (pa.int64(), 2**63 - 1, pd.Int64Dtype()),
    (pa.uint8(), 255, pd.UInt8Dtype()),
    (pa.uint16(), 1, pd.UInt16Dtype()),
    (pa.uint32(), 1, pd.UInt32Dtype()),
    (pa.uint64(), 2**64 - 1, pd.UInt64Dtype()),
    (pa.float16(), np.float16(0.5), np.dtype("f4")),
    (pa.float32(), 0.5, np.dtype("f4")),
    (pa.float64(), 0.1, np.dtype("f8")),
    (pa.bool_(), True, pd.BooleanDtype()),
    (pa.string(), "é", STR),
    (pa.large_string(), "a", STR),
    (pa.string_view(), "a", STR),
    (pa.dictionary(pa.int32(), pa.string()), "a", STR),
    (pa.timestamp("s"), datetime.datetime(2024, 1, 1), np.dtype("M8[s]")),
    (pa.timestamp("us"), datetime.datetime(2024, 1, 1), np.dtype("M8[us]")),
    (pa.timestamp("ns"), datetime.datetime(2024, 1, 1), np.dtype("M8[ns]")),
    (pa.timestamp("ms", "Europe/Berlin"), 0, pd.DatetimeTZDtype("ms", "Europe/Berlin")),
    (pa.date32(), datetime.date(2024, 1, 1), pd.ArrowDtype(pa.date32())),
    (pa.decimal128(5, 2), decimal.Decimal("1.5"), pd.ArrowDtype(pa.decimal128(5, 2))),
    (pa.binary(), b"a", pd.ArrowDtype(pa.binary())),
    (VECTOR, [0.5, 1.5], pd.ArrowDtype(VECTOR)),
    (pa.list_(pa.string()), ["a"], pd.ArrowDtype(pa.list_(pa.string()))),
    (pa.struct([("a", pa.int8())]), {"a": 1}, pd.ArrowDtype(pa.struct([("a", pa.int8())]))),
    (pa.duration("us"), datetime.timedelta(1), pd.ArrowDtype(pa.duration("us"))),
    (pa.null(), None, pd.ArrowDtype(pa.null())),
]


def column_of(type_: pa.DataType, values: list[Any]) -> pa.Array:
    if pa.types.is_dictionary(type_):
        return pa.array(values, type_.value_type).dictionary_encode()
    return pa.array(values, type_)


def as_kept(column: pa.Array) -> pa.Array:
    """The column as it is after a frame: strings as string, halves as float32, NaN as null."""
    if cpu.dtype_of(column.type) == STR:
        return cpu.strings(column).cast(pa.string())
    if pa.types.is_floating(column.type):
        wide = pa.float32() if pa.types.is_float16(column.type) else column.type
        return pa.array(column.to_numpy(zero_copy_only=False), wide, from_pandas=True)
    return column


@pytest.mark.parametrize(("type_", "value", "dtype"), CASES, ids=[str(case[0]) for case in CASES])
def test_one_dtype_rule(type_: pa.DataType, value: Any, dtype: Any) -> None:
    """The dtype follows from the Arrow type alone: with values, nulls, only nulls, no rows, slices and chunks."""
    meta = meta_frame({"x": type_})
    assert meta.dtypes["x"] == dtype
    assert len(meta) == 0
    column = column_of(type_, [value, None, value])
    chunked = pa.chunked_array([column, column_of(type_, [None])])
    for given_column in (column, column[1:2], column[:0], column[1:], chunked):
        frame = to_frame({"x": given_column})
        assert frame.dtypes["x"] == dtype
        assert frame["x"].isna().tolist() == given_column.is_null().to_pylist()
        assert frame.columns.equals(meta.columns)
        assert frame.columns.dtype == meta.columns.dtype
        assert frame.index.dtype == meta.index.dtype == np.int64
        whole = given_column.combine_chunks() if given_column is chunked else given_column
        back = from_frame(frame)["x"]
        assert back.type == as_kept(whole).type
        assert back.equals(as_kept(whole))


def test_nan_is_null() -> None:
    """A NaN comes back as null."""
    assert from_frame(to_frame({"x": pa.array([1.0, float("nan")])}))["x"].to_pylist() == [1.0, None]


def test_positions_are_the_index() -> None:
    """The index has no name and is int64, also where there are no columns and where none is given."""
    columns = {"x": pa.array([1, 2])}
    assert to_frame(columns, np.array([3, 9])).index.tolist() == [3, 9]
    assert to_frame(columns, np.array([3, 9], np.int32)).index.dtype == np.int64
    assert to_frame(columns).index.tolist() == [0, 1]
    assert to_frame(columns).index.name is None
    empty = to_frame({}, np.array([3, 9]))
    assert empty.shape == (2, 0)
    assert empty.columns.dtype == to_frame(columns)[[]].columns.dtype
    assert meta_frame({}).shape == (0, 0)


def test_columns_keep_their_order() -> None:
    """Columns stand in the order of the mapping."""
    columns = {name: pa.array([1]) for name in ["b", "a", "c"]}
    assert list(to_frame(columns)) == list(meta_frame({name: pa.int64() for name in columns})) == ["b", "a", "c"]


@pytest.mark.parametrize(("type_", "value", "dtype"), CASES[:-1], ids=[str(case[0]) for case in CASES[:-1]])
def test_frames_can_be_written_to(type_: pa.DataType, value: Any, dtype: Any) -> None:
    """A user may change a frame; the columns it was made from stay as they were."""
    column = column_of(type_, [None, value])
    frame = to_frame({"x": column})
    frame.loc[1, "x"] = None
    assert frame["x"].isna().tolist() == [True, True]
    assert frame.dtypes["x"] == dtype
    assert column.is_null().to_pylist() == [True, False]


def test_dask_accepts_meta_and_partitions() -> None:
    """Partitions of any content agree with the meta of their schema, as Dask checks it."""
    import dask.dataframe as dd

    schema = {str(type_): type_ for type_, _, _ in CASES}
    full = {str(type_): column_of(type_, [value, None]) for type_, value, _ in CASES}
    parts = [full, {name: column[:0] for name, column in full.items()}, {name: c[1:] for name, c in full.items()}]
    frame = dd.from_map(lambda part: to_frame(part), parts, meta=meta_frame(schema))
    assert_eq(frame, frame.compute(), check_index=False, check_divisions=False)


def test_what_users_make_is_read() -> None:
    """Columns that pandas made, of other dtypes than ours, become Arrow too."""
    frame = pd.DataFrame(
        {
            "int": np.array([1, 2], np.int32),
            "bool": [True, False],
            "object": pd.Series(["a", None], dtype=object),
            "category": pd.Categorical(["a", None]),
            7: [1.5, np.nan],
        },
    )
    columns = from_frame(frame)
    assert {name: column.to_pylist() for name, column in columns.items()} == {
        "int": [1, 2],
        "bool": [True, False],
        "object": ["a", None],
        "category": ["a", None],
        "7": [1.5, None],
    }
    assert columns["int"].type == pa.int32()
    assert columns["object"].type == pa.string()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(CASES), st.lists(st.booleans(), min_size=4, max_size=4)), max_size=6))
def test_there_and_back(drawn: list[tuple[tuple[pa.DataType, Any, Any], list[bool]]]) -> None:
    """Any columns come back from a frame as they were, but for what the dtype rule says."""
    columns = {
        str(number): column_of(type_, [value if there else None for there in present])
        for number, ((type_, value, _), present) in enumerate(drawn)
    }
    frame = to_frame(columns, np.array([7, 1, 3, 2]))
    pd.testing.assert_frame_equal(frame.iloc[:0], meta_frame({name: c.type for name, c in columns.items()}))
    back = from_frame(frame)
    assert list(back) == list(columns)
    for name, column in columns.items():
        assert back[name].equals(as_kept(column))


def test_rows_choose_their_backend() -> None:
    """Arrow columns and pandas frames belong to the CPU; what is not rows has no backend."""
    column = pa.array([1])
    for rows in (column, pa.chunked_array([column]), to_frame({"x": column}), to_frame({"x": column})["x"]):
        assert backend_of(rows) is cpu
    with pytest.raises(TypeError, match="No dispatch for <class 'int'>"):
        backend_of(1)
