"""Where a dataset's store lies."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from making import write_folder
from toys import Brightness

import imagecurate as ic
from imagecurate.errors import ParameterError
from imagecurate.workdir import named_folder, open_store


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder literally named ``~`` was meant by nobody; one that is no user's home is left alone."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    assert named_folder("~/w") == named_folder(Path("~/w")) == tmp_path / "home/w"
    assert named_folder("~nobody-of-that-name/w") == tmp_path / "~nobody-of-that-name/w"
    assert named_folder("w") == named_folder(f"file://{tmp_path}/w") == tmp_path / "w"
    write_folder("data", shards=1)
    ic.read_webdataset("data", workdir="~/w").compute(progress=False)
    assert (tmp_path / "home/w/store").is_dir()
    assert not (tmp_path / "~").exists()


def test_a_workdir_behind_a_url(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A URL makes no folder ``memory:``; what needs a file system lies in the cache."""
    monkeypatch.setenv("IMAGECURATE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    store = open_store("memory://w/", "data")
    assert str(store.root) == "memory://w/store"
    assert store.local.is_relative_to(tmp_path / "cache/stores")
    ds = ic.read_webdataset(folder, workdir="memory://w").pipe(Brightness())
    expected = ic.read_webdataset(folder, workdir=None).pipe(Brightness()).metadata.compute()
    for _ in range(2):
        ds.compute(progress=False)
        pd.testing.assert_frame_equal(ds.metadata.compute(), expected)
    masked = ds[ds.metadata["brightness"] > 100]
    assert masked.counts()["left"].iloc[-1] == (expected["brightness"] > 100).sum()
    assert not list((tmp_path / "here").iterdir())


@pytest.mark.parametrize(
    ("workdir", "message"), [("", "must be a folder, but is ''"), ("nope://w", "'nope://w' cannot be opened: ")]
)
def test_a_workdir_that_cannot_be(workdir: str, message: str) -> None:
    """It is told before anything is computed."""
    with pytest.raises(ParameterError, match=message):
        open_store(workdir, "data")


def test_the_cache_knows_the_same_shards_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever way they are named; other shards have another folder."""
    monkeypatch.setenv("IMAGECURATE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)

    def root(path: object) -> Path:
        return Path(open_store("auto", path).root)

    assert root("data") == root(Path("data")) == root(tmp_path / "data") == root(f"file://{tmp_path}/data")
    assert root(["data"]) == root(("data",)) == root(iter(["data"]))
    assert root({"a": "data"}) == root({"a": tmp_path / "data"})
    assert len({root("data"), root("other"), root(["data"]), root({"a": "data"}), root("s3://data")}) == 5
    assert root("data").is_relative_to(tmp_path / "cache/stores")
