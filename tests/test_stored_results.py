"""What is in the store is not computed again, and nothing else is taken for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from making import picture, write_folder, write_shard, write_tar
from opening import opened
from toys import RANK_CALLS, Brightness, Corner, Rank, Twice

import imagecurate as ic
from imagecurate.store import PART_ROWS


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
