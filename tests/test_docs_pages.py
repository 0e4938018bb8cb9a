"""The pages about pipelines, the command line and migration, and the skill for agents, do what they say."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml
from making import write_folder
from typer.testing import CliRunner

from imagecurate.cli import app
from imagecurate.cli.command import EXIT_CODES
from imagecurate.pipeline import ExportOptions, Pipeline

ROOT = Path(__file__).resolve().parents[1]
DOCS, SKILL = ROOT / "docs", ROOT / "skills" / "imagecurate"
HEAD = "input: data\noutput: out\nworkdir: work\n"


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


def commands(text: str) -> list[list[str]]:
    """The arguments of each line of a shell that calls imagecurate."""
    lines = [shlex.split(line, comments=True) for line in text.splitlines()]
    return [line[1:] for line in lines if line[:1] == ["imagecurate"]]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with eight samples in ``data``."""
    write_folder(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IMAGECURATE_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.mark.parametrize("page", ["pipeline.md", "migration.md"])
def test_yaml_is_a_pipeline(folder: Path, page: str) -> None:
    """Each block, alone or with a head."""
    found = blocks(DOCS / page, "yaml")
    assert found
    for text in found:
        values = yaml.safe_load(text)
        (folder / "curate.yaml").write_text(text if "input" in values else HEAD + text)
        Pipeline.from_yaml("curate.yaml")


@pytest.mark.parametrize("page", ["pipeline.md", "migration.md"])
def test_python_runs_as_printed(folder: Path, page: str) -> None:
    """Every block, in order, in one folder."""
    (folder / "curate.yaml").write_text(HEAD + "stages: [ThumbnailEmbedder]\n")
    for number, block in enumerate(blocks(DOCS / page, "python")):
        exec(compile(block, f"{page} block {number}", "exec"), {"__name__": "__main__"})


@pytest.mark.parametrize(
    "page", [DOCS / "cli.md", DOCS / "pipeline.md", SKILL / "SKILL.md"], ids=lambda path: path.name
)
def test_commands_run_as_printed(folder: Path, page: Path) -> None:
    """Every line, in order, in one folder; none fails."""
    found = [line for text in blocks(page, "(?:bash)?") for line in commands(text)]
    assert len(found) >= 3
    if page.name == "SKILL.md":
        found += [line for text in blocks(SKILL / "references" / "thresholds.md", "bash") for line in commands(text)]
    for line in found:
        done = CliRunner().invoke(app, line)
        assert done.exit_code == 0, f"{' '.join(line)}: {done.stdout} {done.stderr}"


def test_the_skill_says_what_it_is_for() -> None:
    """Its head is what agents choose by; its pipeline is one, and its pages are there."""
    text = (SKILL / "SKILL.md").read_text()
    head = yaml.safe_load(text.split("---")[1])
    assert head["name"] == "imagecurate"
    assert 100 < len(head["description"]) < 1024
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert (SKILL / target).exists(), target
    (pipeline,) = blocks(SKILL / "SKILL.md", "yaml")
    Pipeline(**yaml.safe_load(pipeline))


def test_exit_codes_are_those_of_the_page() -> None:
    """One list, and the page repeats it word by word."""
    rows = re.findall(r"^\| (\d+) \| (.*) \|$", (DOCS / "cli.md").read_text(), re.MULTILINE)
    assert {int(code): meaning for code, meaning in rows} == {int(code): said for code, said in EXIT_CODES.items()}


def test_every_command_is_on_the_page() -> None:
    """And every key of a pipeline on its own."""
    page = (DOCS / "cli.md").read_text()
    names = [command.name or "" for command in app.registered_commands] + [
        group.name or "" for group in app.registered_groups
    ]
    assert [name for name in names if f"| `{name}" not in page] == []
    keys = [field.alias or name for name, field in Pipeline.model_fields.items()] + list(ExportOptions.model_fields)
    page = (DOCS / "pipeline.md").read_text()
    assert [key for key in keys if f"| `{key}` |" not in page] == []


def test_links_lead_somewhere() -> None:
    """Every page that these pages name exists."""
    for page in ("cli.md", "pipeline.md", "migration.md"):
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", (DOCS / page).read_text()):
            assert (DOCS / target).exists(), f"{page}: {target}"
