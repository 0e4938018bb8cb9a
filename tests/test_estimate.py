"""``imagecurate estimate``: from a few shards and a sample of the work."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from making import write_folder, write_tar
from typer.testing import CliRunner, Result

from imagecurate.cli import app


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: six shards of 20 samples, and a pipeline that keeps none of the narrow ones."""
    write_folder(tmp_path / "data", shards=6, samples_per_shard=20)
    (tmp_path / "curate.yaml").write_text(
        "input: data\noutput: out\nworkdir: work\nstages:\n  - ThumbnailEmbedder\n  - Filter: {expr: width >= 60}\n"
        "  - Deduplicate: {levels: [exact]}\n"
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def estimate(*arguments: str) -> dict[str, object]:
    done = run("estimate", *arguments, "--json")
    assert done.exit_code == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_shards_alone() -> None:
    """Samples are scaled from a few shards, formats are those of pictures, and the work is a decode."""
    found = estimate("data")
    assert (found["shards"], found["measured"]) == (6, True)
    assert found["samples"] == pytest.approx(120, abs=6)
    assert found["formats"] == {"jpeg": 1.0}
    assert found["images_per_s"] > 0
    assert found["seconds"] == pytest.approx(found["samples"] / found["images_per_s"])
    assert any("decoding alone" in note for note in found["assumptions"])
    assert any("in 4 of 6 shards" in note for note in found["assumptions"])


def test_a_pipeline() -> None:
    """Its filters and sizes count; what needs all samples is named; nothing is left behind."""
    found = estimate("curate.yaml")
    assert 0 < found["kept"] < 1
    assert found["store_bytes"] > 120 * 67 * 4 * 0.5
    assert found["output_bytes"] > 0
    assert found["memory_bytes"] > 10**7
    assert any("ExactDeduplicator" in note for note in found["assumptions"])
    assert not Path("work").exists()
    assert not Path("out").exists()


def test_a_pipeline_that_decodes_nothing() -> None:
    """It looks at bytes alone: that is what is measured."""
    Path("bytes.yaml").write_text("input: data\noutput: out\nstages: [ImageDigest]\n")
    found = estimate("bytes.yaml")
    assert found["formats"] == {}
    assert found["images_per_s"] > 0


def test_what_is_given_is_used() -> None:
    """So many GPUs at such a speed and price."""
    found = estimate("curate.yaml", "--gpus", "4", "--images-per-s", "2", "--price-per-gpu-hour", "3")
    assert (found["images_per_s"], found["measured"]) == (8.0, False)
    assert found["seconds"] == pytest.approx(found["samples"] / 8)
    assert found["gpu_hours"] == pytest.approx(4 * found["seconds"] / 3600)
    assert found["cost"] == pytest.approx(3 * found["gpu_hours"])
    text = run("estimate", "curate.yaml", "--gpus", "4", "--images-per-s", "2", "--price-per-gpu-hour", "3").stdout
    assert "speed     8 images/s on 4 GPUs (as given)\n" in text
    assert "assumptions\n" in text


def test_the_speed_of_gpus_is_not_made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine without one it is not known."""
    monkeypatch.setattr("imagecurate.pipeline.estimating._gpu_peak", lambda: None)
    found = estimate("curate.yaml", "--gpus", "8")
    assert (found["images_per_s"], found["seconds"], found["cost"]) == (None, None, None)
    assert any("give --images-per-s" in note for note in found["assumptions"])


@pytest.mark.parametrize("target", ["nothing", "empty", "void"])
def test_nothing_to_read(folder: Path, target: str) -> None:
    """A clear line, and exit code 1."""
    (folder / "empty").mkdir()
    write_tar(folder / "void" / "0.tar", [])
    done = run("estimate", target)
    assert done.exit_code == 1
    assert done.stdout.startswith("nothing to read: ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("data", "--price-per-gpu-hour", "3"), "--price-per-gpu-hour needs --gpus"),
        (("data", "--images-per-s", "0"), "--images-per-s expects a positive number, but got 0"),
        (("data", "--set", "a=b"), "--set is for a pipeline"),
        (("other.yaml",), "there is no pipeline file 'other.yaml'"),
    ],
)
def test_mistakes(arguments: tuple[str, ...], message: str) -> None:
    """One sentence, exit code 2."""
    done = run("estimate", *arguments)
    assert done.exit_code == 2
    assert done.stderr.startswith(f"imagecurate: {message}")
