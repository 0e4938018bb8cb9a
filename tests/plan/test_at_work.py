"""What a process notes of its work, and what becomes of a row that kills a process without a cluster."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from making import samples, write_shard
from opening import opened, statuses
from test_pieces import Deadly, data
from toys import Brightness

from imagecurate.plan import at_work
from imagecurate.plan.at_work import NOTES, at_work_on, crashes_first
from imagecurate.plan.claims import Owner
from imagecurate.store import PART_ROWS

ROWS = np.arange(PART_ROWS, 2 * PART_ROWS)

PROGRAM = """
import sys
from test_pieces import Deadly
import imagecurate as ic
ds = ic.read_webdataset(sys.argv[1], workdir=sys.argv[2]).pipe(Deadly())
ds.compute(progress=False)
print(ds.last_run.decoded)
"""


def run(folder: Path) -> subprocess.CompletedProcess[str]:
    """Compute in a process of its own, without a cluster."""
    here = Path(__file__).parent
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, folder / "data", folder / "work"],
        env=os.environ | {"PYTHONPATH": f"{here}{os.pathsep}{here.parent}"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_row_kills_two_processes_and_no_third(tmp_path: Path) -> None:
    """The third finds the row before all else; other rows, of that block too, are computed as ever."""
    data(tmp_path / "data", 3, 1)
    write_shard(tmp_path / "data" / "00001.tar", samples(2, first=3))
    for _ in range(2):
        assert run(tmp_path).returncode == -signal.SIGSEGV
    third = run(tmp_path)
    assert third.returncode == 0, third.stderr
    assert "2 processes died while at work on rows 0 to 2 of shard 00000" in third.stderr
    assert not list((tmp_path / "work/store" / NOTES).iterdir())
    ds = opened(tmp_path / "data").pipe(Deadly())
    found = statuses(ds)
    assert [status for status, _ in found.values()] == ["kept", "failed", "kept", "kept", "kept"]
    assert [reason for _, reason in found.values()][1] == "Deadly"


class Task:
    """Keeps what it is told to do in pieces."""

    def __init__(self, notes: Path) -> None:
        self.notes = notes
        self.done: list[tuple[str, int, int]] = []

    def noted_as(self, item: str) -> str:
        return item

    def in_pieces(self, item: str, rows: np.ndarray | None = None) -> None:
        assert rows is not None
        self.done.append((item, int(rows[0]), int(rows[-1])))


@pytest.fixture
def dead() -> Owner:
    """A process of this machine that has ended."""
    process = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    return replace(Owner.me(), pid=int(process.stdout))


def left(folder: Path, owner: Owner, *shards: str) -> Path:
    """The notes that a process of this owner left, at work on the second block of some shards."""
    (folder / "here").mkdir(parents=True, exist_ok=True)
    with at_work_on(folder / "here", "x", ROWS):
        (mine,) = (folder / "here").iterdir()
        note = next(line for line in mine.read_text().splitlines() if '"x"' in line)
    path = folder / f"{len(list(folder.iterdir()))}.json"
    path.write_text("\n".join([json.dumps(asdict(owner)), *(note.replace('"x"', f'"{name}"') for name in shards)]))
    return path


def test_one_death_proves_nothing(tmp_path: Path, dead: Owner) -> None:
    """Nor does a process that lives, or of which nothing can be told."""
    task = Task(tmp_path)
    paths = [
        left(tmp_path, dead, "a", "b"),
        left(tmp_path, Owner.me(), "a"),
        left(tmp_path, replace(dead, host="?"), "a"),
    ]
    with crashes_first(task, ["a", "b"]):
        assert not task.done
        assert all(path.exists() for path in paths)
    assert [path.exists() for path in paths] == [False, True, True]


def test_two_deaths_do(tmp_path: Path, dead: Owner) -> None:
    """What both died of is done first; notes about other shards stay for whoever has them."""
    task = Task(tmp_path)
    paths = [left(tmp_path, dead, "a", "b"), left(tmp_path, dead, "c", "a"), left(tmp_path, dead)]
    with crashes_first(task, ["a", "b"]):
        assert task.done == [("a", ROWS[0], ROWS[-1])]
    assert [path.exists() for path in paths] == [False, True, False]
    task.done.clear()
    with pytest.raises(KeyError), crashes_first(task, ["a", "b", "c"]):
        raise KeyError
    assert paths[1].exists()


def test_notes_end_with_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blank lines are left while the process lives; one whose end somebody waits for notes nothing."""
    with at_work_on(tmp_path / "a", "x", ROWS), at_work_on(tmp_path / "a", "y", ROWS):
        (path,) = (tmp_path / "a").iterdir()
        noted = [line.strip() for line in path.read_text().splitlines()[1:] if line.strip()]
        assert sorted(map(json.loads, noted)) == [["x", 64, 127], ["y", 64, 127]]
    assert not any(line.strip() for line in path.read_text().splitlines()[1:])
    monkeypatch.setattr(at_work, "_is_unnoted", True)
    with at_work_on(tmp_path / "b", "x", ROWS):
        assert not (tmp_path / "b").exists()


def test_a_run_leaves_no_notes(tmp_path: Path) -> None:
    """Of what failed by an error either: that is told where it happens."""

    class Wrong(Brightness):
        def process(self, batch: list[float]) -> dict[str, object]:
            return {"another": batch}

    ds = opened(data(tmp_path / "data", 2, 0))
    with pytest.raises(RuntimeError, match="must give the columns"):
        ds.pipe(Wrong()).compute()
    (path,) = (tmp_path / "work/store" / NOTES).iterdir()
    assert not any(line.strip() for line in path.read_text().splitlines()[1:])
