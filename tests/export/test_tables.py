"""Columns on their way into an export."""

from __future__ import annotations

import pyarrow as pa
import pytest

from imagecurate.export.tables import exported_schema, exported_table

OLD = ["0017", "18", "19", "twenty", "300", "9" * 30]
NEW = ["000000", "000001", "19", "000003", "999", "000005"]


@pytest.mark.parametrize(
    ("kind", "before", "after"),
    [
        (pa.int64(), [17, 5, 19, 20, 300, None], [0, 5, 19, 20, 999, None]),
        (pa.uint8(), [17, None, 19, 20, 255, 7], [0, None, 19, 20, 255, 7]),
        (pa.uint64(), [17, 18, 1, 2, 2**64 - 1, 3], [0, 1, 1, 2, 2**64 - 1, 3]),
        (pa.string(), ["0017", "17", "19", "x", None, "y"], ["000000", "17", "19", "x", None, "y"]),
    ],
)
def test_only_what_repeats_the_key_follows_it(kind: pa.DataType, before: list[object], after: list[object]) -> None:
    """An id column that holds something else keeps it, row by row."""
    columns = {"key": pa.string(), "uid": kind}
    rows = pa.table({"key": OLD, "uid": pa.array(before, kind)})
    made = exported_table(rows, NEW, exported_schema(columns, "old"), "old", "uid")
    assert made["uid"].to_pylist() == after and made["uid"].type == kind
    assert made["old"].to_pylist() == OLD and made["key"].to_pylist() == NEW


def test_new_keys_that_are_no_numbers_leave_numbers_alone() -> None:
    """A key with source and shard behind it, and one too large, cannot go into a column of integers."""
    rows = pa.table({"key": ["1", "2", "3"], "uid": pa.array([1, 2, 3], pa.int8())})
    schema = exported_schema({"key": pa.string(), "uid": pa.int8()}, None)
    made = exported_table(rows, ["1-a-0", "000420007", "0004"], schema, None, "uid")
    assert made["uid"].to_pylist() == [1, 2, 4]
