"""The command line: what it prints, what it leaves, how it ends."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from making import picture, samples, write_folder, write_shard, write_tar
from typer.testing import CliRunner, Result

from imagecurate import ImageTextPairDataset, Pipeline
from imagecurate.cli import app
from imagecurate.errors import OutputError

PIPELINE = """\
input: data
output: out
workdir: work
stages:
  - ThumbnailEmbedder
  - Filter: {expr: caption is not null, name: caption}
export: {samples_per_shard: 2}
"""


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with four samples: two fine, one without a caption, one that is no image."""
    members = [("a.jpg", picture(1)), ("a.txt", b"one"), ("b.jpg", picture(2)), ("c.jpg", b"<html>"), ("c.txt", b"two")]
    write_tar(tmp_path / "data" / "00000.tar", [*members, ("d.png", picture(3, format="PNG")), ("d.txt", b"three")])
    (tmp_path / "curate.yaml").write_text(PIPELINE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_run_tells_what_became_of_the_samples(folder: Path) -> None:
    """Kept, dropped by reason, failed by reason; the second run computes nothing and says so."""
    first = run("run", "curate.yaml")
    assert first.exit_code == 0, first.stderr
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in first.stdout.splitlines() if "│" in line]
    assert rows == [["kept", "", "2"], ["dropped", "caption", "1"], ["failed", "not an image", "1"]]
    assert "4 samples in" in first.stdout
    assert "decoded 4 images; computed" in first.stdout
    assert "wrote 2 samples in 1 shards to out" in first.stdout
    assert "1 of 1 shards" in first.stderr
    written = {path.name for path in (folder / "out").iterdir()}
    assert written >= {"00000.tar", "00000.parquet", "manifest.json", "run.json"}
    assert json.loads((folder / "out/run.json").read_text())["kept"] == 2
    second = run("run", "curate.yaml")
    assert second.exit_code == 0, second.stderr
    assert "decoded 0 images; computed nothing" in second.stdout


def test_a_filter_column_is_in_the_table(folder: Path) -> None:
    """With ``export: {filter_column: …}`` the run reports as without it."""
    step = "  - WithColumn: {name: short, expr: len(caption) < 4}\nexport: {filter_column: short}\n"
    (folder / "curate.yaml").write_text(PIPELINE.split("export")[0] + step)
    done = run("run", "curate.yaml")
    assert done.exit_code == 0, done.stderr
    assert re.search(r"dropped │ short +│ +1 ", done.stdout)
    assert "decoded 4 images" in done.stdout
    assert "wrote 1 samples" in done.stdout


def test_sources_are_told_apart(folder: Path) -> None:
    """Of several sources each has its yield."""
    write_folder(folder / "more", shards=1, samples_per_shard=4)
    (folder / "curate.yaml").write_text(PIPELINE.replace("input: data", "input: {few: data, more: more}"))
    result = run("run", "curate.yaml")
    assert "source few: 4 samples in, 2 kept, 50.0%\nsource more: 4 samples in, 4 kept, 100.0%\n" in result.stdout


def test_an_output_may_be_remote(folder: Path) -> None:
    """The table is printed from what was written there."""
    (folder / "curate.yaml").write_text(PIPELINE.replace("output: out", "output: memory://test-cli/out/"))
    done = run("run", "curate.yaml")
    assert done.exit_code == 0, done.stderr
    assert "wrote 2 samples in 1 shards to memory://test-cli/out/" in done.stdout


def test_quiet_is_quiet(folder: Path) -> None:
    """No progress, no table."""
    done = run("run", "curate.yaml", "--quiet")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("ThumbnailEmbedder", "Thumbnailembedder"), "5: unknown stage 'Thumbnailembedder'; did you mean 'Thumb"),
        (("samples_per_shard", "samplespershard"), "7: unknown key 'samplespershard'; did you mean 'samples_per_"),
        (("samples_per_shard: 2", "samples_per_shard: many"), "7: export.samples_per_shard should be "),
        (("name: caption", "nam: caption"), "6: Filter has no parameter 'nam'"),
        (("- ThumbnailEmbedder", "- ThumbnailEmbedder: {sise: 3}"), "5: ThumbnailEmbedder has no parameter 'sise'"),
        (("caption is not null", "captoin is not null"), "6: column 'captoin' not found"),
        (("stages:", "stages: ]"), "4: not well-formed YAML"),
        (("input: data", "input: nothing"), "1: no file or folder 'nothing'"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_sentence(folder: Path, change: tuple[str, str], message: str) -> None:
    """File, line, what was found, the near miss; no traceback; an exit code."""
    (folder / "curate.yaml").write_text(PIPELINE.replace(*change))
    done = run("run", "curate.yaml")
    assert done.exit_code == 2
    assert done.stderr.startswith(f"imagecurate: curate.yaml:{message}")
    assert isinstance(done.exception, SystemExit)
    assert not (folder / "out").exists()


def test_debug_shows_where_an_error_came_from(folder: Path) -> None:
    """The traceback, with what caused it, in front of the sentence; the exit code stays."""
    (folder / "curate.yaml").write_text(PIPELINE.replace("caption is", "captoin is"))
    done = run("run", "curate.yaml", "--debug")
    assert done.exit_code == 2
    assert done.stderr.count("Traceback (most recent call last)") == 2
    assert "imagecurate: curate.yaml:6: column 'captoin' not found" in done.stderr


def test_ctrl_c_is_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the exit code that shells expect of it."""

    def interrupted(self: Pipeline, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Pipeline, "run", interrupted)
    done = run("run", "curate.yaml")
    assert done.exit_code == 130
    assert done.stderr == "imagecurate: stopped; the same command goes on where it was\n"


def test_a_run_that_fails_is_no_mistake(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What fails once the work has begun ends with 3; an error that nobody foresaw shows its traceback, too.

    Not so one of the file system: it names the file.
    """
    denied = PermissionError(errno.EACCES, "Permission denied", "x/y")
    errors: list[Exception] = [OutputError("the disk is full"), denied, ZeroDivisionError("division by zero")]

    def failing(self: ImageTextPairDataset, *given: object, **options: object) -> None:
        raise errors[0]

    monkeypatch.setattr(ImageTextPairDataset, "to_webdataset", failing)
    done = run("run", "curate.yaml")
    assert (done.exit_code, done.stderr) == (3, "imagecurate: the disk is full\n")
    errors.pop(0)
    done = run("run", "curate.yaml")
    assert done.stderr == "imagecurate: 'x/y': Permission denied\n\nHint: --debug shows where this happened\n"
    assert done.exit_code == 3
    errors.pop(0)
    done = run("run", "curate.yaml")
    assert done.exit_code == 3
    assert "Traceback" in done.stderr
    assert done.stderr.endswith("imagecurate: ZeroDivisionError: division by zero\n")


def test_a_stop_says_so(folder: Path) -> None:
    """A run that was asked to stop ends with 75 and says how to go on; then it does."""
    done = run("run", "curate.yaml", "--stop-after", "0s")
    assert done.exit_code == 75
    assert re.match(r"imagecurate: stopped by .*\n\nHint: run the same again", done.stderr)
    assert run("run", "curate.yaml").exit_code == 0


def test_strict_stops_at_the_first_failure(folder: Path) -> None:
    """With the sample and its reason."""
    done = run("run", "curate.yaml", "--strict")
    assert done.exit_code == 3
    assert "imagecurate: sample default/00000#2 failed: not an image" in done.stderr
    assert run("run", "curate.yaml").exit_code == 0


def test_one_rank_does_it_all(folder: Path) -> None:
    """It says what it did; the bytes are those of a run without ranks."""
    done = run("run", "curate.yaml", "--rank", "0", "--world", "1")
    assert done.exit_code == 0, done.stderr
    assert "rank 0 of 1: decoded 4 images; computed PixelFacts 4, ThumbnailEmbedder 3" in done.stdout
    assert run("run", "curate.yaml", "--set", "output=other", "--set", "workdir=null", "-q").exit_code == 0
    assert (folder / "out/00000.tar").read_bytes() == (folder / "other/00000.tar").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--rank", "0"), "--rank and --world belong together"),
        (("--rank", "2", "--world", "2"), "rank must be less than world"),
        (("--ranks", "pbs"), "--ranks expects 'slurm', but got 'pbs'"),
        (("--ranks", "slurm"), "--ranks slurm finds neither SLURM_PROCID nor SLURM_ARRAY_TASK_ID"),
        (("--stop-after", "soon"), "--stop-after expects a time, but got 'soon'"),
        (("--until", "Filtr"), "there is no step called 'Filtr'; there are 0 ThumbnailEmbedder, 1 caption"),
        (
            ("--set", "stages.7.name=x"),
            "--set stages.7.name=x: there is no step '7'; there are 0 ThumbnailEmbedder, 1 ",
        ),
        (("--set", "outptu=x"), "curate.yaml:1 with --set outptu=x: unknown key 'outptu'; did you mean 'output'?"),
        (("--set", "stages.1.exp=x"), "curate.yaml:6 with --set stages.1.exp=x: Filter has no parameter 'exp'"),
        (("--set", "output"), "--set expects key=value, but got 'output'"),
        (("--set", "output=[a"), "--set output=[a: the value is no YAML: while parsing a flow sequence, expected"),
        (("--set", "output=data"), "curate.yaml:2 with --set output=data: cannot export to 'data': the input lies"),
        (("--set", "output=data", "--dry-run"), "curate.yaml:2 with --set output=data: cannot export to 'data'"),
        (("--cluster", "curate.yaml"), "no Dask scheduler answers by the file 'curate.yaml'"),
        (("--json",), "--json is for --dry-run"),
    ],
)
def test_a_mistake_of_run_is_one_sentence(
    folder: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], message: str
) -> None:
    """Nothing was computed, and no output is there."""
    monkeypatch.delenv("SLURM_PROCID", raising=False)
    monkeypatch.delenv("SLURM_ARRAY_TASK_ID", raising=False)
    done = run("run", "curate.yaml", *arguments)
    assert done.exit_code == 2
    assert done.stderr.startswith(f"imagecurate: {message}")
    assert not (folder / "out").exists()


def test_what_slurm_says_must_be_numbers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have been set by hand."""
    monkeypatch.setenv("SLURM_PROCID", "first")
    done = run("run", "curate.yaml", "--ranks", "slurm")
    assert done.exit_code == 2
    assert "--ranks slurm expects a whole number in SLURM_PROCID, but found 'first'" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_while_a_run_starts(folder: Path, number: int) -> None:
    """Slurm may send one before all is imported: the run ends with the code that has it queued again."""
    program = (
        "import os, threading, time\n"
        "import imagecurate.plan.stopping as stopping\n"
        "from imagecurate.cli import main\n"
        "before = stopping.stopping\n"
        "def early(*given):\n"
        "    context = before(*given)\n"
        f"    threading.Timer(0.05, os.kill, (os.getpid(), {int(number)})).start()\n"
        "    return context\n"
        "stopping.stopping = early\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "run", "curate.yaml"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 75, done.stderr
    assert f"stopped by {signal.Signals(number).name}" in done.stderr


def test_until_a_step(folder: Path) -> None:
    """What is in front of it and the step itself are computed, and no output is written."""
    done = run("run", "curate.yaml", "--until", "0")
    assert done.exit_code == 0, done.stderr
    assert done.stdout.endswith("computed up to '0'; no output is written\n")
    assert not (folder / "out").exists()
    assert "decoded 0 images" in run("run", "curate.yaml").stdout


def test_a_log_for_machines(folder: Path) -> None:
    """Each line of standard error is a JSON object: progress, warnings, the summary, an error with its hint."""
    done = run("run", "curate.yaml", "--log-json")
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert all({"time", "level", "message"} <= line.keys() for line in lines)
    assert lines[-1]["message"] == "done"
    assert lines[-1]["samples"] == 4
    assert lines[-1]["failed"] == {"not an image": 1}
    (folder / "curate.yaml").write_text(PIPELINE.replace("ThumbnailEmbedder", "Thumbnailembedder"))
    (line,) = run("run", "curate.yaml", "--log-json").stderr.splitlines()
    assert json.loads(line).items() >= {"level": "error", "error": "ParameterError", "exit_code": 2}.items()


def test_nobody_reads_the_output(folder: Path) -> None:
    """As with ``| head``: the work is done, and there is no traceback."""
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "imagecurate", "run", "curate.yaml"]
    try:
        done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True)
    finally:
        os.close(writing)
    assert "Traceback" not in done.stderr
    assert "Broken" not in done.stderr
    assert (folder / "out/manifest.json").exists()


def test_demo_runs_the_whole_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every kind of trouble that it plants is in its ledger, whatever its folder is called; again computes nothing."""
    monkeypatch.chdir(tmp_path)
    place = "[demo] #1: {a,b} *\n'\"ü😀"
    done = run("demo", place)
    assert done.exit_code == 0, done.stderr
    for word in ("kept", "caption", "size", "not an image", "truncated"):
        assert word in done.stdout
    assert {path.name for path in tmp_path.iterdir()} == {place}
    assert {path.name for path in (tmp_path / place).iterdir()} == {"shards", "curated", "work", "curate.yaml"}
    assert {path.suffix for path in (tmp_path / place / "shards").iterdir()} == {".tar"}
    assert list((tmp_path / place / "curated").glob("*.tar"))
    assert "decoded 0 images; computed nothing" in run("demo", place).stdout


def test_check_tells_what_is_wrong(folder: Path) -> None:
    """The shards with problems, what it comes to, what was noticed; problems are an exit code."""
    write_folder(folder / "data", shards=3)
    write_tar(folder / "data" / "00001.tar", [("a.jpg", picture(1)), ("b.txt", b"alone"), ("README", b"?")])
    done = run("check", "data", "--workdir", "work")
    assert done.exit_code == 1
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in done.stdout.splitlines() if "│" in line]
    told = "sample 'b': no image; no row of the parquet has the key of a sample in its column 'key'"
    assert rows[0][:4] == ["00001", "2", "1", "1"]
    assert " ".join(row[4] for row in rows) == told
    assert "3 shards, 10 samples, 9 images, 1 failed, " in done.stdout
    assert "noticed: members ignored 1\n" in done.stdout
    assert done.stdout.endswith("problems in 1 shards\n")


def test_check_of_sound_shards(folder: Path) -> None:
    """A few lines whatever their number; ``--all`` shows each, with its source where that says something."""
    write_folder(folder / "data", shards=3)
    done = run("check", "data", "--workdir", "work")
    assert (done.exit_code, len(done.stdout.splitlines())) == (0, 2)
    assert done.stdout.endswith("no problems\n")
    every = run("check", "cc12m=data/0000[01].tar", "data/00002.tar", "--all", "--workdir", "work")
    assert every.exit_code == 0
    assert re.findall(r"│ (\S+) +│ +4 │", every.stdout) == ["cc12m/00000", "cc12m/00001", "default/00002"]


def test_check_shows_some_of_many_problems(folder: Path) -> None:
    """The first screen says what kind of trouble there is."""
    for number in range(60):
        write_shard(folder / "data" / f"{number:05d}.tar", [(f"{number}", {"txt": "[red]no picture"})])
    done = run("check", "data", "--workdir", "work")
    assert done.exit_code == 1
    assert len(done.stdout.splitlines()) < 50
    assert "… and 20 more; --all shows every shard" in done.stdout
    assert len(run("check", "data", "--all", "--workdir", "work").stdout.splitlines()) > 60


def test_check_as_json(folder: Path) -> None:
    """One document on stdout, with every shard, every count and the sums."""
    write_folder(folder / "data", shards=2)
    write_shard(folder / "data" / "00001.tar", [*samples(1), ("b", {"txt": "alone"})])
    done = run("check", "data", "--json", "--workdir", "work")
    document = json.loads(done.stdout)
    assert done.exit_code == 1
    assert document["shards_with_problems"] == 1
    assert document["notes"] == ["keys that occur in several shards: 1; an export tells them apart"]
    assert document["sums"]["samples"] == 6
    first, second = document["shards"]
    assert first["problems"] == ""
    assert second["parquet_rows_without_sample"] == 4
    assert document["sums"].items() >= {"failed": 1, "parquet_rows": 8}.items()


def test_check_knows_a_source_from_a_folder(folder: Path) -> None:
    """A folder may have ``=`` in its name, as partitions of tables do."""
    write_folder(folder / "year=2024", shards=1)
    done = run("check", "year=2024", "--json", "--workdir", "work")
    assert [row["source"] for row in json.loads(done.stdout)["shards"]] == ["default"]


def test_check_compares_digests(folder: Path) -> None:
    """Of an export in which a byte has changed."""
    assert run("run", "curate.yaml", "--quiet").exit_code == 0
    assert run("check", "out", "--digests", "--workdir", "work").exit_code == 0
    with (folder / "out" / "00000.idx").open("r+b") as file:
        file.write(b"w")
    assert run("check", "out", "--workdir", "work").exit_code == 0
    done = run("check", "out", "--digests", "--workdir", "work")
    assert done.exit_code == 1
    assert "00000.idx has xxh3_128" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nothing",), "imagecurate: no file or folder 'nothing'"),
        (("data/*.zip",), "imagecurate: no "),
        (("data", "--metadata", "parkuet"), "imagecurate: metadata must be one of "),
        (("data", "--images", "some"), "imagecurate: images must be "),
        (("data", "--id-col", "uid"), "imagecurate: column 'uid'"),
        (("nosuch://bucket",), "imagecurate: 'nosuch://bucket' cannot be opened"),
        (("a/b=data",), "imagecurate: no file or folder 'a/b=data'"),
        (("=data",), "imagecurate: no file or folder '=data'"),
    ],
)
def test_a_mistake_of_check_is_one_sentence(folder: Path, arguments: tuple[str, ...], message: str) -> None:
    """No traceback, nothing on stdout, and the exit code of wrong usage."""
    write_folder(folder / "data", shards=1)
    done = run("check", *arguments, "--json")
    assert done.stderr.startswith(message)
    assert (done.exit_code, done.stdout) == (2, "")
    assert isinstance(done.exception, SystemExit)


def test_check_of_what_may_not_be_listed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Told like any other mistake, whoever runs it."""

    def refused(path: str) -> None:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "scandir", refused)
    done = run("check", "data")
    assert done.exit_code == 2
    assert re.match(r"imagecurate: data cannot be opened: .*Permission denied", done.stderr)


COMMANDS = ["init", "stages", "models", "models pull", "estimate", "check", "run", "status", "ledger", "store ls"]
COMMANDS += ["store gc", "schema", "demo"]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    """What it does, with an example, and what its exit codes mean."""
    done = run(*command.split(), "--help")
    said = " ".join(re.sub("[│╭╮╰╯─]", " ", done.stdout).split())
    assert done.exit_code == 0
    assert re.search(rf"(as in|by): imagecurate {command.split()[0]}", said)
    if command != "models":
        assert "Exit codes: 0 done; " in said
        assert {"--debug", "--log-json"} <= set(said.split())


def test_version() -> None:
    """Without a command."""
    assert run("--version").stdout.startswith("imagecurate ")


def test_differences_are_told_once(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """On stdout, among what was found out; with ``--quiet`` in the log."""
    write_shard(folder / "data" / "00001.tar", samples(1, first=1), [{"key": "000000001", "n": 1}])
    write_shard(folder / "data" / "00002.tar", samples(1, first=2), [{"key": "000000002", "n": "two"}])
    told = "column 'n': int64 in 1 of 2 parquets, string in 00002.parquet; read as string"
    for command in (("check", "data"), ("check", "data", "--json"), ("run", "curate.yaml")):
        done = run(*command)
        assert done.stdout.count(told) == 1
        assert told not in done.stderr + caplog.text
    run("run", "curate.yaml", "--quiet")
    assert caplog.text.count(told) == 1


def test_a_run_of_what_may_not_be_listed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sentence with the line, no traceback."""

    def refused(path: str) -> None:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "scandir", refused)
    done = run("run", "curate.yaml")
    assert done.exit_code == 2
    assert re.match(r"imagecurate: curate.yaml:1: data cannot be opened: .*Permission denied", done.stderr)


@pytest.mark.parametrize("command", ["report", "demo"])
def test_a_file_where_a_folder_is_expected(folder: Path, command: str) -> None:
    """A mistake, told in a sentence that names the file."""
    (folder / "file").write_text("no folder")
    result = run(command, "file")
    assert result.exit_code == 2
    assert re.search(r"'file(/\w+(\.json)?)?': (Not a directory|File exists)", result.stderr)
