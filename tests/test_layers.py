"""Imports point one way, and ``import imagecurate`` stays light."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import imagecurate

ROOT = Path(imagecurate.__file__).parent

#: From the bottom up; members of one layer do not know each other.
LAYERS = [
    {"_version", "errors", "columns"},
    {"backend", "remote"},
    {"shards", "images", "weights", "expressions", "store"},
    {"tables", "neighbours"},
    {"plan"},
    {"stages"},
    {"export", "explore"},
    {"frame", "progress", "workdir"},
    {"check"},
    {"dataset"},
    {"pipeline"},
    {"cluster", "demo", "migration"},
    {"cli"},
    {"__main__"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
GPU_LIBRARIES = {"cudf", "cupy", "cuml", "dask_cudf", "dask_cuda", "nvidia", "pylibcudf", "rmm"}


def imports() -> list[tuple[str, str, bool]]:
    """Each import in the package: who, what, and whether it only serves type checkers."""
    found = []
    for path in ROOT.rglob("*.py"):
        who = path.relative_to(ROOT).with_suffix("").parts[0]
        tree = ast.parse(path.read_text())
        typing_only = {
            id(inner)
            for node in ast.walk(tree)
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
            for inner in ast.walk(node)
        }
        for node in ast.walk(tree):
            names: list[str] = []
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path}: relative import"
                names = [node.module or ""]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            found += [(who, name, id(node) in typing_only) for name in names]
    return found


def test_every_module_has_a_layer() -> None:
    """A new module says where it belongs."""
    modules = {path.stem if path.is_file() else path.name for path in ROOT.iterdir() if path.suffix in {".py", ""}}
    assert modules - {"__init__", "__pycache__", "py"} <= set(LEVEL)


def test_imports_point_down() -> None:
    """No module imports from its own layer or above."""
    wrong = []
    for who, name, typing_only in imports():
        parts = name.split(".")
        if typing_only or who == "__init__" or parts[0] != "imagecurate" or len(parts) == 1:
            continue
        if parts[1] != who and LEVEL[parts[1]] >= LEVEL[who]:
            wrong.append(f"{who} imports {name}")
    assert wrong == []


def test_gpu_libraries_are_known_in_one_place() -> None:
    """Only the backend imports them."""
    assert {who for who, name, _ in imports() if name.split(".")[0] in GPU_LIBRARIES} <= {"backend"}


def test_import_is_light() -> None:
    """Neither torch nor a dataframe library comes with ``import imagecurate``; torch not even with a dataset."""
    code = (
        "import sys, imagecurate as ic\n"
        "assert not {'torch', 'timm', 'pandas', 'dask', 'cudf', 'PIL'} & set(sys.modules), sorted(sys.modules)\n"
        "ic.ImageTextPairDataset, ic.TimmImageEmbedder, ic.Pipeline\n"
        "assert not {'torch', 'timm', 'cudf'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_public_names_are_there() -> None:
    """Each name in ``__all__`` can be had, and has a docstring."""
    for name in imagecurate.__all__:
        value = getattr(imagecurate, name)
        assert name == "__version__" or value.__doc__, name
        for method in dir(value) if isinstance(value, type) else ():
            owner = next((base for base in value.__mro__ if method in vars(base)), object)
            member = inspect.getattr_static(value, method)
            documented = inspect.getdoc(member) or not (callable(member) or isinstance(member, property))
            assert documented or method.startswith("_") or not owner.__module__.startswith("imagecurate"), method
