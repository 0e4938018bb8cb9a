"""A dataset shows the same rows, and keeps the same results, whatever library its frames are of."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from backends import BACKENDS, module, shown
from making import write_folder, write_tar
from toys import Brightness, Corner, Twice

import imagecurate as ic
from imagecurate.errors import MaskError, MissingDependencyError, ParameterError

pytestmark = pytest.mark.parametrize("backend", BACKENDS)


def opened(folder: Path, backend: str, work: str = "work") -> ic.ImageTextPairDataset:
    module(backend)
    return ic.read_webdataset(str(folder), workdir=folder.parent / work, backend=backend)  # type: ignore[arg-type]


def is_of(backend: str, frame: Any) -> bool:
    """True for a frame, or a series, of the library, plain or Dask's."""
    meta = getattr(frame, "_meta", frame)
    return type(meta).__module__.partition(".")[0] == backend


def test_frames_are_of_the_library(folder: Path, backend: str) -> None:
    """Metadata, ledger, head and sample; counts are a small table for people and stay pandas'."""
    ds = opened(folder, backend).pipe(Brightness(), Corner()).filter("width > 50", name="wide")
    for frame in (ds.metadata, ds.metadata.compute(), ds.ledger(), ds.ledger().compute(), ds.head(3), ds.sample(3)):
        assert is_of(backend, frame)
    assert is_of("pandas", ds.counts())


def test_rows_are_those_of_pandas(folder: Path, backend: str) -> None:
    """Values, nulls, order, column names, lengths and the ledger: all the same, vectors too."""
    chains = []
    for library, work in ((backend, "work"), ("pandas", "other")):
        ds = opened(folder, library, work).pipe(Brightness(), Corner()).filter("width > 50", name="wide")
        ds = ds.with_column("tall", "height > width").pipe(Twice())
        chains.append(ds)
    one, other = chains
    assert one.fingerprint == other.fingerprint
    assert shown(one.metadata.compute()) == shown(other.metadata.compute())
    assert one.metadata.compute().index.to_numpy().tolist() == other.metadata.compute().index.to_numpy().tolist()
    assert shown(one.ledger().compute()) == shown(other.ledger().compute())
    assert shown(one.head(3)) == shown(other.head(3))
    assert shown(one.head(100)) == shown(other.metadata.compute())
    assert shown(one.sample(4, seed=2)) == shown(other.sample(4, seed=2))
    assert one.counts().equals(other.counts())
    assert len(one.metadata) == len(other.metadata)
    for ds in chains:
        assert shown(ds.head(0)) == shown(ds.sample(0)) == {name: [] for name in ds.columns}


def test_dtypes_do_not_depend_on_rows(folder: Path, backend: str) -> None:
    """The meta that Dask goes by is what partitions have, empty ones among them."""
    write_tar(folder / "00002.tar", [])
    ds = opened(folder, backend).pipe(Brightness(), Corner())
    for frame in (ds.metadata, ds.ledger()):
        for number in range(3):
            part = frame.partitions[number].compute()
            assert [str(dtype) for dtype in part.dtypes] == [str(dtype) for dtype in frame._meta.dtypes]
        assert len(frame.compute()) == 8


def test_raw_masks(folder: Path, backend: str) -> None:
    """Any Dask mask, on any generation of the dataset, with reductions, nulls and strings; the ledger names it."""
    ds = opened(folder, backend).pipe(Brightness())
    old = ds.metadata["width"] >= 56
    masked = ds[ds.metadata.brightness > ds.metadata.brightness.mean()]
    twice = masked.filter(old, name="wide").filter("width < 80", name="narrow").pipe(Twice())
    plain = opened(folder, "pandas").pipe(Brightness()).metadata.compute()
    above = plain.brightness > plain.brightness.mean()
    expected = plain[above & (plain.width >= 56) & (plain.width < 80)]
    assert is_of(backend, twice.metadata)
    assert shown(twice.metadata[["key", "twice"]].compute()) == {
        "key": expected.key.tolist(),
        "twice": (2 * expected.brightness).tolist(),
    }
    assert len(twice.metadata) == len(expected)
    assert shown(twice.head(100))["key"] == expected.key.tolist()
    ledger = shown(twice.ledger().compute())
    found = dict(zip(ledger["key"], zip(ledger["status"], ledger["reason"], strict=True), strict=True))
    for row, is_above in zip(plain.itertuples(), above, strict=True):
        reason = "mask-1" if not is_above else "wide" if row.width < 56 else "narrow" if row.width >= 80 else None
        assert found[row.key] == (("kept", None) if reason is None else ("dropped", reason))


def test_more_masks(folder: Path, backend: str) -> None:
    """Conditions joined, strings, empty partitions, a mask upon a mask; one from elsewhere is refused."""
    write_tar(folder / "00002.tar", [])
    ds = opened(folder, backend)
    width = ds.metadata.width
    assert len(ds[(width > 50) & (ds.metadata.key.isin(["000000003"]) | ~width.isna())].metadata) == 6
    first = ds[ds.metadata.key < "000000003"]
    assert shown(first.metadata[["key"]].compute())["key"] == ["000000000", "000000001", "000000002"]
    assert first.counts().left.iloc[-1] == 3
    assert len(first[first.metadata.width > 1000].metadata) == 0
    nothing = ds.filter("width < 0")
    nothing = nothing[nothing.metadata.width > 0]
    assert len(nothing.metadata.compute()) == len(nothing.head(3)) == 0
    assert set(shown(nothing.ledger().compute())["status"]) == {"dropped"}
    with pytest.raises(MaskError, match="not built from this dataset"):
        ds[width.persist() > 50]


def test_masks_mean_the_same_to_both(folder: Path, backend: str) -> None:
    """A mask has one name, so what was computed behind it is found again with the other library."""

    def masked(library: str) -> ic.ImageTextPairDataset:
        ds = opened(folder, library).pipe(Brightness())
        ds = ds[ds.metadata.width > ds.metadata.width.mean()]
        return ds[ds.metadata.brightness > 0]

    assert masked(backend).fingerprint == masked("pandas").fingerprint
    masked(backend).counts()
    before = sorted((folder.parent / "work").rglob("*.npy"))
    masked("pandas").counts()
    assert sorted((folder.parent / "work").rglob("*.npy")) == before


CASES = [
    (lambda md: len(md), [()]),
    (lambda md: md.index.compute(), [()]),
    (lambda md: len(md[md.width > 50]), [("width",), ()]),
    (lambda md: md.brightness.mean().compute(), [("brightness",)]),
    (lambda md: md[md.width > 50][["key"]].compute(), [("key", "width")]),
    (lambda md: md.caption.str.contains("7").sum().compute(), [("caption",)]),
    (lambda md: md.groupby("width").brightness.max().compute(), [("brightness", "width")]),
    (lambda md: md.brightness.head(3), [("brightness",)]),
    (lambda md: md[["key", "caption"]].head(3), [("caption", "key")]),
]


@pytest.mark.parametrize("number", range(len(CASES)))
@pytest.mark.parametrize("masked", [False, True])
def test_only_needed_columns_are_asked_for(
    folder: Path, backend: str, asked: list[list[str]], number: int, masked: bool
) -> None:
    """No question about other columns reads an embedding."""
    ds = opened(folder, backend).pipe(Brightness(), Corner())
    question, expected = CASES[number]
    question((ds[ds.metadata.width > 0] if masked else ds).metadata)
    requests = {tuple(sorted(columns)) for columns in asked}
    assert requests <= set(expected) | ({("width",), ()} if masked else set())


def test_vectors_of_a_frame_are_a_matrix(folder: Path, backend: str) -> None:
    """An embedding column becomes a matrix on the library's device, and a selection of rows its rows."""
    frames = module(backend)
    ds = opened(folder, backend).pipe(Corner())
    corner = ds.metadata["corner"].compute()
    values, valid = frames.vectors(corner)
    assert values.shape == (8, 3)
    assert bool(valid.all())
    wide = ds[ds.metadata.width > 50].metadata["corner"].compute()
    assert frames.vectors(wide)[0].shape == (6, 3)


def test_concatenated_datasets_are_of_one_library(tmp_path: Path, backend: str) -> None:
    """The whole is of the library of its parts, which are all of one."""
    parts = [opened(write_folder(tmp_path / name, 1, 2), backend) for name in ("one", "two")]
    whole = ic.concat({"one": parts[0], "two": parts[1]}, workdir=tmp_path / "work")
    assert is_of(backend, whole.metadata)
    assert len(whole.metadata.compute()) == 4
    if backend != "pandas":
        with pytest.raises(ParameterError, match="need one backend, but have cudf, pandas"):
            ic.concat({"one": parts[0], "two": opened(tmp_path / "two", "pandas")})


@pytest.fixture
def cluster(backend: str) -> Iterator[None]:
    """A client with one worker a GPU, or, of pandas, one worker."""
    from distributed import Client, LocalCluster

    if backend == "cudf":
        from dask_cuda import LocalCUDACluster

        started = LocalCUDACluster(rmm_async=True, enable_cudf_spill=True, dashboard_address=":0")
    else:
        started = LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0")
    with started, Client(started):
        yield


@pytest.mark.usefixtures("cluster")
def test_on_a_cluster(folder: Path, backend: str) -> None:
    """``"auto"`` is cuDF on a cluster of GPUs; workers compute, show and keep the same as threads do."""
    ds = ic.read_webdataset(str(folder), workdir=folder.parent / "work").pipe(Corner()).filter("width > 50")
    assert is_of(backend, ds.metadata)
    expected = opened(folder, "pandas", "other").pipe(Corner()).filter("width > 50").metadata.compute()
    ds.compute()
    assert shown(ds.metadata.compute()) == shown(expected)
    assert len(ds.metadata) == 6
    masked = ds[ds.metadata.width > ds.metadata.width.mean()]
    assert shown(masked.head(2))["key"] == expected[expected.width > expected.width.mean()].key.tolist()[:2]
    assert masked.counts().left.iloc[-1] == len(masked.metadata) == 2


def test_what_is_missing_is_said(folder: Path, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without cuDF the message has the command that installs it."""
    import sys

    monkeypatch.delitem(sys.modules, "imagecurate.backend.gpu", raising=False)
    monkeypatch.delattr("imagecurate.backend.gpu", raising=False)
    monkeypatch.setitem(sys.modules, "cudf", None)
    with pytest.raises(MissingDependencyError, match=r"needs cuDF.*\n\nHint: pip install 'imagecurate\[cuda13\]'"):
        ic.read_webdataset(str(folder), backend="cudf")
