"""What a column is made before cuDF reads it."""

from __future__ import annotations

import datetime
import decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from imagecurate.backend.readable import readable

S, STR = pa.timestamp("s"), pa.string()
DAY = datetime.date(2024, 2, 29)


@pytest.mark.parametrize(
    ("given_type", "value", "type_", "expected"),
    [
        (pa.int8(), 1, pa.int8(), 1),
        (pa.uint64(), 2**64 - 1, pa.uint64(), 2**64 - 1),
        (pa.float16(), np.float16(0.5), pa.float32(), 0.5),
        (pa.float64(), 0.1, pa.float64(), 0.1),
        (pa.bool_(), True, pa.bool_(), True),
        (pa.large_string(), "é", pa.large_string(), "é"),
        (pa.string_view(), "é", STR, "é"),
        (pa.null(), None, STR, None),
        (pa.dictionary(pa.int8(), pa.int64()), 5, pa.int64(), 5),
        (pa.date32(), DAY, S, datetime.datetime(2024, 2, 29)),
        (pa.date64(), DAY, S, datetime.datetime(2024, 2, 29)),
        (pa.duration("ns"), 5000, pa.duration("ns"), datetime.timedelta(microseconds=5)),
        (pa.timestamp("ms"), 0, pa.timestamp("ms"), datetime.datetime(1970, 1, 1)),
        (pa.decimal128(38, 2), decimal.Decimal("1.50"), pa.decimal128(38, 2), decimal.Decimal("1.50")),
        (pa.decimal256(50, 2), decimal.Decimal("1.50"), STR, "1.50"),
        (pa.time32("s"), datetime.time(12, 30), STR, "12:30:00"),
        (pa.time64("ns"), 1, STR, "00:00:00.000000001"),
        (pa.binary(), b"\x00\xff", STR, "00ff"),
        (pa.binary(2), b"\x00\xff", STR, "00ff"),
        (pa.list_(pa.float16(), 2), [np.float16(0.5)] * 2, pa.list_(pa.float32()), [0.5, 0.5]),
        (pa.large_list(pa.date32()), [DAY], pa.list_(S), [datetime.datetime(2024, 2, 29)]),
        (pa.list_view(pa.int8()), [1], pa.list_(pa.int8()), [1]),
        (pa.large_list_view(pa.float16()), [np.float16(1)], pa.list_(pa.float32()), [1.0]),
        (pa.list_(pa.null()), [None], pa.list_(STR), [None]),
        (pa.list_(pa.binary()), [b"a"], STR, "[b'a']"),
        (
            pa.map_(STR, pa.int8()),
            [("a", 1)],
            pa.list_(pa.struct([("key", STR), ("value", pa.int8())])),
            [{"key": "a", "value": 1}],
        ),
        (pa.struct([("a", pa.string_view())]), {"a": "x"}, pa.struct([("a", STR)]), {"a": "x"}),
        (pa.struct([("a", pa.binary())]), {"a": b"x"}, STR, "{'a': b'x'}"),
        (pa.month_day_nano_interval(), (1, 2, 3), STR, "MonthDayNano(months=1, days=2, nanoseconds=3)"),
    ],
    ids=str,
)
def test_readable(given_type: pa.DataType, value: Any, type_: pa.DataType, expected: Any) -> None:
    """Each type has one counterpart, whatever the rows hold; null stays null, a slice its rows, chunks become one."""
    column = pa.array([None, value, None, value], given_type)
    for part in (column, column[1:3], column[2:3], column[:0], pa.chunked_array([column[:1], column[1:]])):
        made = readable(part)
        assert made.type == type_
        assert made.to_pylist() == [None if each is None else expected for each in part.to_pylist()]


def test_a_zone_that_is_an_offset_becomes_utc() -> None:
    """The moments stay; a zone with a name stays too."""
    moments = pa.array([0, None], pa.timestamp("ms", "+02:00"))
    assert readable(moments).type == pa.timestamp("ms", "UTC")
    assert readable(moments).cast(pa.int64()).to_pylist() == [0, None]
    assert readable(moments.cast(pa.timestamp("ms", "Europe/Berlin"))).type.tz == "Europe/Berlin"


def test_what_needs_nothing_is_not_copied() -> None:
    """Vectors go on as they are."""
    column = pa.array([[1.0, 2.0]], pa.list_(pa.float32()))
    assert readable(column) is column
