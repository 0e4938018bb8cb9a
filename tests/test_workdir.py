"""Where a dataset's store lies."""

from __future__ import annotations

from pathlib import Path

import pytest
from making import write_folder

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


@pytest.mark.parametrize("workdir", ["s3://bucket/w", "memory://w", ""])
def test_a_workdir_is_on_a_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workdir: str) -> None:
    """A URL makes no folder ``s3:``; the message says what to do instead."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ParameterError, match=f"workdir must be a folder on a disk, but is '{workdir}'\n\nHint: name a"):
        open_store(workdir, "data")
    assert not list(tmp_path.iterdir())


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
