"""Every name of a GPU library that the backend uses is there, with the parameters it is given.

The libraries install and import on a machine without a GPU; nothing here touches one.  What stands in the source as
``library.name`` or was imported by name is found by reading the source; methods of objects are listed below.
"""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from imagecurate import backend

pytestmark = [pytest.mark.contract, pytest.mark.filterwarnings("ignore")]

LIBRARIES = {"cudf", "cuml", "cupy", "cuvs", "dask_cuda", "dask_cudf", "pylibcudf", "rmm"}
SOURCES = sorted(Path(backend.__file__).parent.glob("*.py"))

#: Methods and properties that the backend calls on what these libraries gave it, with the parameters given by name.
METHODS: dict[str, dict[str, tuple[str, ...]]] = {
    "cudf.Series": {
        "astype": (),
        "cat": (),
        "dtype": (),
        "fillna": (),
        "from_arrow": (),
        "from_pylibcudf": (),
        "index": (),
        "isin": (),
        "isnull": (),
        "list": (),
        "nans_to_nulls": (),
        "notnull": (),
        "null_count": (),
        "reset_index": ("drop",),
        "str": (),
        "to_arrow": (),
        "values": (),
    },
    "cudf.DataFrame": {"columns": (), "iloc": (), "index": (), "items": (), "reset_index": ("drop",)},
    "cudf.Index": {"to_numpy": (), "values": ()},
    "cudf.core.accessors.string.StringMethods": {"contains": ("regex",), "len": ()},
    "cudf.core.accessors.lists.ListMethods": {"leaves": (), "len": ()},
    "cudf.core.accessors.categorical.CategoricalAccessor": {"categories": ()},
    "cudf.CategoricalDtype": {"categories": ()},
    "cudf.ListDtype": {"to_arrow": ()},
    "cudf.StructDtype": {"to_arrow": ()},
    "cudf.Decimal128Dtype": {"to_arrow": ()},
    "pylibcudf.Column": {"from_cuda_array_interface": (), "with_mask": ()},
    "cupy.ndarray": {"all": (), "astype": ("copy",), "get": (), "reshape": (), "size": (), "sum": ()},
}


def imported(tree: ast.Module) -> dict[str, str]:
    """Names in a file that stand for a library, or for something in one, and what they stand for."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                first = alias.name.partition(".")[0]
                names[alias.asname or first] = alias.name if alias.asname else first
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return {name: path for name, path in names.items() if path.partition(".")[0] in LIBRARIES}


def dotted(node: ast.AST) -> str | None:
    """The text of ``a.b.c``, or None for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    before = dotted(node.value) if isinstance(node, ast.Attribute) else None
    return f"{before}.{node.attr}" if before and isinstance(node, ast.Attribute) else None


def uses() -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Where, what, and the parameters given by name: each use of a library in the backend."""
    for source in SOURCES:
        tree = ast.parse(source.read_text())
        names = imported(tree)
        submodules = {
            alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
        } & set(filter(None, (path for path in names.values())))
        for path in {*names.values(), *submodules}:
            yield source.name, path, ()
        for node in ast.walk(tree):
            called = node.func if isinstance(node, ast.Call) else node
            text = dotted(called) if isinstance(node, ast.Call | ast.Attribute) else None
            first, _, rest = (text or "").partition(".")
            if first in names:
                keywords = tuple(each.arg for each in node.keywords if each.arg) if isinstance(node, ast.Call) else ()
                yield source.name, f"{names[first]}.{rest}" if rest else names[first], keywords


def found(path: str) -> Any:
    """What a dotted path names; modules on the way are imported."""
    first, *rest = path.split(".")
    value: Any = importlib.import_module(first)
    known = first
    for name in rest:
        known = f"{known}.{name}"
        try:
            value = inspect.getattr_static(value, name) if isinstance(value, type) else getattr(value, name)
        except AttributeError:
            value = importlib.import_module(known)
        value = value.__func__ if isinstance(value, staticmethod | classmethod) else value
    return value


def assert_takes(path: str, value: Any, keywords: tuple[str, ...]) -> None:
    """Fail where a function says what parameters it has, and one of these is not among them."""
    try:
        parameters = inspect.signature(value).parameters
    except (TypeError, ValueError):  # compiled, or no function
        return
    takes_any = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values())
    assert takes_any or set(keywords) <= set(parameters), f"{path} takes {list(parameters)}, but is given {keywords}"


def test_the_backend_uses_the_libraries() -> None:
    """The names below are found at all."""
    assert {path.partition(".")[0] for _, path, _ in uses()} >= {"cudf", "cupy", "pylibcudf"}


@pytest.mark.parametrize(("file", "path", "keywords"), sorted(set(uses())), ids=str)
def test_names_and_parameters(file: str, path: str, keywords: tuple[str, ...]) -> None:
    """What the source names is there."""
    assert_takes(path, found(path), keywords)


@pytest.mark.parametrize("owner", METHODS)
def test_methods(owner: str) -> None:
    """What is called on objects is there."""
    kind = found(owner)
    for name, keywords in METHODS[owner].items():
        assert hasattr(kind, name), f"{owner} has no {name}"
        assert_takes(f"{owner}.{name}", getattr(kind, name), keywords)


def test_the_gpu_backend_imports_without_a_gpu() -> None:
    """A machine without a GPU can load it."""
    from imagecurate.backend import backend_named

    gpu = backend_named("cudf")
    assert gpu.__name__ == "imagecurate.backend.gpu"


def test_a_dataset_of_cudf_asks_for_a_gpu(folder: Path) -> None:
    """Where there is none, opening says so, and not the first look at a frame."""
    import cupy

    import imagecurate as ic
    from imagecurate.errors import MissingDependencyError

    if cupy.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(MissingDependencyError, match="backend='cudf' needs a GPU in this process, and CUDA finds none"):
        ic.read_webdataset(str(folder), workdir=None, backend="cudf")


def test_series_of_cudf_belong_to_the_gpu_backend() -> None:
    """Dispatch knows the classes by their top module, before anybody imported the backend."""
    import cudf
    import cupy

    from imagecurate.backend import backend_of, gpu

    for kind in (cudf.DataFrame, cudf.Series, cupy.ndarray):
        assert backend_of.dispatch(kind)(None) is gpu


def test_types_of_dtypes() -> None:
    """The Arrow type of a series follows from its dtype alone."""
    import cudf
    import numpy as np
    import pandas as pd
    import pyarrow as pa

    from imagecurate.backend.gpu import type_of

    class Column(list):  # type: ignore[type-arg]
        null_count = 0
        dtype: object = None

    for dtype, type_ in [
        (np.dtype("int8"), pa.int8()),
        (np.dtype("bool"), pa.bool_()),
        (np.dtype("float32"), pa.float32()),
        (np.dtype("M8[ms]"), pa.timestamp("ms")),
        (np.dtype("m8[ns]"), pa.duration("ns")),
        (np.dtype("object"), pa.string()),
        (pd.StringDtype(na_value=np.nan), pa.string()),
        (pd.Int64Dtype(), pa.int64()),
        (pd.BooleanDtype(), pa.bool_()),
        (pd.DatetimeTZDtype("us", "Europe/Berlin"), pa.timestamp("us", "Europe/Berlin")),
        (pd.ArrowDtype(pa.int16()), pa.int16()),
        (cudf.ListDtype("float32"), pa.list_(pa.float32())),
        (cudf.StructDtype({"a": "int8"}), pa.struct([("a", pa.int8())])),
        (cudf.Decimal128Dtype(5, 2), pa.decimal128(5, 2)),
    ]:
        column = Column([1])
        column.dtype = dtype
        assert type_of(column) == type_
        column.null_count = 1
        assert type_of(column) == (pa.null() if type_ == pa.string() else type_)


def test_frames_of_cudf_make_dask_cudf() -> None:
    """A meta of cuDF's makes a collection of dask-cuDF's, whose base the frames here are made for."""
    import dask_cudf
    from dask.dataframe.dask_expr import new_collection

    assert callable(new_collection)
    assert dask_cudf.DataFrame.__mro__[1:]
    from dask.dataframe.dask_expr import DataFrame

    assert issubclass(dask_cudf.DataFrame, DataFrame)
