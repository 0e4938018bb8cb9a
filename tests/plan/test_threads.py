"""How many processors a process may use, and what its threads do one after the other."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from making import write_folder
from opening import opened

import imagecurate as ic
from imagecurate.plan import execute, runs
from imagecurate.plan.threads import computing, cores, reading_in_turn
from imagecurate.remote import is_on_own_disk
from imagecurate.tables import IdList

#: Seconds that are never waited where all is well.
LONG = 30
#: Two shards meet here: none goes on before the other is there, too.
MEETING = threading.Barrier(2)


@pytest.mark.parametrize(("given", "most"), [("1", 1), ("4096", 4096), ("", 4096), ("all", 4096), ("0", 4096)])
def test_a_task_of_slurm_has_its_processors(monkeypatch: pytest.MonkeyPatch, given: str, most: int) -> None:
    """Also where it is not bound to them; never more than there are."""
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    here = cores()
    assert 1 <= here <= (os.cpu_count() or 1)
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", given)
    assert cores() == min(here, most)


@contextmanager
def another_inside() -> Iterator[threading.Event]:
    """Give an event that says that another thread got in; wait for its end."""
    inside = threading.Event()

    def enter() -> None:
        with reading_in_turn():
            inside.set()

    thread = threading.Thread(target=enter)
    thread.start()
    yield inside
    thread.join(LONG)
    assert not thread.is_alive()


def test_one_thread_reads_at_a_time() -> None:
    """Another one gets in when the first leaves, when it computes, and when it fails."""
    with reading_in_turn(), another_inside() as inside:
        assert not inside.wait(0.1)
        computing()
        assert inside.wait(LONG)
    with pytest.raises(KeyError), reading_in_turn():
        raise KeyError
    with another_inside() as inside:
        assert inside.wait(LONG)


def test_who_reads_within_reading_does_not_wait_for_itself() -> None:
    """Nor does anybody who comes after."""
    with reading_in_turn(), reading_in_turn():
        pass
    with another_inside() as inside:
        assert inside.wait(LONG)


def test_a_fork_has_a_turn_of_its_own() -> None:
    """The child of a thread that is inside, too."""
    with reading_in_turn():
        child = os.fork()
        if not child:
            computing()
            with reading_in_turn():
                os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        with another_inside() as inside:
            assert not inside.wait(0.1)
            computing()


class MeetingColumns(ic.ColumnStage):
    """Waits for another shard."""

    def adds(self) -> dict[str, pa.DataType]:
        return {"met": pa.int64()}

    def reads(self) -> tuple[str, ...]:
        return ("caption",)

    def process(self, columns: Mapping[str, Any]) -> dict[str, Any]:
        MEETING.wait(LONG)
        return {"met": np.ones(len(columns["caption"]))}


class MeetingPictures(ic.ImageStage):
    """Waits for another shard."""

    def adds(self) -> dict[str, pa.DataType]:
        return {"seen": pa.int64()}

    def process(self, batch: Any) -> dict[str, Any]:
        MEETING.wait(LONG)
        return {"seen": np.ones(len(batch))}


@pytest.mark.parametrize("stage", [MeetingColumns, MeetingPictures])
def test_shards_are_computed_side_by_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: type) -> None:
    """Only what is read is read in turn; then all of it is in the store, and read."""
    monkeypatch.setattr(execute, "cores", lambda: 2)
    monkeypatch.setattr("imagecurate.plan.shard_pass.cores", lambda: 2)
    assert is_on_own_disk(tmp_path)
    turns = []

    @contextmanager
    def counted() -> Iterator[None]:
        with reading_in_turn():
            turns.append(threading.current_thread().name)
            yield

    monkeypatch.setattr(runs, "reading_in_turn", counted)
    write_folder(tmp_path / "in", shards=4)
    for _ in range(2):
        counts = opened(tmp_path / "in").pipe(stage()).filter("key != ''", name="all").counts()
        assert counts.left.iloc[-1] == 16
    assert len(turns) == 8


def test_a_list_that_is_made_ready_holds_nobody_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is looked up beside other shards, every time, for a list is not kept in the store."""
    monkeypatch.setattr(execute, "cores", lambda: 2)
    contains = IdList.contains

    def met(self: IdList, *given: Any) -> Any:
        MEETING.wait(LONG)
        return contains(self, *given)

    monkeypatch.setattr(IdList, "contains", met)
    write_folder(tmp_path / "in", shards=2)
    ds = opened(tmp_path / "in").exclude(["000000001"], on="key", name="known")
    assert ds.counts().left.iloc[-1] == 7
