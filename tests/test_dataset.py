"""The dataset as people use it: open, look, filter, add stages, account for every sample."""

from __future__ import annotations

import warnings
from pathlib import Path

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from making import legacy_nemo_shard, picture, write_folder, write_shard, write_tar
from toys import Brightness, Corner, Picky, Rank, Twice

import imagecurate as ic
from imagecurate.errors import (
    ColumnExistsError,
    ColumnNotFoundError,
    ExpressionError,
    MaskError,
    MissingDependencyError,
    ParameterError,
    ShardError,
    StageError,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two shards of four plain samples, keys 000000000 to 000000007, widths 48 to 80."""
    return write_folder(tmp_path / "data", shards=2, samples_per_shard=4)


def opened(folder: Path, **options: object) -> ic.ImageTextPairDataset:
    return ic.read_webdataset(str(folder), workdir=folder.parent / "work", **options)  # type: ignore[arg-type]


def statuses(dataset: ic.ImageTextPairDataset) -> dict[str, tuple[str, str | None]]:
    """Status and reason of each sample, by key."""
    ledger = dataset.ledger().compute()
    return {
        row.key: (row.status, None if pd.isna(row.reason) else row.reason) for row in ledger.itertuples(index=False)
    }


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


def test_one_decode_serves_all_image_stages_and_all_later_runs(folder: Path, decodes: list[int]) -> None:
    """Two image stages share a decode; a second dataset over the same store decodes nothing."""
    ds = opened(folder).pipe(Brightness(), Corner(), Twice()).compute()
    assert len(decodes) == 8
    frame = ds.metadata.compute()
    assert np.allclose(frame.twice, 2 * frame.brightness)
    again = opened(folder).pipe(Corner(), Brightness()).compute()
    assert len(decodes) == 8
    assert again.last_run is not None
    assert again.last_run.computed == {}


def test_thresholds_cost_only_the_rows_they_admit(folder: Path, decodes: list[int]) -> None:
    """In front of an image stage: tighter decodes nothing, looser the newly admitted; behind it: nothing."""
    opened(folder).filter("width >= 64").pipe(Brightness()).compute()
    admitted = len(decodes)
    assert admitted == sum(48 + n % 5 * 8 >= 64 for n in range(8))
    opened(folder).filter("width >= 72").pipe(Brightness()).compute()
    assert len(decodes) == admitted
    opened(folder).filter("width >= 56").pipe(Brightness()).compute()
    assert len(decodes) == sum(48 + n % 5 * 8 >= 56 for n in range(8))
    done = len(decodes)
    for limit in (10, 100, 200):
        opened(folder).filter("width >= 56").pipe(Brightness()).filter(f"brightness > {limit}").compute()
    assert len(decodes) == done


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


def test_filters_account_for_every_sample(tmp_path: Path) -> None:
    """Kept, dropped by the first filter in plan order, null counted, failed with a reason."""
    members = [
        ("a", b"x"),
        ("a.jpg", picture(1)),
        ("a.json", b'{"q": 1}'),
        ("b.jpg", picture(2)),
        ("b.json", b'{"q": 5}'),
    ]
    members += [
        ("c.jpg", picture(3)),
        ("d.jpg", b"<html>"),
        ("d.json", b'{"q": 9}'),
        ("e.txt", b"alone"),
        ("e.json", b'{"q": 9}'),
    ]
    members += [("f.jpg", b"<html>"), ("f.json", b'{"q": 1}')]
    write_tar(tmp_path / "data/s.tar", members)
    ds = opened(tmp_path / "data").filter("q > 2", name="q").pipe(Brightness()).filter("brightness >= 0", name="light")
    assert statuses(ds) == {
        "a": ("dropped", "q"),
        "b": ("kept", None),
        "c": ("dropped", "q"),
        "d": ("failed", "not an image"),
        "e": ("failed", "no image"),
        "f": ("dropped", "q"),
    }
    ledger = ds.ledger().compute().set_index("key")
    assert ledger.detail["c"] == "null"
    assert pd.isna(ledger.detail["a"])
    counts = ds.counts()
    assert counts.loc[0, ["dropped", "failed", "left"]].tolist() == [0, 1, 5]
    assert counts.set_index("step").loc["q", ["dropped", "null", "left"]].tolist() == [3, 1, 2]
    assert counts.left.iloc[-1] == 1
    assert len(ds) == len(ledger) == 6
    assert "d" not in ds.metadata.key.compute().tolist()  # null does not pass the last filter


def test_failed_samples_stay_in_metadata_with_nulls(tmp_path: Path) -> None:
    """A file that is no image is a row with nulls and an error until a filter asks for more."""
    write_tar(tmp_path / "data/s.tar", [("a.jpg", picture(1)), ("b.jpg", b"no image at all"), ("c.jpg", b"")])
    frame = opened(tmp_path / "data").pipe(Brightness()).metadata.compute().set_index("key")
    assert list(frame.index) == ["a", "b", "c"]
    assert frame.brightness.isna().tolist() == [False, True, True]
    assert frame.image_error.isna().tolist() == [True, False, True]
    assert frame.image_width.tolist()[0] == 64


def test_width_in_a_filter_means_pixels_where_the_data_brought_none(tmp_path: Path, decodes: list[int]) -> None:
    """``width`` is the data's own column, else that of the decoded image, in front of any stage."""
    write_tar(tmp_path / "data/s.tar", [("a.jpg", picture(1, (30, 60))), ("b.jpg", picture(2, (60, 90)))])
    ds = opened(tmp_path / "data").filter("min(width, height) >= 50", name="size").pipe(Brightness())
    assert statuses(ds) == {"a": ("dropped", "size"), "b": ("kept", None)}
    assert len(decodes) == 2


def test_a_bad_row_costs_one_row(folder: Path) -> None:
    """A stage that raises for one picture, in prepare or for a whole batch, fails that sample alone."""
    bright = {
        key: value > 128
        for key, value in opened(folder)
        .pipe(Brightness())
        .metadata.compute()[["key", "brightness"]]
        .itertuples(index=False)
    }
    assert 0 < sum(bright.values()) < 8
    for late in (False, True):
        found = statuses(opened(folder).pipe(Picky(late=late)))
        assert found == {key: ("failed", "Picky") if bad else ("kept", None) for key, bad in bright.items()}


def test_a_stage_that_fails_every_row_is_an_error(folder: Path) -> None:
    """Then the stage is at fault, not the data."""
    with pytest.raises(StageError, match=r"Picky\(limit=-1.0, late=True\) failed each of 4 rows; .*too bright"):
        opened(folder).pipe(Picky(limit=-1.0, late=True)).compute()


def test_raw_masks(folder: Path) -> None:
    """Any Dask mask built from the dataset works, on any generation of it, and the ledger names it."""
    ds = opened(folder).pipe(Brightness())
    old = ds.metadata["width"] >= 56
    masked = ds[ds.metadata.brightness > ds.metadata.brightness.mean()]
    twice = masked.filter(old, name="wide").filter("width < 80", name="narrow").pipe(Twice())
    everything = ds.metadata.compute()
    above = everything.brightness > everything.brightness.mean()
    expected = everything[above & (everything.width >= 56) & (everything.width < 80)]
    frame = twice.metadata.compute()
    assert frame.key.tolist() == expected.key.tolist()
    assert np.allclose(frame.twice, 2 * expected.brightness)
    assert len(twice.metadata) == len(expected)
    assert twice.head(100).key.tolist() == expected.key.tolist()
    found = statuses(twice)
    for row, is_above in zip(everything.itertuples(), above, strict=True):
        reason = "mask-1" if not is_above else "wide" if row.width < 56 else "narrow" if row.width >= 80 else None
        assert found[row.key] == (("kept", None) if reason is None else ("dropped", reason))


def test_masks_that_do_not_belong_are_refused(folder: Path, tmp_path: Path) -> None:
    """A mask of other shards, a persisted one, a frame, a string, numbers: each is told apart."""
    ds = opened(folder)
    other = ic.read_webdataset(str(write_folder(tmp_path / "other", 2, 4)), workdir=None)
    with pytest.raises(MaskError, match="not built from this dataset"):
        ds[other.metadata.width > 50]
    with pytest.raises(MaskError, match="not built from this dataset"):
        ds[dd.from_pandas(pd.Series([True] * 8), npartitions=2)]
    with pytest.raises(MaskError, match="must be a Dask series"):
        ds[ds.metadata.width.compute() > 50]
    with pytest.raises(MaskError, match="must be boolean"):
        ds[ds.metadata.width]
    with pytest.raises(ParameterError, match="indexed by a mask"):
        ds["width"]


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


def test_dataset_stage_runs_once_over_all_shards(folder: Path, decodes: list[int]) -> None:
    """It runs when it is called, only for survivors, and the second call finds its result."""
    ds = opened(folder).pipe(Brightness()).filter("width >= 56")
    ranked = ds.pipe(Rank())
    assert len(decodes) == 8
    frame = ranked.metadata.compute()
    assert frame["rank"].tolist() == frame.brightness.rank().astype(int).sub(1).tolist()
    with dask.config.set(scheduler="sync"), warnings.catch_warnings():
        calls: list[int] = []
        process = Rank.process
        Rank.process = lambda self, shards: calls.append(1) or process(self, shards)  # type: ignore[method-assign,func-returns-value,assignment]
        try:
            ds.pipe(Rank())
            assert calls == []
            ds.filter("brightness > 100").pipe(Rank())
            assert calls == [1]
        finally:
            Rank.process = process  # type: ignore[method-assign]
    assert ranked.filter("rank < 2", name="top").counts().left.iloc[-1] == 2


def test_an_edited_stage_is_another_stage(folder: Path) -> None:
    """Parameters and the source of a class outside an installed package are part of the fingerprint."""

    class Edited(Brightness):
        def process(self, batch: list[float]) -> dict[str, object]:
            return {self.column: [value + 1000 for value in batch]}

    plain = opened(folder).pipe(Brightness()).metadata.brightness.compute()
    edited = opened(folder).pipe(Edited()).metadata.brightness.compute()
    assert np.allclose(edited, plain + 1000)


def test_a_replaced_shard_is_computed_again(folder: Path, decodes: list[int]) -> None:
    """A shard with the same name and other bytes finds nothing in the store; its neighbour keeps its values."""
    opened(folder).pipe(Brightness()).compute()
    before = len(decodes)
    write_shard(folder / "00001.tar", [("new", {"jpg": picture(77)})])
    frame = opened(folder).pipe(Brightness()).metadata.compute()
    assert frame.key.tolist()[4:] == ["new"]
    assert len(decodes) == before + 1


def test_moved_data_keeps_its_store(folder: Path, tmp_path: Path, decodes: list[int]) -> None:
    """Shards are known by their path relative to the source."""
    opened(folder).pipe(Brightness()).compute()
    before = len(decodes)
    folder.rename(tmp_path / "elsewhere")
    ic.read_webdataset(str(tmp_path / "elsewhere"), workdir=tmp_path / "work").pipe(Brightness()).compute()
    assert len(decodes) == before


def test_identity_by_name_and_size_survives_a_copy(folder: Path, decodes: list[int]) -> None:
    """Copies change times; who says so keeps the store."""
    opened(folder, shard_identity="size").pipe(Brightness()).compute()
    before = len(decodes)
    for path in folder.glob("*.tar"):
        path.touch()
    opened(folder, shard_identity="size").pipe(Brightness()).compute()
    assert len(decodes) == before
    opened(folder).pipe(Brightness()).compute()
    assert len(decodes) == 2 * before


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


def test_storage_options_appear_nowhere(folder: Path) -> None:
    """Secrets stay out of reprs, plans and the store."""
    ds = opened(folder, storage_options={"auto_mkdir": True, "secret": "hunter2"}).pipe(Brightness()).compute()
    assert "hunter2" not in repr(ds) + repr(ds.metadata) + repr(ds.__dict__)
    written = [path.read_bytes() for path in (folder.parent / "work").rglob("*") if path.is_file()]
    assert not any(b"hunter2" in data for data in written)


def test_a_temporary_store_goes_at_exit(folder: Path) -> None:
    """``workdir=None`` leaves nothing behind."""
    import subprocess
    import sys

    code = (
        "import imagecurate as ic\n"
        f"ds = ic.read_webdataset({str(folder)!r}, workdir=None)\n"
        "assert len(ds) == 8\n"
        "print(ds._work.store.root)\n"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.strip()
    assert not Path(output.strip()).exists()


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
