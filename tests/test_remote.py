"""The whole job on shards that lie in an object store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from making import write_folder
from s3 import BUCKET, Requests, upload
from toys import Brightness, Corner

import imagecurate as ic


def test_shards_in_an_object_store(
    tmp_path: Path, s3: tuple[Any, dict[str, Any], Requests], decodes: list[int]
) -> None:
    """Indexing and pixels come from one reading of each tar; export copies ranges; results are those of local data."""
    client, options, requests = s3
    folder = write_folder(tmp_path / "data", shards=3, samples_per_shard=4)
    upload(client, folder, "whole-job")

    def curated(path: str, **given: Any) -> ic.ImageTextPairDataset:
        ds = ic.read_webdataset(path, **given).pipe(Brightness())
        return ds.filter("brightness > 110 or width > 70", name="some").pipe(Corner())

    remote = curated(f"s3://{BUCKET}/whole-job", workdir=tmp_path / "work", storage_options=options)
    before = {number: len(requests.of("GET", f"/whole-job/{number:05d}.tar")) for number in range(3)}
    remote.compute()
    fetched = {number: len(requests.of("GET", f"/whole-job/{number:05d}.tar")) for number in range(3)}
    assert {number: fetched[number] - before[number] for number in range(3)} == {0: 1, 1: 1, 2: 1}
    assert len(decodes) == 12

    local = curated(str(folder), workdir=None)
    pd.testing.assert_frame_equal(remote.metadata.compute(), local.metadata.compute())
    remote.to_webdataset(tmp_path / "from-remote", samples_per_shard=3)
    local.to_webdataset(tmp_path / "from-local", samples_per_shard=3)
    names = sorted(path.name for path in (tmp_path / "from-local").glob("*.tar"))
    assert names
    for name in names:
        assert (tmp_path / "from-remote" / name).read_bytes() == (tmp_path / "from-local" / name).read_bytes()

    remote.to_webdataset(f"s3://{BUCKET}/out", samples_per_shard=3)
    again = ic.read_webdataset(f"s3://{BUCKET}/out", workdir=None, storage_options=options)
    assert len(again) == len(remote.metadata)
