"""The files of the two backends are each other's mirror image, read without a GPU library."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from imagecurate import backend

FOLDER = Path(backend.__file__).parent
PAIRS = [("cpu", "gpu"), ("cpu_clusters", "gpu_clusters")]


def public(name: str) -> list[tuple[str, str]]:
    """Public functions with their parameters, and public names with an empty string, in the order of the file."""
    found: list[tuple[str, str]] = []
    for node in ast.parse((FOLDER / f"{name}.py").read_text()).body:
        if isinstance(node, ast.FunctionDef):
            parameters = node.args
            for each in (*parameters.posonlyargs, *parameters.args, *parameters.kwonlyargs):
                each.annotation = None  # of one meaning, of other libraries
            found.append((node.name, ast.unparse(parameters)))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found.append((node.target.id, ""))
    return [each for each in found if not each[0].startswith("_")]


def exported(name: str) -> list[str]:
    """What a file has in ``__all__``."""
    for node in ast.parse((FOLDER / f"{name}.py").read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            names: list[str] = ast.literal_eval(node.value)
            return names
    raise AssertionError(f"{name}.py has no __all__")


@pytest.mark.parametrize(("cpu", "gpu"), PAIRS)
def test_same_names(cpu: str, gpu: str) -> None:
    """Whatever one file exports, the other does."""
    assert exported(cpu) == exported(gpu)


def test_same_signatures_in_the_same_order() -> None:
    """Who knows one file knows the other."""
    assert public("cpu") == public("gpu")
    assert sorted(name for name, _ in public("cpu")) == sorted(exported("cpu"))
