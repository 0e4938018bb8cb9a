"""Every notebook runs from top to bottom on what it makes, uses public names alone, and is kept without its outputs."""

from __future__ import annotations

import ast
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).resolve().parents[1] / "notebooks").glob("*.ipynb"))
PUBLIC = {"imagecurate", "imagecurate.migration"}

every = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


@pytest.mark.filterwarnings("default")  # of Jupyter's own client, which is not what is tested
@every
def test_notebook_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a fresh kernel, in an empty folder."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}})
    # nbclient 0.11 talks to the widgets of progress bars on the socket on which it waits for the cell's reply: on a
    # busy machine it then misses one now and again, and waits until the time is up.
    client.comm_open_handlers.clear()
    client.execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert outputs
    assert not any(output.output_type == "error" for output in outputs)


@every
def test_notebook_is_kept_without_outputs(path: Path) -> None:
    """Nor the numbers of their cells."""
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in cells)


@every
def test_notebook_uses_public_names(path: Path) -> None:
    """It imports imagecurate itself, and the names of other tools; no attribute begins with an underscore."""
    notebook = nbformat.read(path, as_version=4)
    tree = ast.parse("\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code"))
    modules = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    modules |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {module for module in modules if module.split(".")[0] == "imagecurate"} <= PUBLIC
    assert not [node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr[0] == "_"]


def test_there_are_notebooks() -> None:
    """One for each way in."""
    assert [path.stem[0] for path in NOTEBOOKS] == list("123456")
