"""Tables and lists in an object store: read by range, and each range once."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from s3 import BUCKET, Requests, upload

from imagecurate.errors import ShardError
from imagecurate.shards.sources import RangeSource
from imagecurate.tables import IdList, Table

S3 = tuple[Any, dict[str, Any], Requests]
ROWS = 100_000


@pytest.fixture(scope="module")
def remote(s3: S3, tmp_path_factory: pytest.TempPathFactory) -> S3:
    """Two files of ten row groups each, in order, some 7 MB; lists of ids beside them."""
    folder = tmp_path_factory.mktemp("meta")
    noise = np.random.default_rng(0).random((ROWS, 8))
    for number in range(2):
        places = range(number * ROWS // 2, (number + 1) * ROWS // 2)
        columns = {"uid": [f"{place:09}" for place in places], "n": pa.array(places)}
        columns |= {f"x{extra}": noise[places, extra] for extra in range(8)}
        pq.write_table(pa.table(columns), folder / f"{number}.parquet", row_group_size=ROWS // 20)
    (folder / "ids.txt").write_text("000000007\n000000042\n")
    np.save(folder / "ids.npy", np.arange(3))
    upload(s3[0], folder, "meta")
    return s3


class Ranges:
    """What is read of each remote file."""

    def __init__(self) -> None:
        self.read: dict[str, list[tuple[int, int]]] = {}
        self._read = RangeSource.read

    def __call__(self, source: RangeSource, offset: int, size: int) -> bytes:
        data = self._read(source, offset, size)
        self.read.setdefault(source._path, []).append((offset, offset + len(data)))
        return data


def test_row_groups_are_ranges(remote: S3, tmp_path: Path) -> None:
    """A footer and the columns of the row groups that are near: a few requests, a small part of the bytes."""
    _, options, requests = remote
    table = Table.open(f"s3://{BUCKET}/meta", "uid", ["n"], storage_options=options)
    assert [file.name for file in table.files] == ["0.parquet", "1.parquet"]
    before = len(requests.lines)
    ranges = Ranges()
    with patch.object(RangeSource, "read", lambda *given: ranges(*given)):
        values, _ = table.look_up([pa.array([f"{place:09}" for place in (7, 6000, ROWS)])], tmp_path / "tables")
    assert values["n"].to_pylist() == [7, 6000, None]
    (spans,) = ranges.read.values()
    assert sum(end - start for start, end in spans) < table.files[0].size / 10
    assert len(requests.lines) - before <= 4
    assert not (tmp_path / "tables").exists()


def test_index_reads_each_range_once(remote: S3, tmp_path: Path) -> None:
    """Of the columns that are needed, and of them once."""
    _, options, _ = remote
    table = Table.open(f"s3://{BUCKET}/meta/*.parquet", "uid", ["n"], storage_options=options)
    assert table.spans
    table = replace(table, spans=())
    ranges = Ranges()
    asked = pa.array([f"{place:09}" for place in range(0, ROWS, 1000)])
    with patch.object(RangeSource, "read", lambda *given: ranges(*given)):
        for _ in range(2):
            values, matched = table.look_up([asked], tmp_path / "tables")
    assert values["n"].to_pylist() == list(range(0, ROWS, 1000))
    assert matched.all()
    assert len(ranges.read) == 2
    for spans in ranges.read.values():
        spans.sort()  # the footer, which opening read, comes last
        assert all(end <= start for (_, end), (start, _) in pairwise(spans[:-1]))
        assert sum(end - start for start, end in spans) < table.files[0].size / 2


def test_lists(remote: S3, tmp_path: Path) -> None:
    """They lie beside the data."""
    _, options, _ = remote
    asked = pa.array(["000000007", "000000001", "7"])
    for name, expected in {"txt": [True, False, False], "npy": [False, True, False]}.items():
        ids = IdList.open(f"s3://{BUCKET}/meta/ids.{name}", "key", tmp_path, storage_options=options)
        assert ids.contains(asked, tmp_path).tolist() == expected
        assert "secret" not in repr(ids) + str(ids.identity())


def test_replaced_file(remote: S3, tmp_path: Path) -> None:
    """A file of another size than when the table was opened is noticed."""
    client, options, _ = remote
    for size in (500, 2000):
        sink = pa.BufferOutputStream()
        pq.write_table(pa.table({"uid": [str(number) for number in range(size)], "n": range(size)}), sink)
        client.put_object(Bucket=BUCKET, Key="other/t.parquet", Body=sink.getvalue().to_pybytes())
        if size == 500:
            table = Table.open(f"s3://{BUCKET}/other/t.parquet", "uid", storage_options=options)
    with pytest.raises(ShardError, match="was changed after it was listed"):
        table.look_up([pa.array(["1"])], tmp_path / "tables")
