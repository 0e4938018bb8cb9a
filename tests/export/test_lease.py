"""Exports to one folder behind a URL keep each other out, the living those that live."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path

import fsspec
import pytest
from making import write_folder
from tar_survivors import TarSurvivors

from imagecurate.errors import OutputError
from imagecurate.export import lease, to_webdataset
from imagecurate.export.folder_at import folder_at
from imagecurate.plan.claims import Owner

#: Of each test its own.
URL = "memory://{}/out"


@pytest.fixture
def url(tmp_path: Path) -> str:
    return URL.format(tmp_path.name)


def claimed(url: str, owner: Owner, *, beat: float, shared: bool = False, name: str = "other.json") -> None:
    """Put the claim of somebody else there."""
    claim = asdict(owner) | {"machine": "node7", "shared": shared, "beat": beat}
    with fsspec.open(f"{url}/.export/claims/{name}", "wb") as file:
        file.write(json.dumps(claim).encode())


def claims(url: str) -> list[str]:
    """Names of all claims that lie there."""
    files, path = fsspec.core.url_to_fs(url)
    return sorted(each.rpartition("/")[2] for each in files.glob(f"{path}/.export/claims/*.json"))


def test_the_second_export_is_refused(tmp_path: Path, url: str) -> None:
    """While the first one lives; the error says where, and nothing is left of the second."""
    write_folder(tmp_path / "in")
    first = folder_at(url)
    first.claim()
    there = claims(url)
    with pytest.raises(OutputError, match=f"another process is exporting to {url!r}: [0-9]+ on {platform.node()}"):
        to_webdataset(TarSurvivors.of(tmp_path / "in"), url)
    assert claims(url) == there and len(there) == 1
    first.release(keep=False)
    assert to_webdataset(TarSurvivors.of(tmp_path / "in"), url).samples
    assert not claims(url)


def test_a_dead_owner_of_this_machine(url: str, tmp_path: Path) -> None:
    """Is known at once, whatever its claim says; its claim goes."""
    write_folder(tmp_path / "in")
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    claimed(url, replace(Owner.me(), pid=int(ended.stdout)), beat=time.time())
    to_webdataset(TarSurvivors.of(tmp_path / "in"), url)
    assert not claims(url)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Claims are renewed, looked at and given up in no time."""
    for name, seconds in (("BEAT_S", 0.05), ("_LOOK_S", 0.02), ("STALE_S", 0.6)):
        monkeypatch.setattr(lease, name, seconds)


ELSEWHERE = replace(Owner.me(), host="node7 0 1")


@pytest.mark.parametrize("clock_s", [-3600, 0, 60])
def test_an_owner_elsewhere_that_died(url: str, quick: None, clock_s: float, caplog: pytest.LogCaptureFixture) -> None:
    """Its claim is not renewed while it is watched, so it goes, whatever its clock said."""
    claimed(url, ELSEWHERE, beat=time.time() - clock_s)
    folder = folder_at(url)
    folder.claim()
    assert "is claimed by process" in caplog.text and "on node7, which is watched for 0.6 s" in caplog.text
    assert len(claims(url)) == 1 and "other.json" not in claims(url)
    folder.release(keep=False)


def test_an_owner_elsewhere_that_died_long_ago(url: str) -> None:
    """Nobody waits for it."""
    claimed(url, ELSEWHERE, beat=time.time() - 7200)
    folder = folder_at(url)
    folder.claim()
    assert "other.json" not in claims(url)
    folder.release(keep=False)


def test_an_owner_elsewhere_that_lives(url: str, quick: None) -> None:
    """It renews its claim, though its clock is an hour late, and keeps it."""
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(0.1):
            claimed(url, ELSEWHERE, beat=time.time() - 600)

    claimed(url, ELSEWHERE, beat=time.time() - 600)
    other = threading.Thread(target=renew)
    other.start()
    try:
        with pytest.raises(OutputError, match=r"on node7\n\nHint: wait for it, or name another folder"):
            folder_at(url).claim()
    finally:
        ended.set()
        other.join()
    assert claims(url) == ["other.json"]


def test_an_owner_elsewhere_that_ends(url: str, quick: None) -> None:
    """While it is watched it gives its claim back, and the next has it."""
    claimed(url, ELSEWHERE, beat=time.time())
    files, path = fsspec.core.url_to_fs(url)
    threading.Timer(0.1, files.rm, [f"{path}/.export/claims/other.json"]).start()
    folder = folder_at(url)
    folder.claim()
    assert len(claims(url)) == 1
    folder.release(keep=False)
    assert not claims(url)


@pytest.mark.parametrize(("mine", "theirs"), [(True, True), (True, False), (False, True)])
def test_those_that_share(url: str, mine: bool, theirs: bool) -> None:
    """Ranks let each other in, and nobody else."""
    claimed(url, Owner.me(), beat=time.time(), shared=theirs)
    folder = folder_at(url)
    if mine and theirs:
        folder.claim(shared=mine)
        folder.release(keep=True)
    else:
        with pytest.raises(OutputError, match="another process is exporting to"):
            folder.claim(shared=mine)


def test_a_claim_that_is_being_written(url: str) -> None:
    """Whoever writes it looks after that, and sees the one that is there."""
    with fsspec.open(f"{url}/.export/claims/half.json", "wb") as file:
        file.write(b'{"host": "nod')
    folder = folder_at(url)
    folder.claim()
    assert len(claims(url)) == 2 and "half.json" in claims(url)  # its writer finds ours
    folder.release(keep=False)


def test_a_claim_is_renewed(url: str, quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as it is held, and no longer; what fails meanwhile is told, and does not end the export."""
    beats, written = [], threading.Event()
    write = lease.Lease._write

    def counted(self: lease.Lease) -> None:
        beats.append(len(beats))
        if len(beats) == 2:
            raise OSError("gone for a moment")
        write(self)
        if len(beats) > 3:
            written.set()

    monkeypatch.setattr(lease.Lease, "_write", counted)
    folder = folder_at(url)
    folder.claim()
    assert written.wait(60)
    folder.release(keep=False)
    ended = len(beats)
    time.sleep(0.2)
    assert len(beats) == ended
    assert not claims(url)


def test_two_at_the_same_moment(url: str) -> None:
    """Of any number that come together at most one gets in."""
    together, got = threading.Barrier(6), []

    def come() -> None:
        folder = folder_at(url)
        together.wait()
        try:
            folder.claim()
        except OutputError:
            return
        got.append(folder)

    threads = [threading.Thread(target=come) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) <= 1
    for folder in got:
        folder.release(keep=False)
    last = folder_at(url)
    last.claim()
    last.release(keep=False)
