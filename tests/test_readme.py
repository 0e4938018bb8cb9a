"""The README does what it says."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from imagecurate.cli import app
from imagecurate.demo import make_demo
from imagecurate.pipeline import Pipeline

README = Path(__file__).resolve().parents[1] / "README.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README.read_text(), re.DOTALL)


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder after ``make demo``, as a reader of the README has it."""
    make_demo(tmp_path / "demo-output")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_python_runs_as_printed(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every block of Python, in order, in one folder; the export is there afterwards."""
    for number, block in enumerate(blocks("python")):
        exec(compile(block, f"README block {number}", "exec"), {"__name__": "__main__"})
    assert (workplace / "curated" / "00000.tar").exists()
    assert "dropped" in capsys.readouterr().out


def test_yaml_is_a_pipeline(workplace: Path) -> None:
    """The file in the README passes the checks and its columns fit together."""
    (text,) = blocks("yaml")
    (workplace / "curate.yaml").write_text(text)
    dataset = Pipeline.from_yaml("curate.yaml").dataset()
    assert {"image_embedding", "aesthetic_score", "nsfw_score"} <= set(dataset.columns)
    assert yaml.safe_load(text)["export"] == {"samples_per_shard": 10000}


def test_commands_run_as_printed(workplace: Path) -> None:
    """Every line, in order, in the same folder."""
    (text,) = blocks("bash")
    for line in text.splitlines():
        done = CliRunner().invoke(app, shlex.split(line, comments=True)[1:])
        assert done.exit_code == 0, f"{line}: {done.stdout} {done.stderr}"
    assert (workplace / "small" / "00000.tar").exists()


def test_links_lead_somewhere() -> None:
    """Every page that the README names exists."""
    for target in re.findall(r"\]\(([^)#]+)\)", README.read_text()):
        assert (README.parent / target).exists(), target
