"""The index of a shard in the store."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from making import img2dataset_shard

import imagecurate as ic
from imagecurate.store.index_file import IndexFile

NESTED = pa.list_(pa.struct([("name", pa.string()), ("size", pa.int64())]))


def table(rows: int) -> pa.Table:
    """Nulls, nested values, and more in a column than is read at once."""
    columns = {
        "_error": pa.array([None if row % 3 else f"bad {row}" for row in range(rows)], pa.string()),
        "score": pa.array([row / 7 for row in range(rows)], pa.float32()),
        "_members": pa.array([[{"name": f"{row}.jpg", "size": row}] * (row % 3) for row in range(rows)], NESTED),
    }
    return pa.table(columns, metadata={b"counts": b"{}"})


@pytest.mark.parametrize("rows", [0, 1, 10, 20_000])
def test_columns_are_what_was_written(tmp_path: Path, rows: int) -> None:
    """From the file and from what is at hand after writing it, whatever chunks the table had."""
    whole = table(rows)
    chunked = pa.concat_tables([whole.slice(0, rows // 2), whole.slice(rows // 2)])
    path = tmp_path / "source" / "sub" / "00000.arrow"
    for file in (IndexFile.write(path, chunked), IndexFile.open(path)):
        assert file.schema.equals(whole.schema, check_metadata=True)
        for name in whole.column_names:
            assert file.column(name).equals(whole[name].combine_chunks())
    assert [each.name for each in path.parent.iterdir()] == [path.name]


@given(kept=st.floats(0, 1, exclude_max=True), rows=st.sampled_from([0, 10, 20_000]))
def test_a_file_that_was_cut_off_is_none(kept: float, rows: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Wherever a power loss cut it."""
    path = tmp_path_factory.mktemp("index") / "0.arrow"
    IndexFile.write(path, table(rows))
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    with pytest.raises(pa.ArrowInvalid):
        IndexFile.open(path)


def test_an_index_that_was_cut_off_is_made_again(tmp_path: Path) -> None:
    """Nobody notices but by the time that it takes."""
    img2dataset_shard(tmp_path / "in", failed=[2])
    ds = ic.read_webdataset(str(tmp_path / "in"), workdir=tmp_path / "work").filter("width > 0", name="size")
    before = ds.counts()
    (index,) = (tmp_path / "work").rglob("index/**/*.arrow")
    sound = index.read_bytes()
    index.write_bytes(sound[: len(sound) // 2])
    assert ds.counts().equals(before)
    assert index.read_bytes() == sound
