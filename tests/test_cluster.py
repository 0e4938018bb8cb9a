"""The same dataset on a real Dask cluster on loopback."""

from __future__ import annotations

from pathlib import Path

import fsspec
import pandas as pd
import pytest
from distributed import Client, LocalCluster
from making import write_folder
from toys import Brightness, Corner, Twice

import imagecurate as ic
from imagecurate.export.shard_writer import ShardWriter


def curated(folder: Path, workdir: Path) -> ic.ImageTextPairDataset:
    """Filters of both kinds around stages."""
    ds = (
        ic.read_webdataset(str(folder), workdir=workdir).pipe(Brightness(), Twice()).filter("twice > 200", name="light")
    )
    return ds[ds.metadata.width > 48].pipe(Corner())


def tree(folder: Path) -> dict[str, bytes]:
    """All files of an output but the timings, by name."""
    return {
        path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != "timings.json"
    }


def results(ds: ic.ImageTextPairDataset, out: Path) -> tuple[list[pd.DataFrame], dict[str, bytes]]:
    """Frames of a dataset, and the files of its export."""
    ds.compute()
    ds.to_webdataset(out, samples_per_shard=4)
    return [ds.metadata.compute(), ds.ledger().compute(), ds.counts()], tree(out)


def test_cluster_and_threads_agree(tmp_path: Path) -> None:
    """Frames, ledger, counts and exported bytes are those of a run without a cluster."""
    folder = write_folder(tmp_path / "data", shards=5, samples_per_shard=6)
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0", host="127.0.0.1") as cluster,
        Client(cluster),
    ):
        frames, files = results(curated(folder, tmp_path / "work-cluster"), tmp_path / "out-cluster")
    expected_frames, expected_files = results(curated(folder, tmp_path / "work-threads"), tmp_path / "out-threads")
    for found, expected in zip(frames, expected_frames, strict=True):
        pd.testing.assert_frame_equal(found, expected)
    assert files == expected_files
    assert len(frames[0]) > 4


def test_deduplication_on_a_cluster(tmp_path: Path) -> None:
    """Three levels find on workers what they find in threads."""
    folder = write_folder(tmp_path / "data", shards=3, samples_per_shard=6)
    write_folder(folder / "again", shards=1, samples_per_shard=4)

    def ledger(workdir: Path) -> pd.DataFrame:
        paths = {"first": [str(path) for path in sorted(folder.glob("*.tar"))], "again": str(folder / "again")}
        ds = ic.read_webdataset(paths, workdir=workdir).pipe(ic.ThumbnailEmbedder())
        return ds.pipe(ic.Deduplicate(min_similarity=0.99)).ledger().compute()

    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0", host="127.0.0.1") as cluster,
        Client(cluster),
    ):
        found = ledger(tmp_path / "work-cluster")
    pd.testing.assert_frame_equal(found, ledger(tmp_path / "work-threads"))
    assert (found.reason == "exact duplicates").sum() == 4


def test_workers_write_the_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a cluster the client writes no shard, and no file of metadata; the bytes are those of a run without one."""
    folder = write_folder(tmp_path / "data", shards=5, samples_per_shard=6)
    out = tmp_path / "out-threads"
    curated(folder, tmp_path / "work").to_webdataset(out, samples_per_shard=4)
    curated(folder, tmp_path / "work").save_metadata(tmp_path / "metadata-threads")

    def refuse(*given: object) -> None:
        raise AssertionError("the client writes")

    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0", host="127.0.0.1") as cluster,
        Client(cluster),
        monkeypatch.context() as patch,
    ):
        patch.setattr(ShardWriter, "_write", refuse)
        patch.setattr("imagecurate.export.metadata._rows_marked", refuse)
        curated(folder, tmp_path / "work").to_webdataset(tmp_path / "out", samples_per_shard=4)
        curated(folder, tmp_path / "work").save_metadata(tmp_path / "metadata")
    assert tree(tmp_path / "out") == tree(out)
    assert tree(tmp_path / "metadata") == tree(tmp_path / "metadata-threads")


def test_workers_that_do_not_see_the_output(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Then the client writes by itself, and says so: here to its own memory."""
    folder = write_folder(tmp_path / "data", shards=3, samples_per_shard=6)
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0", host="127.0.0.1") as cluster,
        Client(cluster),
    ):
        summary = curated(folder, tmp_path / "work").to_webdataset("memory://unseen/out", samples_per_shard=4)
    assert "2 of 2 workers, " in caplog.text and "do not see 'memory://unseen/out'" in caplog.text
    files = fsspec.filesystem("memory")
    assert len(files.glob("/unseen/out/*.tar")) == summary.shards > 1
