"""The same cases through both backends: pandas anywhere, cuDF where a GPU is at hand."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from imagecurate.backend import backend_named, backend_of

#: For ``pytest.mark.parametrize("backend", BACKENDS)``.  What GPU libraries warn of each other is not ours to mend.
BACKENDS = [
    "pandas",
    pytest.param("cudf", marks=[pytest.mark.gpu, pytest.mark.filterwarnings("ignore")]),
]


def module(backend: str) -> ModuleType:
    """The backend's module; the test is skipped where its library is not installed."""
    if backend == "cudf":
        pytest.importorskip("cudf")
    return backend_named(backend)


def columns(backend: str, rows: Mapping[str, pa.Array]) -> dict[str, Any]:
    """Columns as expressions get them: Arrow arrays, or the series of a cuDF frame."""
    if backend == "pandas":
        return dict(rows)
    return dict(module(backend).to_frame(rows).items())


def arrow(column: Any) -> pa.Array:
    """A column of either backend as an Arrow array."""
    if isinstance(column, pa.Array):
        return column
    return backend_of(column).from_frame(column.to_frame("x"))["x"]


def host(array: Any) -> np.ndarray:
    """A NumPy or CuPy array as a NumPy array."""
    return array.get() if hasattr(array, "get") else np.asarray(array)


def shown(frame: Any) -> dict[str, list[Any]]:
    """What a frame shows, as plain Python values by column."""
    return {name: column.to_pylist() for name, column in backend_of(frame).from_frame(frame).items()}
