"""The dataset as people use it: open, look, filter, add stages, account for every sample."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from making import legacy_nemo_shard, picture, samples, write_folder, write_shard, write_tar
from toys import RANK_CALLS, Brightness, Corner, Picky, Rank, Twice

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
from imagecurate.store import PART_ROWS


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


def test_a_stage_that_fails_every_row_of_a_block_is_an_error(tmp_path: Path) -> None:
    """Then the stage is at fault, not the data; a few rows are data."""
    many = write_folder(tmp_path / "many", shards=1, samples_per_shard=PART_ROWS)
    for late in (True, False):
        with pytest.raises(StageError, match=rf"Picky\(limit=-1.0.*failed each of {PART_ROWS} rows: .*too bright"):
            opened(many).pipe(Picky(limit=-1.0, late=late)).compute()
    few = write_folder(tmp_path / "few", shards=1, samples_per_shard=2)
    found = statuses(ic.read_webdataset(str(few), workdir=None).pipe(Picky(limit=-1.0, late=True)))
    assert set(found.values()) == {("failed", "Picky")}


def test_what_a_row_holds_does_not_depend_on_what_was_asked(folder: Path) -> None:
    """A stage that fails a row stops no other stage, whatever columns are asked for and whatever is stored."""
    counts = set()
    for first in ("everything", "length", "other plan"):
        ds = ic.read_webdataset(str(folder), workdir=None)
        if first == "other plan":
            ds.pipe(Brightness()).compute()
        plan = ds.pipe(Picky(), Brightness()).filter("brightness >= 0")
        if first == "length":
            counts.add(len(plan.metadata))
        counts.add(len(plan.metadata.compute()))
    assert counts == {8}


def test_a_later_decode_that_fails_is_a_failure(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A picture that was decoded once and is not this time fails with its reason; nothing is made of a black one."""
    from imagecurate.images import Decoded, Decoder, ImageInfo

    opened(folder).filter("image_width > 3").compute()
    monkeypatch.setattr(Decoder, "decode", lambda self, data: Decoded(None, ImageInfo(error="decoder crashed")))
    found = statuses(opened(folder).filter("image_width > 3").pipe(Corner()))
    assert set(found.values()) == {("failed", "decoder crashed")}


def test_out_of_memory_is_nobodys_fault(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends the run and is not kept as a failure of the samples."""

    def fail(self: Brightness, pixels: object) -> float:
        raise MemoryError("no room")

    with monkeypatch.context() as patch, pytest.raises(MemoryError, match="no room"):
        patch.setattr(Brightness, "prepare", fail)
        opened(folder).pipe(Brightness()).compute()
    assert opened(folder).pipe(Brightness()).counts().left.iloc[-1] == 8


def test_vectors_that_came_with_the_data_may_be_broken(tmp_path: Path) -> None:
    """A vector of another length or with a hole fails its row alone; null stays null."""
    vectors = pa.array([[1.0, 2.0], [1.0], None, [1.0, None], [3.0, 4.0]], pa.list_(pa.float32()))
    table = pa.table({"key": [f"{n:09d}" for n in range(5)], "emb": vectors})
    write_shard(tmp_path / "data" / "0.tar", samples(5), table)

    class Total(ic.ColumnStage):
        def adds(self) -> dict[str, pa.DataType]:
            return {"total": pa.float64()}

        def reads(self) -> tuple[str, ...]:
            return ("emb",)

        def process(self, columns: Any) -> dict[str, Any]:
            return {"total": columns["emb"].sum(axis=1)}

    ds = opened(tmp_path / "data").pipe(Total())
    assert ds.metadata.total.compute().fillna(-1).tolist() == [3.0, -1, -1, -1, 7.0]
    assert [status for status, _ in statuses(ds).values()] == ["kept", "failed", "kept", "failed", "kept"]


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


def test_masks_that_empty_a_shard(folder: Path) -> None:
    """A shard without survivors, a filter that empties one in front of a mask, a mask on a mask, an empty tar."""
    write_tar(folder / "00002.tar", [])
    ds = opened(folder)
    only_first = ds[ds.metadata.key < "000000003"]
    assert only_first.metadata.key.compute().tolist() == ["000000000", "000000001", "000000002"]
    assert only_first.counts().left.iloc[-1] == 3
    assert len(only_first[only_first.metadata.width > 1000].metadata) == 0
    nothing = ds.filter("width < 0")
    nothing = nothing[nothing.metadata.width > 0]
    assert nothing.metadata.compute().empty
    assert nothing.head(3).empty
    assert (nothing.ledger().compute().status == "dropped").all()


def test_masks_whose_rows_were_moved_are_refused(folder: Path) -> None:
    """Rows are told by partition and index: what changes these would select other samples."""
    ds = opened(folder)
    width = ds.metadata.width
    for moved in (
        ds.metadata.partitions[[1, 0]].width,
        ds.metadata.reset_index(drop=True).width,
        ds.metadata.sort_values("width").width,
        ds.metadata.repartition(npartitions=1).width,
        ds.metadata.set_index("key").width,
        dd.concat([width, width]),
        width.persist(),
    ):
        with pytest.raises(MaskError, match="not built from this dataset"):
            ds[moved > 50]
    assert len(ds[(width > 50) & (ds.metadata.key.isin(["000000003"]) | ~width.isna())].metadata) == 6


def test_masks_survive_a_move(folder: Path, tmp_path: Path) -> None:
    """The rows of a mask are found again where only the place of the data has changed."""

    def masked(path: Path) -> ic.ImageTextPairDataset:
        ds = ic.read_webdataset(str(path), workdir=tmp_path / "work")
        return ds[ds.metadata.width > ds.metadata.width.mean()]

    first = masked(folder).counts()
    before = sorted((tmp_path / "work").rglob("*.npy"))
    folder.rename(tmp_path / "elsewhere")
    assert masked(tmp_path / "elsewhere").counts().equals(first)
    assert sorted((tmp_path / "work").rglob("*.npy")) == before


def test_datasets_of_equal_looks_are_kept_apart(tmp_path: Path) -> None:
    """Two folders whose shards have equal names and sizes, and two stores for the same folder."""
    for name in ("one", "two"):
        write_tar(tmp_path / name / "0.tar", [("a.jpg", picture(1)), ("a.txt", name.encode())])
    left, right = (
        ic.read_webdataset(str(tmp_path / name), workdir=tmp_path / f"work-{name}", shard_identity="size")
        for name in ("one", "two")
    )
    frames = [left.metadata, right.metadata]
    assert [frame.caption.compute().tolist() for frame in frames] == [["one"], ["two"]]
    again = ic.read_webdataset(str(tmp_path / "one"), workdir=tmp_path / "other", shard_identity="size")
    assert again.metadata.caption.compute().tolist() == ["one"]
    assert (tmp_path / "other").exists()


def test_masks_that_do_not_belong_are_refused(folder: Path, tmp_path: Path) -> None:
    """A mask of other shards, a persisted one, a frame, a string, numbers: each is told apart."""
    ds = opened(folder)
    other = ic.read_webdataset(str(write_folder(tmp_path / "other", 2, 4)), workdir=None)
    with pytest.raises(MaskError, match="not built from this dataset"):
        ds[other.metadata.width > 50]
    with pytest.raises(MaskError, match="not built from this dataset"):
        ds[dd.from_pandas(pd.Series([True] * 8), npartitions=2)]
    with pytest.raises(MaskError, match="an expression or a mask"):
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


def test_dataset_stage_runs_once_over_all_shards(folder: Path, decodes: list[int]) -> None:
    """It runs when it is called, only for survivors, and the second call finds its result."""
    ds = opened(folder).pipe(Brightness()).filter("width >= 56")
    ranked = ds.pipe(Rank())
    assert len(decodes) == 8
    frame = ranked.metadata.compute()
    assert frame["rank"].tolist() == frame.brightness.rank().astype(int).sub(1).tolist()
    runs = len(RANK_CALLS)
    ds.pipe(Rank())
    assert len(RANK_CALLS) == runs
    ds.filter("brightness > 100").pipe(Rank())
    assert len(RANK_CALLS) == runs + 1
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


def test_a_long_shard_resumes_with_few_open_files(tmp_path: Path) -> None:
    """Parts are read and closed: a process may have far fewer open files than a long shard has parts."""
    import resource

    folder = write_folder(tmp_path / "data", shards=1, samples_per_shard=30 * PART_ROWS)
    ds = opened(folder).pipe(Brightness(), Corner(), Twice())
    ds.head(30 * PART_ROWS - 1)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (60 + len(list(Path("/dev/fd").iterdir())), hard))
    try:
        assert ds.compute().last_run.decoded == 1  # type: ignore[union-attr]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_broken_off_run_ends_with_the_blocks_in_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error in one shard does not wait for all blocks of the others."""
    folder = write_folder(tmp_path / "data", shards=2, samples_per_shard=20 * PART_ROWS)
    (folder / "00000.tar").write_bytes((folder / "00000.tar").read_bytes()[:20480])
    seen: list[int] = []

    class Broken(Brightness):
        def prepare(self, pixels: Any) -> float:
            seen.append(1)
            if len(seen) == 3:
                raise MemoryError("no room")
            return 1.0

    with pytest.raises(MemoryError):
        opened(folder).pipe(Broken()).compute()
    assert len(seen) < 10 * PART_ROWS


def test_stages_of_columns_are_counted_and_do_not_follow_the_parquet(folder: Path) -> None:
    """``last_run`` counts them; a score of an embedding is not computed again when the parquet beside a tar changes."""
    ds = opened(folder).pipe(Brightness())
    ds.compute()
    scored = ds.pipe(Twice()).compute()
    assert scored.last_run is not None
    assert scored.last_run.computed == {"Twice": 8}
    assert scored.last_run.samples == 8
    (folder / "00000.parquet").touch()
    again = opened(folder).pipe(Brightness(), Twice()).compute()
    assert again.last_run is not None
    assert again.last_run.computed == {}


def test_a_dataset_is_true_and_pickles(folder: Path) -> None:
    """``if ds:`` asks no shard; a dataset can be sent to another process."""
    import pickle

    ds = opened(folder).pipe(Brightness()).filter("brightness > 100")
    assert ds
    copy = pickle.loads(pickle.dumps(ds))
    pd.testing.assert_frame_equal(copy.metadata.compute(), ds.metadata.compute())
