"""Columns as parquet, one file for each input shard."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from making import samples, write_folder, write_shard
from tar_survivors import COLUMNS, TarSurvivors, tree

from imagecurate.errors import ColumnNotFoundError, OutputError, ParameterError
from imagecurate.export import save_metadata


def even(source: str, shard: str, key: str) -> bool:
    """Keep every second sample."""
    return int(key) % 2 == 0


def test_one_file_for_each_shard(tmp_path: Path) -> None:
    """Named as the shard, with the chosen columns in their order; a shard without survivors has an empty file."""
    write_folder(tmp_path / "in", shards=2, samples_per_shard=5)
    write_shard(tmp_path / "in/00002.tar", samples(1, first=11))
    summary = save_metadata(TarSurvivors.of(tmp_path / "in", keep=even), tmp_path / "out", ["score", "key"])
    assert sorted(tree(tmp_path / "out")) == ["00000.parquet", "00001.parquet", "00002.parquet"]
    table = pq.read_table(tmp_path / "out/00000.parquet")
    assert table.to_pydict() == {"score": [0.0, 0.25, 0.5], "key": ["000000000", "000000002", "000000004"]}
    assert pq.read_table(tmp_path / "out/00002.parquet").num_rows == 0
    assert (summary.files, summary.rows, summary.skipped) == (3, 5, 0)


def test_all_columns_by_default(tmp_path: Path) -> None:
    """Types are those of the dataset."""
    write_folder(tmp_path / "in", shards=1)
    save_metadata(TarSurvivors.of(tmp_path / "in"), tmp_path / "out")
    schema = pq.read_schema(tmp_path / "out/00000.parquet")
    assert dict(zip(schema.names, schema.types, strict=True)) == COLUMNS
    assert pq.read_table(tmp_path / "out")["image_embedding"].to_pylist()[3] == [0.0, 3.0]


def test_sources_have_folders(tmp_path: Path) -> None:
    """Two sources may have shards of the same name, in folders of their own too."""
    paths = [
        (source, "sub/00000", write_shard(tmp_path / source / "sub/00000.tar", samples(2))) for source in ("a", "b")
    ]
    save_metadata(TarSurvivors(paths), tmp_path / "out", columns=["key"])
    assert sorted(tree(tmp_path / "out")) == ["a/sub/00000.parquet", "b/sub/00000.parquet"]


def test_only_what_differs_is_written(tmp_path: Path) -> None:
    """The same call again reads nothing; another choice of samples or columns replaces the files."""
    write_folder(tmp_path / "in")
    save_metadata(TarSurvivors.of(tmp_path / "in"), tmp_path / "out")
    before = tree(tmp_path / "out")
    again = TarSurvivors.of(tmp_path / "in")
    assert save_metadata(again, tmp_path / "out").skipped == 2 and not again.asked
    assert save_metadata(TarSurvivors.of(tmp_path / "in", keep=even), tmp_path / "out").rows == 4
    assert save_metadata(TarSurvivors.of(tmp_path / "in"), tmp_path / "out", ["key"]).skipped == 0
    save_metadata(TarSurvivors.of(tmp_path / "in"), tmp_path / "out")
    assert tree(tmp_path / "out") == before


def test_the_input_is_never_overwritten(tmp_path: Path) -> None:
    """Neither without a path, nor with that of the input, nor over files of others."""
    write_folder(tmp_path / "in")
    before = tree(tmp_path / "in")
    survivors = TarSurvivors.of(tmp_path / "in")
    for path in (None, ""):
        with pytest.raises(ParameterError, match="save_metadata needs a path: it never overwrites its input"):
            save_metadata(survivors, path)
    with pytest.raises(OutputError, match="the input lies there"):
        save_metadata(survivors, tmp_path / "in")
    (tmp_path / "link").symlink_to(tmp_path / "in")
    with pytest.raises(OutputError, match="the input lies there"):
        save_metadata(survivors, tmp_path / "link")
    (tmp_path / "out").mkdir()
    for content in (before["00000.parquet"], b"no parquet"):
        (tmp_path / "out/00000.parquet").write_bytes(content)
        with pytest.raises(OutputError, match=r"out/00000.parquet exists and was not written by save_metadata"):
            save_metadata(survivors, tmp_path / "out")
        assert (tmp_path / "out/00000.parquet").read_bytes() == content
    assert tree(tmp_path / "in") == before


def test_columns_that_are_not_there(tmp_path: Path) -> None:
    """The near miss is named; a string and an empty list are no list of columns."""
    write_folder(tmp_path / "in", shards=1)
    survivors = TarSurvivors.of(tmp_path / "in")
    with pytest.raises(ColumnNotFoundError, match=r"column 'scores' not found(.|\n)*did you mean 'score'\?"):
        save_metadata(survivors, tmp_path / "out", ["scores"])
    for columns in ("key", []):
        with pytest.raises(ParameterError, match="columns must be a list of names"):
            save_metadata(survivors, tmp_path / "out", columns)


def test_behind_a_url(tmp_path: Path) -> None:
    """Any file system of fsspec will do."""
    write_folder(tmp_path / "in")
    url = "memory://metadata-test/out"
    assert save_metadata(TarSurvivors.of(tmp_path / "in"), url).skipped == 0
    assert save_metadata(TarSurvivors.of(tmp_path / "in"), url).skipped == 2
