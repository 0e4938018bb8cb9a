"""The parts of the benchmark suite: turns, figures, tables, records.  No figure is asked for."""

from __future__ import annotations

import importlib
import io
import json
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.__main__ import BENCHMARKS
from benchmarks.harness import contest, inputs
from benchmarks.harness.contest import Contender, ContenderError, compete
from benchmarks.harness.figures import Case, Line, records, table
from benchmarks.profile import where

SCRIPT = """
from protocol import serve

def add(numbers, log):
    print("what a library prints is no answer")
    def run():
        with open(log, "a") as file:
            file.write(f"{sum(numbers)} ")
        return sum(numbers)
    return run

def fail(when):
    if when == "set-up":
        raise ValueError("no such\\nmodel")
    def run():
        if when == "end":
            raise SystemExit(3)
        raise RuntimeError("out of luck")
    return run

serve(add, fail, packages=["numpy", "no-such-package"])
"""


@pytest.fixture
def scripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of contenders with one script, ``toy``."""
    folder = tmp_path / "peers"
    folder.mkdir()
    (folder / "toy.py").write_text(SCRIPT)
    (folder / "protocol.py").write_bytes((contest.SCRIPTS / "protocol.py").read_bytes())
    monkeypatch.setattr(contest, "SCRIPTS", folder)
    monkeypatch.setattr(contest, "ENVIRONMENTS", tmp_path / "environments")
    return folder


def adding(name: str, number: int, log: Path, **options: bool) -> Contender:
    return Contender(name, "toy", "add", {"numbers": [number], "log": str(log)}, **options)


@pytest.mark.parametrize("fresh", [False, True])
def test_contenders_take_turns_and_another_one_begins_each_round(scripts: Path, tmp_path: Path, fresh: bool) -> None:
    """After a round to warm up, which does not count."""
    log = tmp_path / "log"
    found = compete([adding("one", 1, log, fresh=fresh), adding("two", 2, log)], 2)
    assert log.read_text() == "1 2 2 1 1 2 "
    assert [answer["count"] for answer in found["two"].rounds] == [2, 2]
    assert all(answer["seconds"] > 0 and answer["peak"] > 1e6 for answer in found["one"].rounds)
    assert set(found["one"].versions) == {"python", "numpy"}


@pytest.mark.parametrize(
    ("when", "reason"),
    [
        ("set-up", "ValueError: no such … model"),
        ("round", "RuntimeError: out of luck"),
        ("end", "ended with status 3: it said nothing"),
    ],
)
def test_a_peer_that_cannot_run_says_why_and_the_others_go_on(
    scripts: Path, tmp_path: Path, when: str, reason: str
) -> None:
    """Wherever it fails."""
    failing = Contender("failing", "toy", "fail", {"when": when})
    found = compete([failing, adding("one", 1, tmp_path / "log")], 2)
    assert (found["failing"].reason, found["failing"].rounds) == (reason, [])
    assert len(found["one"].rounds) == 2
    assert table([Case("toys", "adding", "s", [found["one"].line("one"), found["failing"].line("failing")])]).endswith(
        f"none: {reason}\n"
    )


def test_a_peer_that_is_not_installed_says_how_to_install_it(scripts: Path) -> None:
    """Rather than to be left out."""
    found = compete([Contender("absent", "toy", "add", {}, "absent-peer")], 1)
    assert found["absent"].reason == "absent-peer is not installed (make bench-env)"


def test_our_own_failure_is_no_result(scripts: Path) -> None:
    """It ends the benchmark."""
    with pytest.raises(ContenderError, match="out of luck"):
        compete([Contender("ours", "toy", "fail", {"when": "round"}, is_ours=True)], 1)


@pytest.mark.parametrize(
    ("meaning", "ratio", "is_reached"),
    [("more is better", 2.0, True), ("less is better", 0.5, False), ("share", 2.0, False)],
)
def test_ratios_of_medians_and_goals(meaning: str, ratio: float, is_reached: bool) -> None:
    """Of ours to the other, as the unit has it."""
    ours, theirs = Line("ours", [10, 1, 99]), Line("peer", [5, 4, 6], goal=1.5)
    case = Case("toys", "adding", "", [ours, theirs], meaning)
    assert (case.ratio(ours), case.ratio(theirs), case.is_reached(theirs)) == (None, ratio, is_reached)
    assert case.is_reached(ours) is None


def test_records_hold_all_that_a_table_shows() -> None:
    """And what all of them share."""
    lines = [Line("ours", [2.0]), Line("peer", reason="not here"), Line("decode", [4.0], goal=0.4, is_limit=True)]
    ours, peer, limit = records([Case("pixels", "JPEG", "images/s", lines)], {"machine": {"processors": 2}})
    assert (ours["median"], ours["spread"], ours["n"], ours["ratio"], ours["limit"]) == (2.0, [2.0, 2.0], 1, None, 4.0)
    assert (peer["median"], peer["spread"], peer["reason"]) == (None, None, "not here")
    assert (limit["ratio"], limit["goal"], limit["reached"], limit["machine"]["processors"]) == (0.5, 0.4, True, 2)
    json.dumps([ours, peer, limit])


def test_inputs_are_what_they_are_said_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Repeated photographs are different files of the same picture; others have their sizes and formats."""
    picture = Image.radial_gradient("L").convert("RGB").resize((50, 40))
    monkeypatch.setattr(inputs, "photographs", lambda: ({"jpg": inputs.encoded(picture), "txt": b"a circle"},) * 16)
    paths = inputs.write_shards(tmp_path / "shards", inputs.repeated(20), 16)
    with tarfile.open(paths[1]) as tar:
        assert tar.getnames() == [f"{key:09d}.{field}" for key in range(16, 20) for field in ("jpg", "txt")]
    files = inputs.files_of(paths, "jpg")
    assert len(set(files)) == 20
    assert len({Image.open(io.BytesIO(data)).convert("RGB").tobytes() for data in files}) == 1
    assert Image.open(io.BytesIO(next(inputs.large(1))["jpg"])).size == (4000, 3000)
    assert all(32 <= min(Image.open(io.BytesIO(each["jpg"])).size) <= 257 for each in inputs.small(8))
    assert Image.open(io.BytesIO(next(inputs.recoded(1, "webp"))["webp"])).format == "WEBP"


def test_a_profile_counts_the_innermost_function_of_ours() -> None:
    """Imports, and what is not ours, are left out."""
    folded = "\n".join(
        [
            "run (bench.py:1);decode (/x/imagecurate/images/decoder.py:90);f (numpy/core.py:3) 7",
            "run (bench.py:1);_load (<frozen importlib._bootstrap>:9);a (/x/imagecurate/columns.py:1) 5",
            "wait (threading.py:3) 4",
        ]
    )
    assert where(folded) == ({"imagecurate/images/decoder.py: decode": 7}, 7)


def test_every_benchmark_can_be_run_by_its_name() -> None:
    """Each is a module with a ``main``."""
    for name in BENCHMARKS:
        assert callable(importlib.import_module(f"benchmarks.{name}").main)
