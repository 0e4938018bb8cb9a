"""The fixtures write what the tools themselves write, where the tools are here to be asked."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import webdataset
from making import (
    WEBDATASET,
    Sample,
    datacomp_pool,
    datacomp_subset,
    encoded,
    img2dataset_shard,
    picture,
    tar_bytes,
)


def test_tars_are_those_of_the_writer_that_img2dataset_uses() -> None:
    """Byte for byte: order of the fields, headers, padding."""
    sample: Sample = ("000010002", {"jpg": picture(), "json": '{\n    "a": 1\n}', "txt": "a dög"})
    stream = io.BytesIO()
    writer = webdataset.TarWriter(stream, mtime=WEBDATASET["mtime"])
    writer.write({"__key__": sample[0], **dict(reversed(sample[1].items()))})
    writer.close()
    members = [(f"{sample[0]}.{field}", encoded(value)) for field, value in sample[1].items()]
    assert tar_bytes(members, **WEBDATASET) == stream.getvalue()


def test_img2dataset_has_a_row_for_each_url_that_was_tried(tmp_path: Path) -> None:
    """Failed ones too, without members; the stats add up; the types are guessed or declared."""
    path = img2dataset_shard(tmp_path, 2, count=6, failed=[1, 4])
    rows = pq.read_table(path.with_suffix(".parquet")).to_pylist()
    with tarfile.open(path) as tar:
        assert tar.getnames()[:4] == ["000020002.jpg", "000020002.json", "000020002.txt", "000020005.jpg"]
        members = {name.partition(".")[0] for name in tar.getnames()}
    assert members == {row["key"] for row in rows if row["status"] == "success"}
    assert [row["sha256"] is None for row in rows] == [row["status"] != "success" for row in rows]
    stats = json.loads((tmp_path / "00002_stats.json").read_text())
    assert (stats["count"], stats["successes"], stats["failed_to_download"]) == (6, 4, 2)
    assert sum(stats["status_dict"].values()) == 6
    for declared, kind in ((False, "null"), (True, "string")):
        img2dataset_shard(tmp_path, 3, declared_types=declared)
        assert str(pq.read_schema(tmp_path / "00003.parquet").field("error_message").type) == kind


def test_datacomp_uids_are_128_bits_in_two_halves(tmp_path: Path) -> None:
    """As its resharder finds them: leading zeros are zeros, the high half comes first."""
    uids = datacomp_pool(tmp_path)["uid"].to_pylist()
    assert sorted(uid.startswith("000") for uid in uids)[-3:] == [False, True, True]
    subset = np.load(datacomp_subset(tmp_path / "subset.npy", uids))
    assert subset.dtype == np.dtype("u8,u8")
    assert [f"{high:016x}{low:016x}" for high, low in subset.tolist()] == sorted(uids)
