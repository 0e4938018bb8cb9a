"""Rows are found by id as a plain dictionary would find them, whichever way is taken."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagecurate.tables import Table, ids, sorting, table
from imagecurate.tables.row_groups import Span, is_ordered

TEXTS = st.sampled_from(["a", "b", "aa", "0", "00", "7", "07", "0007", "-7", "-07", "7.0", "ü", ""]) | st.text(
    max_size=2
)
NUMBERS = st.integers(-8, 8) | st.sampled_from([2**40, -(2**63)])
KINDS = {"text": (TEXTS, pa.string()), "int": (NUMBERS, pa.int64()), "float": (st.integers(-8, 8), pa.float64())}


@st.composite
def joins(draw: st.DrawFn) -> tuple[list[pa.Table], list[pa.Array], list[list[Any]], list[list[Any]]]:
    """Files with row groups to come, ids to look up, and both as Python values."""
    width = draw(st.integers(1, 2))
    sides = []
    for _ in range(2):
        kinds = [KINDS[draw(st.sampled_from(sorted(KINDS)))] for _ in range(width)]
        rows = draw(st.lists(st.tuples(*(st.none() | values for values, _ in kinds)), min_size=1, max_size=30))
        sides.append((rows, [kind for _, kind in kinds]))
    (rows, kinds), (asked, asked_kinds) = sides
    if draw(st.booleans()):
        rows.sort(key=lambda row: [(value is not None, value or type(value)()) for value in row])
    cut = draw(st.integers(0, len(rows)))
    columns = {f"id{part}": pa.array([row[part] for row in rows], kinds[part]) for part in range(width)}
    whole = pa.table(columns | {"place": pa.array(range(len(rows)), pa.int32()), "text": [str(row) for row in rows]})
    files = [whole.slice(0, cut), whole.slice(cut).drop_columns(["text"])]
    arrays = [pa.array([row[part] for row in asked], asked_kinds[part]) for part in range(width)]
    return files, arrays, [list(row) for row in rows], [list(row) for row in asked]


def plain(value: Any, numeric: bool) -> str | None:
    if value is None:
        return None
    text = str(value)
    return re.sub(r"^(-?)0+([0-9]+)$", r"\1\2", text) if numeric and isinstance(value, str) else text


def joined(rows: list[list[Any]], asked: list[list[Any]], numeric: Sequence[bool]) -> list[int | None]:
    """For each id the first of the rows that has it, by a dictionary."""
    first: dict[tuple[str | None, ...], int] = {}
    for place, row in enumerate(rows):
        first.setdefault(tuple(map(plain, row, numeric)), place)
    keys = [tuple(map(plain, row, numeric)) for row in asked]
    return [None if None in key else first.get(key) for key in keys]


@given(joins(), st.booleans(), st.integers(1, 7))
def test_both_ways_are_a_dictionary(join: Any, collide: bool, group: int) -> None:
    """Texts, integers and floats on either side, nulls, repeats, composite ids, ids that share half a hash."""
    files, asked, rows, wanted = join

    def hashed(texts: Sequence[pa.Array]) -> ids.Hashes:
        return ids.hashed(texts) & np.array([3 if collide else 2**64 - 1, 2**64 - 1], np.uint64)

    on = [name for name in files[0].column_names if name.startswith("id")]
    with (
        TemporaryDirectory() as name,
        patch.object(table, "hashed", hashed),
        patch.multiple(sorting, RUN_BYTES=200, BATCH_BYTES=200),
    ):
        folder = Path(name)
        for number, file in enumerate(files):
            pq.write_table(file, folder / f"{number}.parquet", row_group_size=group)
        opened = Table.open(folder, on, ["place", "text"])
        numeric = [mine or not pa.types.is_string(each.type) for mine, each in zip(opened.numeric, asked, strict=True)]
        places = joined(rows, wanted, numeric)
        texts = [None if place is None or place >= len(files[0]) else str(tuple(rows[place])) for place in places]

        by_index = replace(opened, spans=())
        # As though its order were known and the table so large that any number of rows is worth reading.
        by_groups = replace(opened, spans=(Span(1),) * 2, rows=10**9)
        for each, at in ((opened, "any"), (by_groups, "groups"), (by_index, "index"), (opened, "any")):
            values, matched = each.look_up(asked, folder / at)
            assert values["place"].to_pylist() == places
            assert values["text"].to_pylist() == texts
            assert matched.tolist() == [place is not None for place in places]
        indexes = list((folder / "index").glob("*.arrow"))
        assert len(indexes) == any(None not in row for row in wanted)
        assert not (folder / "groups").exists() or numeric[0] != opened.numeric[0]


@pytest.mark.parametrize("kind", [pa.uint8(), pa.uint64(), pa.decimal128(20, 0), pa.float32()])
@pytest.mark.parametrize("ordered", [True, False])
def test_integers_of_all_widths(tmp_path: Path, kind: pa.DataType, ordered: bool) -> None:
    """They match texts with leading zeros, by row groups and by index."""
    numbers = [3, 9, 17, 42, 99, 200] if ordered else [42, 3, 200, 17, 99, 9]
    pq.write_table(
        pa.table({"id": pa.array(numbers).cast(kind), "n": numbers}), tmp_path / "t.parquet", row_group_size=2
    )
    opened = Table.open(tmp_path, "id")
    assert bool(opened.spans) is ordered
    for asked in (pa.array(["000000042", "x", "42.0", None]), pa.array([42, 43, 44, None]), pa.array(["42"] * 4)):
        values, matched = opened.look_up([asked], tmp_path / "tables")
        assert values["n"].to_pylist()[0] == 42
        assert matched.sum() == (4 if asked[1].as_py() == "42" else 1)
    assert (tmp_path / "tables").exists() is not ordered


def test_text_ids_keep_their_zeros(tmp_path: Path) -> None:
    """Two texts are equal only if they are the same; integers asked for match any that says the number."""
    pq.write_table(pa.table({"id": ["042", "42", "7"], "n": [1, 2, 3]}), tmp_path / "t.parquet")
    opened = Table.open(tmp_path, "id")
    assert opened.look_up([pa.array(["42", "0042"])], tmp_path / "i")[0]["n"].to_pylist() == [2, None]
    assert opened.look_up([pa.array([42, 7])], tmp_path / "i")[0]["n"].to_pylist() == [1, 3]


def test_files_with_other_types_of_id(tmp_path: Path) -> None:
    """Where one file has integers and another texts, both are found."""
    pq.write_table(pa.table({"id": [1, 2], "n": [1, 2]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"id": ["3", "x"], "n": [3, 4]}), tmp_path / "b.parquet")
    pq.write_table(pa.table({"id": pa.nulls(1), "n": [5]}), tmp_path / "c.parquet")
    values, _ = Table.open(tmp_path, "id").look_up([pa.array(["0002", "03", "x", None])], tmp_path / "i")
    assert values["n"].to_pylist() == [2, 3, 4, None]


def test_sorted_table_is_read_by_row_group(tmp_path: Path) -> None:
    """Only the groups that can hold an id are read, and nothing is built."""
    for number in range(3):
        uids = [f"{place:06}" for place in range(number * 1000, (number + 1) * 1000)]
        pq.write_table(pa.table({"uid": uids, "n": range(1000)}), tmp_path / f"{number}.parquet", row_group_size=100)
    opened = Table.open(tmp_path, "uid")
    asked = pa.array(["001234", "001999", "002000", "nothing"])
    with patch.object(table, "open_parquet", wraps=table.open_parquet) as reads:
        values, matched = opened.look_up([asked], tmp_path / "tables")
    assert values["n"].to_pylist() == [234, 999, 0, None]
    assert matched.tolist() == [True, True, True, False]
    assert {call.args[0].name for call in reads.call_args_list} == {"1.parquet", "2.parquet"}
    assert not (tmp_path / "tables").exists()


def test_scattered_ids_of_a_sorted_table_take_the_index(tmp_path: Path) -> None:
    """More than half of the table is not read for one shard."""
    uids = [f"{place:06}" for place in range(1000)]
    pq.write_table(pa.table({"uid": uids, "n": range(1000)}), tmp_path / "t.parquet", row_group_size=100)
    values, _ = Table.open(tmp_path, "uid").look_up([pa.array(uids[::50])], tmp_path / "tables")
    assert values["n"].to_pylist() == list(range(0, 1000, 50))
    assert len(list((tmp_path / "tables").glob("*.arrow"))) == 1


def test_values_of_any_type(tmp_path: Path) -> None:
    """Lists, structs, dictionaries, times and bytes come back as the files have them, by index and by row groups."""
    count = 40
    values = {
        "boxes": pa.array([[[0.5, place]] if place % 3 else None for place in range(count)]),
        "exif": pa.array([{"iso": place, "lens": None} for place in range(count)]),
        "kind": pa.array([f"k{place % 2}" for place in range(count)]).dictionary_encode(),
        "when": pa.array(range(count), pa.timestamp("ms", "UTC")),
        "hash": pa.array([bytes([place]) * 4 for place in range(count)], pa.binary(4)),
        "half": pa.array(np.arange(count, dtype=np.float16)),
        "none": pa.nulls(count),
    }
    uids = pa.array([f"{place:03}" for place in range(count)])
    pq.write_table(pa.table({"uid": uids, **values}), tmp_path / "t.parquet", row_group_size=10)
    opened = Table.open(tmp_path, "uid")
    for chosen in (uids.slice(10, 10), uids):
        found, matched = opened.look_up([chosen], tmp_path / "tables")
        assert matched.all()
        start = 10 if len(chosen) == 10 else 0
        for name, column in values.items():
            assert found[name].to_pylist() == column.slice(start, len(chosen)).to_pylist()
            assert found[name].type == opened.columns[name][1]
    assert found["half"].type == pa.float32()
    assert found["none"].type == found["kind"].type == pa.string()


def test_nothing_to_look_up(tmp_path: Path) -> None:
    """No ids, or none that is not null, and a table without rows."""
    pq.write_table(pa.table({"id": ["a"], "n": [1]}), tmp_path / "t.parquet")
    pq.write_table(pa.table({"id": pa.array([], pa.string()), "n": pa.array([], pa.int64())}), tmp_path / "e.parquet")
    for name, asked in (("t", pa.array([], pa.string())), ("t", pa.nulls(3)), ("e", pa.array(["a", "b"]))):
        opened = Table.open(tmp_path / f"{name}.parquet", "id")
        values, matched = opened.look_up([asked], tmp_path / "tables")
        assert values["n"].to_pylist() == [None] * len(asked)
        assert not matched.any()


def test_chunked_and_encoded_ids(tmp_path: Path) -> None:
    """Ids of a data frame come in chunks, large strings or dictionaries."""
    pq.write_table(pa.table({"id": ["a", "b"], "n": [1, 2]}), tmp_path / "t.parquet")
    opened = Table.open(tmp_path, "id")
    ids = pa.chunked_array([["b"], ["c", "a"]])
    for asked in (
        ids,
        ids.cast(pa.large_string()),
        ids.cast(pa.string_view()),
        ids.combine_chunks().dictionary_encode(),
    ):
        assert opened.look_up([asked], tmp_path / "tables")[0]["n"].to_pylist() == [2, None, 1]


@pytest.mark.parametrize(
    ("spans", "ordered"),
    [
        ([Span(10, low, low + 9) for low in range(0, 100, 10)], True),
        ([Span(10, 0, 99)] * 10, False),
        ([Span(100, 0, 99)], False),
        ([Span(10, 0, 9), Span(10)], False),
        ([Span(10, 0, 9), Span(10, 10, 19), Span(0)], True),
    ],
)
def test_order_by_footers(spans: list[Span], ordered: bool) -> None:
    """A table is in order if row groups can spare at least half of it."""
    assert is_ordered(spans) is ordered
