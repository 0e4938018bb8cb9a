"""The dataset as people use it: open, look, filter, add stages, export."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import dask
import pandas as pd
import pytest
from making import legacy_nemo_shard, picture, write_folder, write_tar
from opening import opened, statuses
from toys import Brightness, Corner, Twice

import imagecurate as ic
from imagecurate.errors import (
    ColumnExistsError,
    ColumnNotFoundError,
    ExpressionError,
    MissingDependencyError,
    OutputError,
    ParameterError,
    ShardError,
)


def test_opening_reads_no_image(folder: Path, decodes: list[int]) -> None:
    """Columns, length, metadata and repr are there without a decode."""
    ds = opened(folder)
    assert len(ds) == 8
    assert ds.columns[:5] == ["sample_id", "key", "source", "shard", "caption"]
    frame = ds.metadata.compute()
    assert frame.key.tolist() == [f"{n:09d}" for n in range(8)]
    assert frame.caption.tolist() == [f"picture number {n}" for n in range(8)]
    assert frame.sample_id.is_unique
    assert frame.sample_id.iloc[5] == "default/00001#1"
    assert [Path(name).name for name in ds.tar_files] == ["00000.tar", "00001.tar"]
    assert "2 shards" in repr(ds)
    assert decodes == []


def test_data_and_meta_have_the_same_types(folder: Path) -> None:
    """Dask's promise of types holds for every column, for full and empty partitions."""
    ds = opened(folder).pipe(Brightness(), Corner()).with_column("wide", "width > 50")
    for frame in (ds.metadata, ds.filter("width > 1e9").metadata, ds.ledger()):
        for part in frame.partitions:
            assert (part.compute().dtypes == frame.dtypes).all()


def test_a_filter_between_two_image_stages_spares_the_second(folder: Path, decodes: list[int]) -> None:
    """The second stage computes the rows that are left, from the same decode."""
    ds = opened(folder).pipe(Brightness()).filter("brightness > 120", name="bright").pipe(Corner()).compute()
    assert len(decodes) == 8
    kept = int((ds.metadata.brightness.compute() > 120).sum())
    assert ds.last_run is not None
    assert ds.last_run.computed["Corner"] == kept < 8


def test_head_decodes_what_it_shows(folder: Path, decodes: list[int]) -> None:
    """Three rows, three decodes; they are kept for the full run."""
    ds = opened(folder).pipe(Brightness())
    assert ds.head(3).key.tolist() == ["000000000", "000000001", "000000002"]
    assert len(decodes) == 3
    assert len(ds.metadata.head(3)) == 3
    assert len(decodes) == 3
    assert len(ds.head(100)) == 8
    assert len(decodes) == 8
    assert ds.filter("width < 0").head(2).empty


def test_sample_draws_survivors_without_replacement(folder: Path, decodes: list[int]) -> None:
    """As many as asked, repeatable, only survivors, all of them where fewer survive."""
    ds = opened(folder).filter("width >= 56")
    drawn = ds.sample(3, seed=1)
    assert len(drawn) == drawn.key.nunique() == 3
    assert (drawn.width >= 56).all()
    assert drawn.equals(ds.sample(3, seed=1))
    everything = ds.metadata.key.compute()
    assert sorted(ds.sample(1000).key) == sorted(everything)
    assert decodes == []


def test_projection_opens_no_image(folder: Path, decodes: list[int]) -> None:
    """Lengths, counts and other columns of a dataset with an embedder decode nothing."""
    ds = opened(folder).pipe(Brightness())
    md = ds.metadata
    assert len(md) == 8
    assert md.width.max().compute() == 80
    assert len(md[md.width > 50]) == 6
    assert md[["key"]].compute().shape == (8, 1)
    assert len(md.index.compute()) == 8
    assert decodes == []


def test_width_in_a_filter_means_pixels_where_the_data_brought_none(tmp_path: Path, decodes: list[int]) -> None:
    """``width`` is the data's own column, else that of the decoded image, in front of any stage."""
    write_tar(tmp_path / "data/s.tar", [("a.jpg", picture(1, (30, 60))), ("b.jpg", picture(2, (60, 90)))])
    ds = opened(tmp_path / "data").filter("min(width, height) >= 50", name="size").pipe(Brightness())
    assert statuses(ds) == {"a": ("dropped", "size"), "b": ("kept", None)}
    assert len(decodes) == 2


def test_columns_that_are_there_are_never_overwritten(folder: Path) -> None:
    """Incoming ones and those of other stages; the error says the way out."""
    ds = opened(folder)
    with pytest.raises(ColumnExistsError, match="'width' that came with the data"):
        ds.pipe(Brightness(column="width"))
    with pytest.raises(ColumnExistsError, match="which Brightness writes already"):
        ds.pipe(Brightness(), Brightness())
    with pytest.raises(ColumnExistsError, match="with_column would overwrite"):
        ds.with_column("caption", "width")
    with pytest.raises(ColumnNotFoundError, match="column 'brightness' not found; the dataset has: sample_id"):
        ds.pipe(Twice())


def test_mistakes_are_told_when_they_are_made(folder: Path) -> None:
    """Unknown columns with the near miss, filters that are no conditions, names that repeat, wrong arguments."""
    ds = opened(folder)
    with pytest.raises(ColumnNotFoundError, match=r"column 'witdh' not found.*\n\nHint: did you mean 'width'"):
        ds.filter("witdh > 3")
    with pytest.raises(ColumnNotFoundError, match=r"Hint: run AestheticClassifier\(\) first"):
        ds.filter("aesthetic_score > 3")
    with pytest.raises((ParameterError, ExpressionError), match="width"):
        ds.filter("width + 1")
    with pytest.raises(ExpressionError):
        ds.filter("width >")
    with pytest.raises(ParameterError, match="a filter named 'a' already"):
        ds.filter("width > 1", name="a").filter("width > 2", name="a")
    with pytest.raises(ParameterError, match="metadata cannot be assigned"):
        ds.metadata = ds.metadata[["key"]]
    with pytest.raises(ParameterError, match=r"pipe expects stages.*\n\nHint: a stage is an object"):
        ds.pipe(Brightness)  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="backend must be"):
        opened(folder, backend="polars")
    with pytest.raises(MissingDependencyError, match="needs cuDF"):
        opened(folder, backend="cudf")
    with pytest.raises(ShardError):
        ic.read_webdataset(str(folder / "nothing here"))
    for name in ("_error", "_shard", "", 3):
        with pytest.raises(ParameterError, match="cannot write a column named"):
            ds.with_column(name, "width")  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="cannot write a column named '_error'"):
        ds.pipe(Brightness(column="_error"))
    with pytest.raises(ParameterError, match="decode_policy must be a DecodePolicy"):
        opened(folder, decode_policy={"max_pixels": 3})
    for wrong in (-1, 2.5, True):
        with pytest.raises(ParameterError, match="takes a whole number"):
            ds.head(wrong)  # type: ignore[arg-type]
        with pytest.raises(ParameterError, match="takes a whole number"):
            ds.sample(wrong)  # type: ignore[arg-type]


def test_schedulers_agree(folder: Path) -> None:
    """The same frame from the synchronous, the threaded and the process scheduler."""
    ds = opened(folder).pipe(Brightness(), Corner()).filter("brightness > 100")
    frames = []
    for scheduler in ("sync", "threads"):
        with dask.config.set(scheduler=scheduler):
            frames.append(ds.metadata.compute())
    pd.testing.assert_frame_equal(frames[0], frames[1])


def test_legacy_shards_open(tmp_path: Path) -> None:
    """What the old NeMo Curator asked of people works as it is."""
    legacy_nemo_shard(tmp_path / "data", 0)
    legacy_nemo_shard(tmp_path / "data", 1)
    ds = opened(tmp_path / "data", id_col="key")
    assert len(ds) == 16
    assert ds.metadata.url.compute().notna().all()


def test_exporting_duplicates_that_no_filter_looked_at_warns(folder: Path, tmp_path: Path) -> None:
    """Whoever marked duplicates meant to do something about them."""
    marked = opened(folder).with_column("is_duplicate", "width == 56")
    with pytest.warns(UserWarning, match="duplicates are marked in is_duplicate, but no filter looks at it"):
        marked.to_webdataset(tmp_path / "all")
    marked.filter("not is_duplicate").to_webdataset(tmp_path / "some")


def test_filter_column_and_old_names(folder: Path, tmp_path: Path) -> None:
    """The old API's way: a boolean column decides, keys are numbered anew, ``max_shards`` are the digits."""
    ds = opened(folder).with_column("good one", "width > 50")
    summary = ds.to_webdataset(
        tmp_path / "out", filter_column="good one", samples_per_shard=4, max_shards=3, old_id_col="old_key"
    )
    assert (summary.samples, summary.shards) == (6, 2)
    frame = pd.read_parquet(tmp_path / "out/001.parquet", dtype_backend="pyarrow")
    assert frame.key.tolist() == ["0010", "0011"]
    assert frame.old_key.tolist() == ["000000006", "000000007"]
    with pytest.raises(ColumnNotFoundError, match="did you mean 'good one'"):
        ds.to_webdataset(tmp_path / "other", filter_column="good_one")


def test_metadata_is_saved_shard_by_shard(folder: Path, tmp_path: Path) -> None:
    """Chosen columns of kept samples, one file a shard; never over the input."""
    ds = opened(folder).pipe(Corner()).filter("width > 50")
    ds.save_metadata(tmp_path / "meta", columns=["key", "corner"])
    frames = [pd.read_parquet(tmp_path / f"meta/0000{n}.parquet") for n in range(2)]
    assert [list(frame.columns) for frame in frames] == [["key", "corner"]] * 2
    assert sum(len(frame) for frame in frames) == 6
    with pytest.raises(ParameterError, match="never overwrites its input"):
        ds.save_metadata()
    with pytest.raises(ColumnNotFoundError):
        ds.to_parquet(tmp_path / "meta2", columns=["corners"])


def test_the_ledger_has_a_head(folder: Path) -> None:
    """Looking at a few rows works for the ledger as for the metadata."""
    ds = opened(folder).pipe(Brightness())
    assert len(ds.ledger().head(3)) == len(ds.ledger()[["key"]].head(3)) == 3


def test_head_behind_a_selective_filter_is_not_slow(tmp_path: Path, decodes: list[int]) -> None:
    """Rounds grow: every picture is decoded once, and the store is not written anew for each handful."""
    folder = write_folder(tmp_path / "data", shards=1, samples_per_shard=400)
    ds = opened(folder).pipe(Brightness(), Corner()).filter("brightness < 0")
    assert ds.head(5).empty
    assert len(decodes) == 400
    assert ds.sample(5).empty
    assert len(decodes) == 400


def test_a_dataset_is_true_and_pickles(folder: Path) -> None:
    """``if ds:`` asks no shard; a dataset can be sent to another process."""
    import pickle

    ds = opened(folder).pipe(Brightness()).filter("brightness > 100")
    assert ds
    copy = pickle.loads(pickle.dumps(ds))
    pd.testing.assert_frame_equal(copy.metadata.compute(), ds.metadata.compute())


def test_wrong_arguments_of_an_export_are_told_before_anything_is_computed(
    folder: Path, tmp_path: Path, decodes: list[int]
) -> None:
    """Hours of work are not spent to find that the target is the input."""
    ds = opened(folder).pipe(Brightness())
    for path, options in (
        (tmp_path / "out", {"samples_per_shard": 0}),
        (tmp_path / "out", {"digest": "md5"}),
        (tmp_path / "out", {"old_id_col": "caption"}),
        (folder, {}),
        (folder.parent, {}),
        (None, {}),
        ("", {}),
    ):
        with pytest.raises((ParameterError, ColumnExistsError, OutputError)):
            ds.to_webdataset(path, **options)  # type: ignore[arg-type]
    assert decodes == []


def test_a_store_that_cannot_be_written_says_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the place, the reason and what to do: when the dataset is opened, or when the disk is full later."""
    (folder.parent / "file").write_text("in the way")
    with pytest.raises(OutputError, match=r"(?s)working folder .* cannot be made: .*Hint: .*workdir="):
        ic.read_webdataset(str(folder), workdir=folder.parent / "file")

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    ds = opened(folder).pipe(Brightness())
    len(ds)
    monkeypatch.setattr("imagecurate.store.files.pq.write_table", full)
    with pytest.raises(OutputError, match=r"(?s)store cannot be written at .*No space left.*Hint: .*workdir="):
        ds.compute()
