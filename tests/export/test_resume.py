"""Exports that are killed, repeated, or meet something else in their folder."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import fsspec
import pytest
from making import write_folder, write_tar
from tar_survivors import TarSurvivors, tree

from imagecurate.errors import OutputError
from imagecurate.export import folder_local, to_webdataset
from imagecurate.export.folder import OutputFile
from imagecurate.export.folder_at import folder_at

#: Exports again and again in children of its own, which are killed: before the rename of the given number where that is
#: odd, after it where it is even, and once after a while.  (A fork, because imports take longer than the exports.)
PROGRAM = """
import itertools, os, pathlib, signal, sys, time
from tar_survivors import TarSurvivors
from imagecurate.export import folder_local, to_webdataset

folder, out, renames, replace = *map(pathlib.Path, sys.argv[1:3]), itertools.count(1), pathlib.Path.replace
grouped = sys.argv[3] == "True"

def deadly_at(number):
    def counted(self, target):
        rename = next(renames)
        if rename == number and number % 2:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(self, target)
        if rename == number:
            os.kill(os.getpid(), signal.SIGKILL)
    return counted

for number in map(int, sys.argv[4:]):
    child = os.fork()
    if not child:
        pathlib.Path.replace = deadly_at(number)
        to_webdataset(TarSurvivors.of(folder, grouped=grouped), out, samples_per_shard=3, threads=2)
        os._exit(0)
    if not number:
        time.sleep(0.03)
        os.kill(child, signal.SIGKILL)
    print(os.waitpid(child, 0)[1], flush=True)
"""


@pytest.mark.parametrize("grouped", [False, True])
def test_killed_again_and_again(tmp_path: Path, grouped: bool) -> None:
    """Killed at various renames and at any time, the export ends as if nothing had happened."""
    for number in range(6):
        keys = range(6 * number, 6 * number + 6)
        fields = [(f"{key}.{field}", f"{key}".encode()) for key in keys for field in ("0.jpg", "txt", "1.jpg")]
        write_tar(tmp_path / f"in/{number:05d}.tar", fields)
    survivors = TarSurvivors.of(tmp_path / "in", grouped=grouped)
    to_webdataset(survivors, tmp_path / "expected", samples_per_shard=3)
    here, numbers = Path(__file__).parent, ("1", "2", "3", "8", "15", "22", "0")
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, tmp_path / "in", tmp_path / "out", str(grouped), *numbers],
        env=os.environ | {"PYTHONPATH": f"{here}{os.pathsep}{here.parent}"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert ended.stdout.split()[:6] == [str(int(signal.SIGKILL))] * 6
    summary = to_webdataset(survivors, tmp_path / "out", samples_per_shard=3)
    assert tree(tmp_path / "out") == tree(tmp_path / "expected")
    assert 0 < summary.skipped <= 12


def test_a_complete_export_is_left_alone(tmp_path: Path) -> None:
    """The same call again reads no sample and writes nothing."""
    write_folder(tmp_path / "in")
    first = to_webdataset(TarSurvivors.of(tmp_path / "in"), tmp_path / "out")
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    survivors = TarSurvivors.of(tmp_path / "in")
    again = to_webdataset(survivors, tmp_path / "out")
    assert not survivors.asked and (again.samples, again.bytes, again.skipped) == (first.samples, first.bytes, 1)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")} == times


def test_a_missing_file_is_written_again(tmp_path: Path) -> None:
    """A complete export that lost a file is made whole."""
    write_folder(tmp_path / "in")
    to_webdataset(TarSurvivors.of(tmp_path / "in"), tmp_path / "out", samples_per_shard=3)
    before = tree(tmp_path / "out")
    (tmp_path / "out/00001.tar").unlink()
    to_webdataset(TarSurvivors.of(tmp_path / "in"), tmp_path / "out", samples_per_shard=3)
    assert tree(tmp_path / "out") == before


def test_another_export_lies_there(tmp_path: Path) -> None:
    """Other samples or other parameters do not go into the folder of a complete export."""
    write_folder(tmp_path / "in")
    to_webdataset(TarSurvivors.of(tmp_path / "in"), tmp_path / "out")
    before = tree(tmp_path / "out")
    with pytest.raises(OutputError, match="holds the export of other samples or with other parameters"):
        to_webdataset(TarSurvivors.of(tmp_path / "in"), tmp_path / "out", samples_per_shard=3)
    with pytest.raises(OutputError, match="Hint: export to another folder, or remove this one"):
        to_webdataset(TarSurvivors.of(tmp_path / "in", keep=lambda *names: names[-1][-1] == "1"), tmp_path / "out")
    assert tree(tmp_path / "out") == before


def test_an_unfinished_export_lies_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an error left behind is gone on with, but only by the same export."""
    write_folder(tmp_path / "in")
    full = OSError(errno.ENOSPC, "No space left on device")
    with monkeypatch.context() as patch:
        patch.setattr(OutputFile, "write", failing_after(3, full))
        with pytest.raises(OutputError, match=r"no room is left where .* lies"):
            to_webdataset(TarSurvivors.of(tmp_path / "in"), tmp_path / "out", samples_per_shard=3, threads=1)
    with pytest.raises(OutputError, match="holds an unfinished export of other samples or with other parameters"):
        to_webdataset(TarSurvivors.of(tmp_path / "in"), tmp_path / "out", samples_per_shard=4)
    to_webdataset(TarSurvivors.of(tmp_path / "in"), tmp_path / "out", samples_per_shard=3)
    to_webdataset(TarSurvivors.of(tmp_path / "in"), tmp_path / "expected", samples_per_shard=3)
    assert tree(tmp_path / "out") == tree(tmp_path / "expected")


def failing_after(count: int, error: OSError) -> object:
    """A write that works ``count`` times."""
    calls, write = [], OutputFile.write

    def failing(self: OutputFile, data: object) -> int:
        calls.append(1)
        if len(calls) > count:
            raise error
        return write(self, data)

    return failing


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EOPNOTSUPP])
def test_room_is_reserved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """A full disk says so before a shard is begun; a file system that cannot reserve room does without."""

    def refuse(*arguments: int) -> int:
        ctypes.set_errno(code)
        return -1

    monkeypatch.setattr(folder_local, "_fallocate", refuse)
    write_folder(tmp_path / "in")
    if code == errno.ENOSPC:
        with pytest.raises(OutputError, match="no room is left where"):
            to_webdataset(TarSurvivors.of(tmp_path / "in"), tmp_path / "out")
        assert not (tmp_path / "out/00000.tar").exists()
    else:
        assert to_webdataset(TarSurvivors.of(tmp_path / "in"), tmp_path / "out").shards == 1


@pytest.mark.parametrize("name", ["00000.tar", "old.parquet", "manifest.json", "ledger/00000.parquet", "7.idx"])
def test_foreign_files(tmp_path: Path, name: str) -> None:
    """A folder with files that look like an export is refused, and stays as it is."""
    write_folder(tmp_path / "in")
    foreign = tmp_path / "out" / name
    foreign.parent.mkdir(parents=True)
    foreign.write_text("precious")
    with pytest.raises(OutputError, match=f"holds files that this export did not write: {name}"):
        to_webdataset(TarSurvivors.of(tmp_path / "in"), tmp_path / "out")
    assert tree(tmp_path / "out") == {name: b"precious"}


def test_files_of_other_kinds_may_lie_there(tmp_path: Path) -> None:
    """A report or notes beside the shards do no harm."""
    write_folder(tmp_path / "in")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/report.html").write_text("report")
    to_webdataset(TarSurvivors.of(tmp_path / "in"), tmp_path / "out")
    assert (tmp_path / "out/report.html").read_text() == "report"


def test_two_exports_at_once(tmp_path: Path) -> None:
    """Whoever comes second is told, and the first goes on."""
    write_folder(tmp_path / "in")
    first = folder_at(tmp_path / "out")
    assert first.claim() is False
    with pytest.raises(OutputError, match="another process is exporting to"):
        to_webdataset(TarSurvivors.of(tmp_path / "in"), tmp_path / "out")
    first.release(keep=False)
    to_webdataset(TarSurvivors.of(tmp_path / "in"), tmp_path / "out")


def test_a_path_that_is_a_file(tmp_path: Path) -> None:
    """The reason is the operating system's."""
    write_folder(tmp_path / "in")
    (tmp_path / "out").write_text("a file")
    with pytest.raises(OutputError, match=r"cannot write to '.*out': (Not a directory|File exists)"):
        to_webdataset(TarSurvivors.of(tmp_path / "in"), tmp_path / "out")


def test_durable_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked to, the export has every file on the disk before it appears."""
    write_folder(tmp_path / "in", shards=1)
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    to_webdataset(TarSurvivors.of(tmp_path / "in"), tmp_path / "out", durable=True)
    assert len(synced) >= 6


def test_an_export_behind_a_url(tmp_path: Path) -> None:
    """The same files, the same refusals, and the same resumption, in any file system of fsspec."""
    write_folder(tmp_path / "in")
    to_webdataset(TarSurvivors.of(tmp_path / "in"), tmp_path / "out", samples_per_shard=3)
    url = "memory://export-test/out"
    summary = to_webdataset(TarSurvivors.of(tmp_path / "in"), url, samples_per_shard=3)
    memory = fsspec.filesystem("memory")
    found = {path.removeprefix("/export-test/out/"): memory.cat(path) for path in memory.find("/export-test/out")}
    del found["timings.json"]
    assert found == tree(tmp_path / "out") and summary.path == url
    assert to_webdataset(TarSurvivors.of(tmp_path / "in"), url, samples_per_shard=3).skipped == 3
    with pytest.raises(OutputError, match="holds the export of other samples"):
        to_webdataset(TarSurvivors.of(tmp_path / "in"), url, samples_per_shard=4)
    memory.rm("/export-test", recursive=True)
