"""Ranks that share work out through a folder, and claims of the living and the dead."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from distributed import Client, LocalCluster
from making import write_folder
from opening import opened
from toys import Brightness

import imagecurate as ic
from imagecurate.errors import ParameterError
from imagecurate.plan.claims import STALE_S, Claims, Owner
from imagecurate.plan.ranks import fill, turn, working_as, working_rank


@pytest.fixture
def dead() -> Owner:
    """A process of this machine that has ended."""
    process = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    return replace(Owner.me(), pid=int(process.stdout))


def claimed_by(folder: Path, owner: Owner, *, age_s: float = 0) -> None:
    """Write a claim of "x" that was last touched so long ago."""
    path = folder / "x.claim"
    path.write_text(json.dumps(asdict(owner) | {"deaths": 0}))
    os.utime(path, (path.stat().st_atime, path.stat().st_mtime - age_s))


def test_a_claim_excludes_and_is_given_back(tmp_path: Path) -> None:
    """Also against other threads of the same process."""
    claims = Claims(tmp_path)
    assert claims.take("x") == 0
    assert claims.take("x") is None and claims.is_taken("x")
    claims.release("x")
    assert not claims.is_taken("x")
    assert claims.take("x") == 0
    claims.release("x")


def test_a_dead_owner(tmp_path: Path, dead: Owner) -> None:
    """Here the process table tells at once; how many died one after the other is counted."""
    claims = Claims(tmp_path)
    claimed_by(tmp_path, dead)
    assert not claims.is_taken("x")
    assert claims.take("x") == 1
    claims.release("x")
    claimed_by(tmp_path, replace(Owner.me(), started=Owner.me().started - 3600))  # its number was given again
    assert claims.take("x") == 1
    claims.release("x")


@pytest.mark.parametrize("written", [True, False])
def test_an_owner_elsewhere(tmp_path: Path, written: bool) -> None:
    """On another machine it lives as long as it touches the claim; so does one that has not written who it is."""
    claims = Claims(tmp_path)
    owner = replace(Owner.me(), host="elsewhere")
    for age_s, deaths in ((0, None), (STALE_S + 5, 1)):
        claimed_by(tmp_path, owner, age_s=age_s)
        if not written:
            (tmp_path / "x.claim").write_text("")
            os.utime(tmp_path / "x.claim", (0, (tmp_path / "x.claim").stat().st_mtime - age_s))
        assert claims.take("x") == deaths
    claims.release("x")


def test_ranks_take_turns(tmp_path: Path) -> None:
    """One is inside at a time; outside of working_as a turn costs nothing."""
    inside, most = [0], [0]

    def work() -> None:
        with turn(tmp_path, "x"):
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            inside[0] -= 1

    with working_as(0, 2):
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert most == [1]
    assert not (tmp_path / "claims/turns/x.claim").exists()
    with turn(tmp_path / "nowhere", "x"):
        assert not (tmp_path / "nowhere").exists()


def test_what_is_done_is_not_done_again(tmp_path: Path) -> None:
    """The rank that comes second computes nothing, and has the same counts."""
    write_folder(tmp_path / "data", shards=3)
    counts = []
    for rank in (0, 1):
        with working_as(rank, 2):
            ds = opened(tmp_path / "data").pipe(Brightness())
            counts.append(ds.counts().to_dict())
            assert ds.last_run is not None and ds.last_run.decoded == 0  # the pass that counts finds all in the store
    assert counts[0] == counts[1]
    assert working_rank() is None


def test_a_rank_counts_what_it_did(tmp_path: Path) -> None:
    """Of the work that is shared out, too, which the pass that counts finds done."""
    write_folder(tmp_path / "data", shards=3)
    found = []
    for number in (0, 1):
        with working_as(number, 2) as rank:
            opened(tmp_path / "data").pipe(Brightness()).compute()
            found.append((rank.stats.decoded, rank.stats.computed.get("Brightness", 0)))
    assert found == [(12, 12), (0, 0)]


class Task:
    """Needs a name and a folder, and keeps what it did."""

    def __init__(self, claims: Path, meanwhile: Callable[[], None] = lambda: None) -> None:
        self.claims = claims
        self.did: list[str] = []
        self._meanwhile = meanwhile

    def claimed_as(self, item: str) -> str:
        return item

    def in_pieces(self, item: str) -> None:
        raise AssertionError(item)

    def __call__(self, item: str) -> None:
        self.did.append(item)
        if item == "c":
            self._meanwhile()


@pytest.mark.parametrize("folder_goes", [False, True])
def test_logs_that_are_removed_meanwhile(tmp_path: Path, folder_goes: bool) -> None:
    """As a store is put in order: what was done may be gone, so a rank at work looks at everything again."""
    gone = []

    def put_in_order() -> None:
        if not gone:
            gone.append(True)
            shutil.rmtree(tmp_path / "claims")
            if not folder_goes:
                (tmp_path / "claims").mkdir()

    task = Task(tmp_path / "claims", put_in_order)
    with working_as(0, 1):
        fill(task, list("abcd"), map)
        assert task.did == list("abcdab")
        again = Task(tmp_path / "claims")
        fill(again, list("abcd"), map)
    assert not again.did


@pytest.mark.parametrize(
    ("rank", "world", "told"),
    [
        (3, 3, "rank must be less than world, but is 3 of 3"),
        (-1, 2, "rank must be a whole number of at least 0"),
        (0, 0, "world must be"),
    ],
)
def test_ranks_that_are_none(rank: int, world: int, told: str) -> None:
    """Told before anything is done."""
    with pytest.raises(ParameterError, match=told), working_as(rank, world):
        pass


def test_ranks_need_no_scheduler(folder: Path) -> None:
    """A client and ranks at once would do the work twice."""
    with (
        LocalCluster(n_workers=1, processes=False, dashboard_address="127.0.0.1:0", host="tcp://127.0.0.1") as cluster,
        Client(cluster),
        working_as(0, 1),
        pytest.raises(ParameterError, match="a Dask client is connected"),
    ):
        opened(folder).pipe(Brightness()).compute()


def test_ranks_need_a_folder(folder: Path) -> None:
    """An object store has no locks."""
    ds = ic.read_webdataset(str(folder), workdir="memory://work").pipe(Brightness())
    with working_as(0, 1), pytest.raises(ParameterError, match="an object store cannot lock"):
        ds.compute()
