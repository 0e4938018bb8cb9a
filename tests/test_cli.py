"""The command line: what it prints, what it leaves, how it ends."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from making import picture, write_tar
from typer.testing import CliRunner

from imagecurate.cli import app

PIPELINE = """\
input: data
output: out
workdir: work
stages:
  - ThumbnailEmbedder
  - Filter: {expr: caption is not null, name: caption}
export: {samples_per_shard: 2}
"""


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "imagecurate", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with four samples: two fine, one without a caption, one that is no image."""
    members = [("a.jpg", picture(1)), ("a.txt", b"one"), ("b.jpg", picture(2)), ("c.jpg", b"<html>"), ("c.txt", b"two")]
    write_tar(tmp_path / "data" / "00000.tar", [*members, ("d.png", picture(3, format="PNG")), ("d.txt", b"three")])
    (tmp_path / "curate.yaml").write_text(PIPELINE)
    return tmp_path


def test_run_tells_what_became_of_the_samples(folder: Path) -> None:
    """Kept, dropped by reason, failed by reason; the second run computes nothing and says so."""
    first = run(folder, "run", "curate.yaml")
    assert first.returncode == 0, first.stderr
    for line in (
        "4 samples in",
        "kept",
        "dropped",
        "caption",
        "failed",
        "not an image",
        "decoded 4 images",
        "2 samples",
    ):
        assert line in first.stdout
    assert "1 of 1 shards" in first.stderr
    assert {path.name for path in (folder / "out").iterdir()} >= {
        "00000.tar",
        "00000.parquet",
        "manifest.json",
        "run.json",
    }
    assert json.loads((folder / "out/run.json").read_text())["kept"] == 2
    second = run(folder, "run", "curate.yaml")
    assert second.returncode == 0, second.stderr
    assert "decoded 0 images; computed nothing" in second.stdout


def test_quiet_is_quiet(folder: Path) -> None:
    """No progress, no table."""
    done = run(folder, "run", "curate.yaml", "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("ThumbnailEmbedder", "Thumbnailembedder"), "5: unknown stage 'Thumbnailembedder'; did you mean 'Thumb"),
        (("samples_per_shard", "samplespershard"), "7: unknown key 'samplespershard'; did you mean 'samples_per_"),
        (("samples_per_shard: 2", "samples_per_shard: many"), "7: samples_per_shard: "),
        (("output: out\n", ""), "1: the key 'output' is missing"),
        (("workdir: work", "wrkdir: work"), "3: unknown key 'wrkdir'; did you mean 'workdir'?"),
        (("name: caption", "nam: caption"), "6: Filter has no parameter 'nam'"),
        (("- ThumbnailEmbedder", "- ThumbnailEmbedder: {sise: 3}"), "5: ThumbnailEmbedder has no parameter 'sise'"),
        (("caption is not null", "captoin is not null"), "column 'captoin' not found"),
        (("stages:", "stages: ]"), "not well-formed YAML"),
        (("input: data", "input: nothing"), "nothing"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_sentence(
    folder: Path, change: tuple[str, str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """File, line, what was found, the near miss; no traceback; an exit code."""
    monkeypatch.chdir(folder)
    (folder / "curate.yaml").write_text(PIPELINE.replace(*change))
    done = CliRunner().invoke(app, ["run", "curate.yaml"])
    assert done.exit_code in (1, 2)
    assert message in done.stderr
    assert isinstance(done.exception, SystemExit)
    assert not (folder / "out").exists()


def test_demo_runs_the_whole_job(tmp_path: Path) -> None:
    """Every kind of trouble that the demo plants is in its ledger; a second demo computes nothing."""
    done = run(tmp_path, "demo", "place")
    assert done.returncode == 0, done.stderr
    for word in ("kept", "caption", "size", "not an image", "truncated"):
        assert word in done.stdout
    assert list((tmp_path / "place/curated").glob("*.tar"))
    assert "decoded 0 images; computed nothing" in run(tmp_path, "demo", "place").stdout


def test_help_and_version(tmp_path: Path) -> None:
    """Every command explains itself."""
    assert run(tmp_path, "--version").stdout.startswith("imagecurate ")
    for command in ("run", "demo"):
        assert (
            "imagecurate" in run(tmp_path, command, "--help").stdout
            or command in run(tmp_path, command, "--help").stdout
        )
