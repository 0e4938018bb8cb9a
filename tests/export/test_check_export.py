"""What is refused before any sample is computed."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path

import fsspec
import pytest
from making import write_folder
from tar_survivors import TarSurvivors, tree

from imagecurate.errors import ColumnExistsError, OutputError, ParameterError
from imagecurate.export import check_export, save_metadata, to_webdataset
from imagecurate.export.folder import OutputFile
from imagecurate.export.folder_at import folder_at
from imagecurate.export.folder_remote import RemoteFolder


@pytest.fixture
def survivors(tmp_path: Path) -> TarSurvivors:
    """Two shards below a folder of folders."""
    write_folder(tmp_path / "tree/in")
    return TarSurvivors.of(tmp_path / "tree/in")


def test_nothing_is_asked_of_samples(tmp_path: Path, survivors: TarSurvivors) -> None:
    """A new folder and one with the same export, whole or begun, will do; nothing is left behind."""
    check_export(survivors, tmp_path / "new/out", samples_per_shard=3, durable=True, threads=1)
    assert not survivors.asked and not (tmp_path / "new").exists()
    to_webdataset(survivors, tmp_path / "out", samples_per_shard=3)
    before = tree(tmp_path / "out")
    check_export(survivors, tmp_path / "out", samples_per_shard=3)
    (tmp_path / "out/manifest.json").rename(tmp_path / "manifest.json")
    (tmp_path / "out/.export").mkdir()
    (tmp_path / "manifest.json").rename(tmp_path / "out/.export/plan.json")
    check_export(survivors, tmp_path / "out", samples_per_shard=3)
    to_webdataset(survivors, tmp_path / "out", samples_per_shard=3)
    assert tree(tmp_path / "out") == before


def test_folders_that_are_taken(tmp_path: Path, survivors: TarSurvivors) -> None:
    """By another export, by files of others, or by another process."""
    to_webdataset(survivors, tmp_path / "out")
    with pytest.raises(OutputError, match="holds the export of other samples or with other parameters"):
        check_export(survivors, tmp_path / "out", samples_per_shard=3)
    (tmp_path / "old").mkdir()
    (tmp_path / "old/7.tar").write_text("precious")
    with pytest.raises(OutputError, match=r"holds files that this export did not write: 7\.tar"):
        check_export(survivors, tmp_path / "old")
    assert tree(tmp_path / "old") == {"7.tar": b"precious"}
    other = folder_at(tmp_path / "held")
    other.claim()
    with pytest.raises(OutputError, match="another process is exporting to"):
        check_export(survivors, tmp_path / "held")
    other.release(keep=False)


def test_arguments(tmp_path: Path, survivors: TarSurvivors) -> None:
    """Each is named, and no folder is made."""
    for options, message in [
        ({"samples_per_shard": 0}, "samples_per_shard must be a whole number"),
        ({"threads": 0}, "threads must be a whole number"),
        ({"old_id_col": 5}, "old_id_col must be the name of a column, but is 5"),
        ({"old_id_col": ""}, "old_id_col must be the name of a column, but is ''"),
        ({"id_col": None}, "id_col must be the name of a column, but is None"),
    ]:
        with pytest.raises(ParameterError, match=message):
            check_export(survivors, tmp_path / "out", **options)  # type: ignore[arg-type]
    with pytest.raises(ColumnExistsError, match="old_id_col='caption' is a column"):
        check_export(survivors, tmp_path / "out", old_id_col="caption")
    for path in ("", 5, b"out", None):
        with pytest.raises(ParameterError, match="path must be a local path or a URL, but is"):
            check_export(survivors, path)  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


def test_the_input_lies_below(tmp_path: Path, survivors: TarSurvivors, monkeypatch: pytest.MonkeyPatch) -> None:
    """The input's folder and all above it are refused, for URLs too; one beside or in it is not."""
    monkeypatch.chdir(tmp_path)
    for path in (tmp_path / "tree/in", tmp_path / "tree", "tree/", "tree/in/..", ".", "/", f"file://{tmp_path}"):
        with pytest.raises(OutputError, match="the input lies there"):
            check_export(survivors, path)
    for path in ("tree/out", "tree/i", "tree/in/out"):
        check_export(survivors, path)
    survivors.shards[0] = replace(survivors.shards[0], url="memory://bucket/tree/in/00000.tar")
    for url in ("memory://bucket/tree/in/", "memory://bucket/tree", "memory://bucket"):
        with pytest.raises(OutputError, match="the input lies there"):
            check_export(survivors, url)
    check_export(survivors, "memory://bucket/tree/i")


def test_a_folder_that_cannot_be_looked_at(tmp_path: Path, survivors: TarSurvivors) -> None:
    """The reason is the operating system's; folders that could be made on the way there are gone again."""
    for path in (tmp_path / ("x" * 300), tmp_path / "new/folder" / ("x" * 300)):
        with pytest.raises(OutputError, match=r"cannot write to '.*': File name too long"):
            check_export(survivors, path)
    assert [path.name for path in tmp_path.iterdir()] == ["tree"]


@pytest.mark.parametrize("remote", [False, True])
def test_only_what_was_made_is_removed(tmp_path: Path, remote: bool) -> None:
    """A folder that was there stays, empty or not; one that a check or a failed export made goes."""
    survivors = TarSurvivors.of(write_folder(tmp_path / "in", shards=3))
    files = fsspec.filesystem("memory" if remote else "file")
    root = "memory://made" if remote else str(tmp_path / "made")
    files.makedirs(f"{root}/empty")
    files.makedirs(f"{root}/full")
    files.pipe_file(f"{root}/full/report.html", b"precious")
    for name in ("empty", "full", "new"):
        check_export(survivors, f"{root}/{name}")
        with pytest.raises(ParameterError, match="12 samples make 12 shards, more than 1 digits"):
            to_webdataset(survivors, f"{root}/{name}", samples_per_shard=1, shard_digits=1)
    found = {path.partition("/made/")[2] for path in files.find(root, withdirs=True)}
    assert found - {""} == {"empty", "full", "full/report.html"}
    files.rm(root, recursive=True)


def test_a_store_without_credentials(survivors: TarSurvivors, monkeypatch: pytest.MonkeyPatch) -> None:
    """Errors of the store's own kind are told as ours."""

    class NoCredentials(Exception):  # noqa: N818  # as botocore's, it is no OSError
        pass

    def refuse(self: RemoteFolder, path: str) -> None:
        raise NoCredentials("unable to locate credentials")

    monkeypatch.setattr(RemoteFolder, "_found", refuse)
    with pytest.raises(OutputError, match="cannot write to 'memory://no/out': unable to locate credentials"):
        check_export(survivors, "memory://no/out")


@pytest.mark.parametrize(
    ("code", "message"),
    [(errno.ENOSPC, "no room is left"), (errno.EDQUOT, "no room is left"), (errno.EROFS, "cannot write to .*: read")],
)
def test_a_disk_that_takes_no_more(
    tmp_path: Path, survivors: TarSurvivors, monkeypatch: pytest.MonkeyPatch, code: int, message: str
) -> None:
    """Exports and metadata say it in the same words."""

    def refuse(self: OutputFile, data: object) -> int:
        raise OSError(code, "read-only")

    monkeypatch.setattr(OutputFile, "write", refuse)
    for write in (to_webdataset, save_metadata):
        with pytest.raises(OutputError, match=message):
            write(survivors, tmp_path / write.__name__)
