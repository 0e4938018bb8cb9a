"""The same dataset on a real Dask cluster on loopback."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from distributed import Client, LocalCluster
from making import write_folder
from toys import Brightness, Corner, Twice

import imagecurate as ic


def curated(folder: Path, workdir: Path) -> ic.ImageTextPairDataset:
    """Filters of both kinds around stages."""
    ds = (
        ic.read_webdataset(str(folder), workdir=workdir).pipe(Brightness(), Twice()).filter("twice > 200", name="light")
    )
    return ds[ds.metadata.width > 48].pipe(Corner())


def results(ds: ic.ImageTextPairDataset, out: Path) -> tuple[list[pd.DataFrame], dict[str, bytes]]:
    """Frames of a dataset, and the files of its export."""
    ds.compute()
    ds.to_webdataset(out, samples_per_shard=4)
    files = {path.name: path.read_bytes() for path in out.rglob("*") if path.is_file() and path.name != "timings.json"}
    return [ds.metadata.compute(), ds.ledger().compute(), ds.counts()], files


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
