"""The index of a table in no order: built once, by whoever comes first, in bounded memory."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from imagecurate.errors import OutputError
from imagecurate.tables import Table, index, sorting, table
from imagecurate.tables.ids import hashed
from imagecurate.tables.index import index_schema, indexed

SCHEMA = index_schema([pa.field("n", pa.int64())])


def scattered(folder: Path, rows: int, **options: Any) -> Path:
    """A table of ids in no order, ``n`` their place."""
    numbers = np.random.default_rng(0).permutation(rows)
    folder.mkdir(exist_ok=True)
    ids = pa.array([f"{number:09}" for number in numbers])
    pq.write_table(pa.table({"uid": ids, "n": np.arange(rows)}), folder / "t.parquet", **options)
    return folder


def look_up(opened: Table, folder: Path, start: int) -> list[int | None]:
    """Places of some ids, in a process of its own."""
    asked = pa.array([f"{number:09}" for number in range(start, start + 100)])
    found: list[int | None] = opened.look_up([asked], folder)[0]["n"].to_pylist()
    return found


def rows(ids: list[str], first: int = 0) -> pa.RecordBatch:
    values = pa.array(range(first, first + len(ids)), pa.int64())
    return indexed(hashed([pa.array(ids, pa.string())]), [values], SCHEMA)


def test_threads_build_it_once(tmp_path: Path) -> None:
    """Whoever comes while it is built waits."""
    opened = Table.open(scattered(tmp_path / "meta", 2000), "uid")
    with (
        patch.object(table, "write_index", wraps=table.write_index) as build,
        ThreadPoolExecutor(8) as threads,
    ):
        found = list(threads.map(lambda start: look_up(opened, tmp_path / "tables", start), range(0, 1600, 100)))
    assert build.call_count == 1
    with patch.object(table, "write_index") as build:
        assert [look_up(opened, tmp_path / "tables", start) for start in range(0, 1600, 100)] == found
    assert build.call_count == 0


def test_processes_share_it(tmp_path: Path) -> None:
    """Processes that start together leave one whole index, and nothing else but its lock."""
    opened = Table.open(scattered(tmp_path / "meta", 2000), "uid")
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=spawn) as processes:
        found = list(processes.map(look_up, [opened] * 6, [tmp_path / "tables"] * 6, range(0, 600, 100)))
    assert found == [look_up(opened, tmp_path / "alone", start) for start in range(0, 600, 100)]
    assert sorted(path.suffix for path in (tmp_path / "tables").iterdir()) == [".arrow", ".lock"]
    (shared,), (alone,) = ((tmp_path / name).glob("*.arrow") for name in ("tables", "alone"))
    assert shared.name == alone.name
    assert shared.read_bytes() == alone.read_bytes()


def test_file_system_without_locks(tmp_path: Path) -> None:
    """Waiting only saves work."""
    opened = Table.open(scattered(tmp_path / "meta", 200), "uid")
    with patch.object(index.fcntl, "flock", side_effect=OSError("no locks here")):
        assert None not in look_up(opened, tmp_path / "tables", 0)


@pytest.mark.parametrize("keep", [0, 7, 100, -1, -100])
def test_cut_off_index_is_built_again(tmp_path: Path, keep: int) -> None:
    """A file without its end, as a power loss leaves it, counts as missing."""
    opened = Table.open(scattered(tmp_path / "meta", 500), "uid")
    found = look_up(opened, tmp_path / "tables", 0)
    (path,) = (tmp_path / "tables").glob("*.arrow")
    whole = path.read_bytes()
    path.unlink()
    path.write_bytes(whole[:keep])
    index._mapped.cache_clear()
    assert look_up(opened, tmp_path / "tables", 0) == found
    assert path.read_bytes() == whole


@pytest.mark.parametrize("run", [1, 100, 1000, 10**9])
def test_runs_make_no_difference(tmp_path: Path, run: int) -> None:
    """Of the rows with an id the first is kept, be they in one run or several; batches never part equal halves."""
    ids = [f"{number % 97}" for number in range(1000)]
    with patch.multiple(sorting, RUN_BYTES=run, BATCH_BYTES=300):
        sorting.write_index(tmp_path / "i.arrow", SCHEMA, [rows(ids[at : at + 9], at) for at in range(0, 1000, 9)])
    built = index._mapped(tmp_path / "i.arrow", SCHEMA)
    (values,), places = built.look_up(hashed([pa.array([*ids, "x"])]))
    assert [values[place].as_py() for place in places[:-1]] == [number % 97 for number in range(1000)]
    assert places[-1] == -1
    assert sum(len(batch) for batch in built._batches) == 97


def test_same_bytes_whoever_builds(tmp_path: Path) -> None:
    """So two that build at once cannot harm each other."""
    batches = [rows([str(number) for number in range(at, at + 50)], at) for at in range(0, 500, 50)]
    for name in ("a", "b"):
        sorting.write_index(tmp_path / name, SCHEMA, batches)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def peak_of_build(folder: Path, distinct: int) -> int:
    """Build an index of 13 MB in runs of 1 MB; the most that Arrow held when rows were sorted, in bytes."""
    columns = {"id": np.arange(400_000) % distinct, "n": np.arange(400_000), "x": np.ones(400_000)}
    pq.write_table(pa.table(columns), folder / "t.parquet", row_group_size=20_000)
    del columns
    opened = replace(Table.open(folder / "t.parquet", "id"), spans=())
    before = pa.total_allocated_bytes()
    held = []
    order = sorting._order

    def watched(rows: pa.RecordBatch) -> Any:
        held.append(pa.total_allocated_bytes() - before)
        return order(rows)

    with (
        patch.multiple(sorting, RUN_BYTES=1 << 20, BATCH_BYTES=1 << 18),
        patch.object(sorting, "_order", watched),
    ):
        values, _ = opened.look_up([pa.array([2, 400_000])], folder / "tables")
    assert values["n"].to_pylist() == [2, None]
    assert len(held) > 10
    return max(held)


@pytest.mark.parametrize("distinct", [400_000, 3])
def test_memory_is_that_of_a_run(tmp_path: Path, distinct: int) -> None:
    """A table of many runs takes what two and a piece of a row group take, however often an id repeats."""
    assert 1 << 20 < peak_of_build(tmp_path, distinct) < 4 << 20


def test_no_room(tmp_path: Path) -> None:
    """A store that cannot be written says so."""
    opened = Table.open(scattered(tmp_path / "meta", 10), "uid")
    (tmp_path / "tables").write_text("a file where the folder should be")
    with pytest.raises(OutputError, match="an index of a table cannot be built in the store"):
        look_up(opened, tmp_path / "tables", 0)


def test_failed_build_leaves_nothing(tmp_path: Path) -> None:
    """What fails on the way is no index."""

    def broken() -> Any:
        yield rows(["a"])
        raise ValueError("on the way")

    with pytest.raises(ValueError, match="on the way"):
        sorting.write_index(tmp_path / "i.arrow", SCHEMA, broken())
    assert list(tmp_path.iterdir()) == []
