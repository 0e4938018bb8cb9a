"""What Dask asks of the reader: the one place that watches its private classes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from making import write_folder
from toys import Brightness, Corner

import imagecurate as ic


@pytest.fixture
def ds(tmp_path: Path) -> ic.ImageTextPairDataset:
    """Two shards with a score and an embedding."""
    return ic.read_webdataset(str(write_folder(tmp_path / "data")), workdir=tmp_path / "work").pipe(
        Brightness(), Corner()
    )


CASES: list[tuple[Callable[[Any], Any], set[tuple[str, ...]]]] = [
    (lambda md: len(md), {()}),
    (lambda md: md.shape[0].compute() if hasattr(md.shape[0], "compute") else md.shape[0], {()}),
    (lambda md: md.index.compute(), {()}),
    (lambda md: len(md[md.width > 50]), {("width",), ()}),
    (lambda md: md.brightness.mean().compute(), {("brightness",)}),
    (lambda md: md[md.width > 50][["key"]].compute(), {("key", "width")}),
    (lambda md: md.caption.str.contains("7").sum().compute(), {("caption",)}),
    (lambda md: md.groupby("width").brightness.max().compute(), {("width", "brightness")}),
    (lambda md: md.brightness.head(3), {("brightness",)}),
    (lambda md: md[["key", "caption"]].head(3), {("caption", "key")}),
    (lambda md: md.assign(b2=md.brightness * 2).b2.sum().compute(), {("brightness",)}),
]


@pytest.mark.parametrize("number", range(len(CASES)))
@pytest.mark.parametrize("masked", [False, True])
def test_only_needed_columns_are_asked_for(
    ds: ic.ImageTextPairDataset, asked: list[list[str]], number: int, masked: bool
) -> None:
    """Lengths, indexes, masks and reductions never read an embedding."""
    question, expected = CASES[number]
    frame = (ds[ds.metadata.width > 0] if masked else ds).metadata
    question(frame)
    requests = {tuple(sorted(columns)) for columns in asked}
    allowed = {tuple(sorted(columns)) for columns in expected} | ({("width",), ()} if masked else set())
    assert requests <= allowed, requests
    assert not any("corner" in columns for columns in asked)


def test_masks_on_masks_read_each_shard_once_a_side(ds: ic.ImageTextPairDataset, asked: list[list[str]]) -> None:
    """A chain of raw masks is one graph."""
    masked = ds[ds.metadata.width > 50]
    masked = masked[masked.metadata.width < 80]
    assert sorted(masked.metadata.width.compute()) == [56, 56, 64, 64, 72]
    assert all(columns in (["width"], []) for columns in asked)


def test_partitions_can_be_picked(ds: ic.ImageTextPairDataset) -> None:
    """Dask prunes partitions; rows know their shard."""
    masked = ds[ds.metadata.width > 50].metadata
    assert masked.partitions[1].shard.compute().unique().tolist() == ["00001"]
    assert ds.metadata.partitions[1].key.compute().tolist() == ["000000004", "000000005", "000000006", "000000007"]


def test_graphs_are_small(tmp_path: Path) -> None:
    """The repr of a frame names no shard, whatever their number."""
    many = ic.read_webdataset(str(write_folder(tmp_path / "data", shards=30, samples_per_shard=1)), workdir=None)
    assert "00017" not in repr(many.metadata) + str(many.metadata.expr)
