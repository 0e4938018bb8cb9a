"""``imagecurate status``: how far a run is, told from its files alone."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest
from making import samples, write_folder, write_shard
from typer.testing import CliRunner, Result

from imagecurate import Pipeline
from imagecurate.cli import app
from imagecurate.errors import OutputError
from imagecurate.pipeline.record import PlanRecord, records_in
from imagecurate.pipeline.status import Status, status_of

TEXT = "input: data\noutput: out\nworkdir: work\nstages:\n  - ThumbnailEmbedder\n  - Filter: {expr: width >= 50}\n"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: three shards of four samples, one of which is no picture, and a pipeline."""
    write_folder(tmp_path / "data", shards=2)
    write_shard(tmp_path / "data" / "00002.tar", [*samples(3, first=8), ("x", {"jpg": b"<html>"})])
    (tmp_path / "curate.yaml").write_text(TEXT)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def begun() -> PlanRecord:
    """The record of a run that has begun and done nothing."""
    pipeline = Pipeline.from_yaml("curate.yaml")
    return PlanRecord.begin(pipeline.rehearse().planned(), pipeline.output, "curate.yaml")


def test_a_run_that_is_through(folder: Path) -> None:
    """Shards, images and failures are counted, from footers; the text says the same."""
    assert run("run", "curate.yaml", "-q").exit_code == 0
    done = run("status", "work", "--json")
    assert done.exit_code == 0, done.stderr
    (found,) = json.loads(done.stdout)["runs"]
    assert (found["state"], found["shards"], found["done"]) == ("finished", 3, 3)
    assert (found["images"], found["failed"], found["left_s"]) == (12, 1, 0.0)
    assert [stage["name"] for stage in found["stages"]] == ["decode", "ThumbnailEmbedder"]
    assert found["record"]["pipeline"] == "curate.yaml"
    text = run("status", "work").stdout
    assert "curate.yaml: finished, begun " in text
    assert "shards    3 of 3 done\n" in text
    assert "images    12 looked at, 1 failed\n" in text


def test_a_run_that_has_just_begun(folder: Path) -> None:
    """Nothing is known yet, and nothing is made up."""
    found = status_of(begun())
    assert (found.state, found.done, found.images) == ("running", 0, 0)
    assert (found.images_per_s, found.left_s) == (None, None)
    assert "shards    0 of 3 done" in run("status", "work").stdout


def test_a_run_at_work(folder: Path) -> None:
    """Rate and time left follow from the times of files; a shard with parts is in work, and slow if it is so long."""
    record = begun()
    dataset = Pipeline.from_yaml("curate.yaml").dataset()
    dataset.compute(progress=False)
    now = time.time()
    columns = Path("work/store/columns")
    for path in columns.rglob("00002*.parquet"):  # as if of this shard one part were there
        path.rename(path.with_name(path.name.replace(".parquet", ".part-00000.parquet")))
    for path in Path("work/store").rglob("*"):
        age = 400 if path.suffix == ".arrow" else 100
        os.utime(path, (now - age, now - age))
    record = replace(record, started="2020-01-01T00:00:00+00:00")
    found = status_of(record, now)
    assert isinstance(found, Status)
    assert (found.state, found.done) == ("running", 2)
    assert found.images_per_s == pytest.approx((8 + 64) / 600)
    assert found.stages[0].about
    assert (found.slowest[0].shard, found.slowest[0].done) == ("default/00002", False)
    assert found.slowest[0].seconds == pytest.approx(400, abs=1)
    quiet = status_of(record, now + 1000)
    assert (quiet.state, quiet.last_write) == ("not running", pytest.approx(now - 100))


def test_how_a_run_ended(folder: Path) -> None:
    """Stopped or failed, as it says itself; where files are newer than that, others go on with it."""
    assert run("run", "curate.yaml", "-q", "--stop-after", "0s").exit_code == 75
    assert "curate.yaml: stopped, begun " in run("status", "work").stdout
    assert run("run", "curate.yaml", "-q", "--strict").exit_code == 3
    assert "curate.yaml: failed, begun " in run("status", "work").stdout
    (record,) = records_in(Path("work/store"))
    (first, *_) = Path("work/store/columns").rglob("*.parquet")
    later = time.time() + 60
    os.utime(first, (later, later))
    assert status_of(record, later).state == "running"
    assert run("run", "curate.yaml", "-q").exit_code == 0


def test_what_is_damaged_or_going(folder: Path) -> None:
    """A file cut off by a power loss counts no rows; one that is being written is not looked at."""
    assert run("run", "curate.yaml", "-q").exit_code == 0
    (record,) = records_in(Path("work/store").absolute())
    first, *_ = sorted(Path("work/store/columns").rglob("default/00000*.parquet"))
    first.with_name(f".{first.name}.abc.tmp").write_bytes(b"PAR1")
    first.write_bytes(b"PAR1")
    assert status_of(record).images in (8, 12)


def test_several_runs_in_one_folder(folder: Path) -> None:
    """The newest is shown, and that there are others."""
    assert run("run", "curate.yaml", "-q").exit_code == 0
    assert run("run", "curate.yaml", "-q", "--set", "stages.1.expr=width >= 60", "--set", "output=o2").exit_code == 0
    assert "1 older runs; --all shows them" in run("status", "work").stdout
    assert len(json.loads(run("status", "work", "--all", "--json").stdout)["runs"]) == 2


def test_mistakes(folder: Path) -> None:
    """A folder that is no workdir, or in which no pipeline ran; a record that somebody edited."""
    done = run("status", "nowhere")
    assert (done.exit_code, done.stderr.partition("\n")[0]) == (2, "imagecurate: there is no store in 'nowhere'")
    assert not Path("nowhere").exists()
    Path("empty/store").mkdir(parents=True)
    assert "no run of a pipeline was begun in 'empty'" in run("status", "empty").stderr
    begun()
    (path,) = Path("work/store/runs").glob("*.json")
    path.write_text("{}")
    with pytest.raises(OutputError, match="of a run cannot be read"):
        records_in(Path("work/store"))
