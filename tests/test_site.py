"""The site is built without a warning, says all that the code has, loads nothing from elsewhere, and its pages run."""

from __future__ import annotations

import html
import re
import shlex
import subprocess
import sys
import zlib
from dataclasses import fields
from pathlib import Path
from urllib.parse import unquote

import nbformat
import pytest
import typer
import yaml
from making import write_folder
from typer.testing import CliRunner

import imagecurate
from imagecurate.cli import app
from imagecurate.images import DecodePolicy
from imagecurate.pipeline import ExportOptions, Pipeline
from imagecurate.pipeline.steps import PLAIN_STEPS
from imagecurate.stages.catalogue import catalogue

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as ``make docs`` does."""
    pytest.importorskip("sphinx", reason="the site needs Sphinx: pip install -e '.[docs]'")
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-q", "-E", "-W", "--keep-going", str(DOCS), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=out)
    assert done.returncode == 0, done.stderr
    return out


def text_of(page: Path) -> str:
    return html.unescape(re.sub(r"<[^>]+>", "", page.read_text()))


def described(site: Path) -> set[str]:
    """Names of all Python objects that the site describes, from Sphinx's inventory."""
    head, _, body = (site / "objects.inv").read_bytes().partition(b"using zlib.\n")
    assert head
    lines = zlib.decompress(body).decode().splitlines()
    return {line.split(" ")[0] for line in lines if line.split(" ")[1].startswith("py:")}


def test_every_public_name_is_described(site: Path) -> None:
    """Classes, functions, errors, and the methods of a dataset."""
    public = {f"imagecurate.{name}" for name in imagecurate.__all__} - {"imagecurate.__version__"}
    public |= {f"imagecurate.errors.{name}" for name in imagecurate.errors.__all__}
    public |= {f"imagecurate.pipeline.{name}" for name in PLAIN_STEPS}
    dataset = imagecurate.ImageTextPairDataset
    public |= {f"imagecurate.ImageTextPairDataset.{name}" for name in dir(dataset) if not name.startswith("_")}
    assert public - described(site) == set()


def test_every_stage_has_its_columns_and_parameters(site: Path) -> None:
    """In a section of its own."""
    sections = re.split(r'<section id="', (site / "stages.html").read_text())
    for entry in catalogue():
        (section,) = (each for each in sections if each.startswith(f'{entry.name.lower()}"'))
        codes = {html.unescape(re.sub(r"<[^>]+>", "", each)) for each in re.findall(r"<code.*?</code>", section)}
        assert {*entry.reads, *entry.adds, *(parameter.name for parameter in entry.parameters)} <= codes, entry.name


def test_every_key_of_a_pipeline_is_there(site: Path) -> None:
    """And every option of the export, every limit of the decoder, every step with its parameters."""
    page = text_of(site / "yaml.html")
    names = {field.alias or name for name, field in Pipeline.model_fields.items()} | {*ExportOptions.model_fields}
    names |= {field.name for field in fields(DecodePolicy)} | {*PLAIN_STEPS}
    names |= {field.name for step in PLAIN_STEPS.values() for field in fields(step)}
    assert {name for name in names if not re.search(rf"^{name}\b", page, re.MULTILINE)} == set()


def test_every_command_has_its_options(site: Path) -> None:
    """Groups are walked through."""
    page = text_of(site / "commands.html")
    missing = []
    waiting = [("imagecurate", typer.main.get_command(app))]
    while waiting:
        name, command = waiting.pop()
        inner = getattr(command, "commands", {})
        waiting += [(f"{name} {each}", inner[each]) for each in inner]
        options = [option for parameter in command.params for option in parameter.opts if option.startswith("--")]
        if not inner:
            missing += [what for what in (name, *options) if what not in page]
    assert missing == []


def test_notebooks_are_pages(site: Path) -> None:
    """Their titles, and what is in their cells."""
    page = text_of(site / "notebooks.html")
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        cells = nbformat.read(path, as_version=4).cells
        assert cells[0].source.splitlines()[0].removeprefix("# ") in page
        assert all(cell.source in page for cell in cells if cell.cell_type == "code"), path.name


def test_pages_load_nothing_from_elsewhere(site: Path) -> None:
    """No font, script, style or picture comes from a network."""
    for path in site.rglob("*.html"):
        tags = re.findall(r"<(?:script|link|img|iframe|source)\b[^>]*>", path.read_text())
        assert [tag for tag in tags if re.search(r"""(?:src|href)=["']?(?:https?:)?//""", tag)] == [], path.name
    for path in site.rglob("*.css"):
        assert not re.search(r"""(?:url\(|@import)\s*["']?(?:https?:)?//""", path.read_text()), path.name


def test_links_lead_somewhere(site: Path) -> None:
    """Every link within the site, to its place in the page."""
    pages = {path: path.read_text() for path in site.rglob("*.html")}
    places = {path: {"", *re.findall(r'\bid="([^"]+)"', page)} for path, page in pages.items()}
    for path, page in pages.items():
        for target in re.findall(r'<a [^>]*href="([^":]+)"', page):
            name, _, place = html.unescape(target).partition("#")
            found = (path.parent / unquote(name)).resolve() if name else path
            assert found.exists(), f"{path.name}: {target}"
            assert found not in places or unquote(place) in places[found], f"{path.name}: {target}"


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", (DOCS / page).read_text(), re.DOTALL | re.MULTILINE)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with eight samples in ``data``."""
    write_folder(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IMAGECURATE_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.mark.parametrize("page", ["index.md", "get-started.md", "concepts.md", "custom-stages.md", "thresholds.md"])
def test_python_runs_as_printed(place: Path, page: str) -> None:
    """Every block, in order, in one folder and one program."""
    program: dict[str, object] = {"__name__": "__main__"}
    found = blocks(page, "python")
    assert found
    for number, block in enumerate(found):
        exec(compile(block, f"{page} block {number}", "exec"), program)


@pytest.mark.parametrize("page", ["index.md", "use-cases.md"])
def test_yaml_is_a_pipeline(page: str) -> None:
    """Its keys, stages and parameters are."""
    (text,) = blocks(page, "yaml")
    Pipeline(**yaml.safe_load(text))


def test_commands_run_as_printed(place: Path) -> None:
    """Every line of "Get started", in order; none fails."""
    lines = [shlex.split(line)[1:] for block in blocks("get-started.md", "bash") for line in block.splitlines()]
    assert len(lines) >= 3
    for line in lines:
        done = CliRunner().invoke(app, line)
        assert done.exit_code == 0, f"{line}: {done.stdout} {done.stderr}"
