"""The store keeps any set of rows, merges parts, and survives what a killed run leaves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagecurate.columns import VECTOR
from imagecurate.store import ERROR, PART_ROWS, POSITION, BlockValues, StageValues, Store

SCHEMA = pa.schema([(ERROR, pa.string()), ("score", pa.float64()), ("vector", VECTOR)])
COUNT = 3 * PART_ROWS + 7


@dataclass(frozen=True)
class FakeShard:
    source: str = "default"
    name: str = "sub/00000"
    token: str = "a" * 12
    metadata_token: str = "b" * 12


def rows(positions: np.ndarray) -> pa.Table:
    """What a stage computes for these positions."""
    vectors = pa.array([[float(p), 1.0] for p in positions], VECTOR)
    errors = pa.array([f"bad {p}" if p % 100 == 99 else None for p in positions], pa.string())
    return pa.table({POSITION: positions, ERROR: errors, "score": positions / 2, "vector": vectors})


def values(folder: Path) -> StageValues:
    return StageValues(Store(folder).stage("Toy-1", reads_metadata=False), FakeShard(), COUNT, SCHEMA)


@given(data=st.data())
def test_any_order_of_parts_finishes_and_kills_gives_the_rows(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever was written, in whatever order and however often, is read back, once, and nothing else."""
    folder = tmp_path_factory.mktemp("store")
    known: set[int] = set()
    for _ in range(data.draw(st.integers(1, 4))):
        state = values(folder)
        chosen = data.draw(st.sets(st.integers(0, COUNT - 1), min_size=1, max_size=40))
        state.add(rows(np.array(sorted(chosen))))
        known |= chosen
        if data.draw(st.booleans()):
            state.save()
        else:
            state.finish()
    state = values(folder)
    everything = np.arange(COUNT)
    assert set(np.flatnonzero(state.known(everything))) == known
    expected = [p / 2 if p in known else None for p in range(COUNT)]
    assert state.column("score", everything).to_pylist() == expected
    asked = np.array(sorted(known)[::-1])
    assert state.column("vector", asked).to_pylist() == [[float(p), 1.0] for p in asked]
    failed, reasons = state.failures(asked)
    assert reasons == [f"bad {p}" for p in asked if p % 100 == 99]
    assert failed.sum() == len(reasons)


def test_the_finished_file_depends_only_on_the_rows(tmp_path: Path) -> None:
    """Two histories that know the same rows end with the same bytes."""
    one, two = values(tmp_path / "one"), values(tmp_path / "two")
    one.add(rows(np.arange(COUNT)))
    one.finish()
    for start in (PART_ROWS, 0, 2 * PART_ROWS):
        positions = np.arange(start, min(start + PART_ROWS, COUNT))
        part = BlockValues(two, positions)
        part.add(rows(positions))
        assert part.column("score", positions[::-1]).to_pylist() == (positions[::-1] / 2).tolist()
        part.save()
    again = values(tmp_path / "two")
    again.add(rows(np.arange(3 * PART_ROWS, COUNT)))
    again.finish()
    files = [sorted((tmp_path / name).rglob("*.parquet")) for name in ("one", "two")]
    assert [len(found) for found in files] == [1, 1]
    assert files[0][0].read_bytes() == files[1][0].read_bytes()


def test_a_file_cut_off_by_a_power_loss_counts_as_missing(tmp_path: Path) -> None:
    """Without a footer there are no rows, and finishing writes the file anew."""
    state = values(tmp_path)
    state.add(rows(np.arange(COUNT)))
    state.finish()
    (path,) = tmp_path.rglob("*.parquet")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    state = values(tmp_path)
    assert not state.known(np.arange(COUNT)).any()
    state.add(rows(np.arange(COUNT)))
    state.finish()
    assert path.read_bytes() == whole


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path) -> None:
    """An error while writing leaves neither a half file nor a temporary one."""
    from imagecurate.store import write_atomically

    def fail(path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_atomically(tmp_path / "folder" / "file", fail)
    assert list((tmp_path / "folder").iterdir()) == []
