"""Raw Dask masks: which are taken, what they keep, and what the ledger says of them."""

from __future__ import annotations

from pathlib import Path

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from making import write_folder, write_tar
from opening import opened, statuses
from toys import Brightness, Twice

import imagecurate as ic
from imagecurate.errors import (
    MaskError,
    ParameterError,
)


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


def test_masks_that_do_not_belong_are_refused(folder: Path, tmp_path: Path) -> None:
    """A mask of other shards, a persisted one, a frame, a string, numbers: each is told apart."""
    ds = opened(folder)
    other = ic.read_webdataset(str(write_folder(tmp_path / "other", 2, 4)), workdir=None)
    with pytest.raises(MaskError, match="not built from this dataset"):
        ds[other.metadata.width > 50]
    with pytest.raises(MaskError, match="not built from this dataset"):
        ds[(ds.metadata.width > 50) & (other.metadata.width > 50)]
    with pytest.raises(MaskError, match="not built from this dataset"):
        ds[dd.from_pandas(pd.Series([True] * 8), npartitions=2)]
    with pytest.raises(MaskError, match="an expression or a mask"):
        ds[ds.metadata.width.compute() > 50]
    with pytest.raises(MaskError, match="must be boolean"):
        ds[ds.metadata.width]
    with pytest.raises(ParameterError, match="indexed by a mask"):
        ds["width"]


def test_masks_upon_masks_stay_small(folder: Path) -> None:
    """Thirty masks, each over what the one before left: their cost adds up and does not multiply."""
    ds = opened(folder)
    for limit in range(30):
        ds = ds[ds.metadata.width > limit]
    assert ds.counts().left.iloc[-1] == 8
