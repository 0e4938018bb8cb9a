"""Remote shards that nobody has read yet: what their parquets answer, and where the tar is asked."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from making import img2dataset_shard, samples, write_shard
from s3 import BUCKET, Requests, upload
from toys import Brightness

import imagecurate as ic


@pytest.fixture
def remote(s3: tuple[Any, dict[str, Any], Requests], tmp_path: Path) -> tuple[Any, Requests]:
    """Two shards of img2dataset behind S3: 8 URLs tried each, 2 and 1 of them failed; and the requests."""
    client, options, requests = s3
    for number, failed in enumerate(([1, 4], [7])):
        img2dataset_shard(tmp_path / "data", number, count=8, failed=failed)
    prefix = tmp_path.name
    upload(client, tmp_path / "data", prefix)

    def opened(name: str = "work") -> ic.ImageTextPairDataset:
        url = f"s3://{BUCKET}/{prefix}/*.tar"
        return ic.read_webdataset(url, workdir=tmp_path / name, storage_options=options, metadata="parquet")

    requests.lines.clear()
    return opened, requests


def tars_fetched(requests: Requests) -> int:
    return sum(".tar " in line and "GET" in line for line in requests.lines)


def test_counts_and_metadata_come_from_the_parquet(remote: tuple[Any, Requests]) -> None:
    """Length, waterfall, columns and filters before any tar is fetched; failed downloads are no samples."""
    opened, requests = remote
    ds = opened()
    assert len(ds) == 13
    assert ds.filter("original_width >= 128").counts().left.iloc[-1] == 13
    frame = ds.metadata[["key", "caption", "width"]].compute()
    assert len(frame) == 13
    assert frame.width.tolist() == [64] * 13
    assert ds.metadata[["key"]].head(3).key.str.startswith("00000").all()
    assert ds.metadata.width.mean().compute() == 64
    assert tars_fetched(requests) == 0
    exact = ds.metadata.compute()
    assert sorted(exact.key) == sorted(frame.key)
    assert tars_fetched(requests) > 0


def test_a_pass_reads_each_tar_once(remote: tuple[Any, Requests]) -> None:
    """The headers are indexed in the pass that decodes; what was counted before holds."""
    opened, requests = remote
    ds = opened().pipe(Brightness())
    assert len(ds) == 13
    assert tars_fetched(requests) == 0
    ds.compute()
    assert tars_fetched(requests) == 2
    assert len(ds) == 13
    assert ds.counts().left.iloc[-1] == 13


def test_masks_select_rows_of_the_tar(remote: tuple[Any, Requests]) -> None:
    """A mask speaks of positions in the tar, even where it could be answered by the parquet."""
    opened, _ = remote
    ds = opened()
    width = ds.metadata["caption"].str.endswith("3")
    chosen = ds[width]
    frame = chosen.metadata.compute()
    assert frame.caption.str.endswith("3").all()
    assert len(frame) == 2
    assert chosen.counts().left.iloc[-1] == 2


def test_rows_of_parquet_and_tar_never_meet(remote: tuple[Any, Requests]) -> None:
    """Aligned with rows that were read, those of a parquet are an error and not a wrong answer."""
    opened, _ = remote
    ds = opened()
    looked = ds.metadata.caption
    read = ds.pipe(Brightness()).metadata[["key", "brightness"]]
    with warnings.catch_warnings(), pytest.raises(pd.errors.IndexingError):
        warnings.simplefilter("ignore", UserWarning)  # pandas' own, in front of the error
        read[looked.str.endswith("3")].compute()


def test_keys_of_integer_ids_are_those_of_the_tar(s3: tuple[Any, dict[str, Any], Requests], tmp_path: Path) -> None:
    """7 may be 000000007 there; counts and other columns still come from the parquet."""
    client, options, requests = s3
    rows = [{"key": int(key), "score": number} for number, (key, _) in enumerate(samples(3, first=7))]
    write_shard(tmp_path / "data" / "00000.tar", samples(3, first=7), rows)
    upload(client, tmp_path / "data", "integers")
    url = f"s3://{BUCKET}/integers/*.tar"
    ds = ic.read_webdataset(url, workdir=tmp_path / "work", storage_options=options, metadata="parquet")
    requests.lines.clear()
    assert len(ds) == 3
    assert ds.metadata.score.compute().tolist() == [0, 1, 2]
    assert tars_fetched(requests) == 0
    assert ds.metadata.key.compute().tolist() == ["000000007", "000000008", "000000009"]
    assert tars_fetched(requests) > 0
    again = ic.read_webdataset(url, workdir=tmp_path / "new", storage_options=options, metadata="parquet")
    assert again.include(["000000008"], "key").metadata.score.compute().tolist() == [1]
