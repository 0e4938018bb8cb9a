"""Where CPU and GPU differ: the same names, chosen by what holds the rows.

``backend_of(rows)`` gives the module that handles them, ``backend_named(name)`` the one that a dataset was opened with.
Nothing outside this package imports a GPU library.
"""

from __future__ import annotations

from types import ModuleType

import pandas as pd
import pyarrow as pa
from dask.utils import Dispatch

from imagecurate.backend import cpu
from imagecurate.errors import MissingDependencyError

__all__ = ["backend_named", "backend_of", "check_backend"]

#: The backend for a frame, a series or a column.
backend_of = Dispatch("backend_of")
backend_of.register((pa.Array, pa.ChunkedArray, pd.DataFrame, pd.Series), lambda rows: cpu)


def _register_cudf() -> None:
    import cudf

    from imagecurate.backend import gpu

    backend_of.register((cudf.DataFrame, cudf.Series), lambda rows: gpu)


def _register_cupy() -> None:
    import cupy

    from imagecurate.backend import gpu

    backend_of.register(cupy.ndarray, lambda rows: gpu)


backend_of.register_lazy("cudf", _register_cudf)
backend_of.register_lazy("cupy", _register_cupy)


def backend_named(name: str) -> ModuleType:
    """Give the backend whose frames are of a library.

    Parameters
    ----------
    name : {"pandas", "cudf"}

    Raises
    ------
    MissingDependencyError
        cuDF is not installed.
    """
    if name == "pandas":
        return cpu
    try:
        from imagecurate.backend import gpu
    except ModuleNotFoundError as error:
        if error.name not in ("cudf", "cupy", "pylibcudf"):
            raise  # cuDF is there, and lacks something itself: its own words say what
        raise MissingDependencyError.for_feature("reading a dataset as cuDF", "cuDF", "cuda13") from error
    return gpu


def check_backend(name: str) -> None:
    """Check that this process can make frames of a library.

    Parameters
    ----------
    name : {"pandas", "cudf"}

    Raises
    ------
    MissingDependencyError
        cuDF is not installed, or there is no GPU.
    """
    if backend_named(name) is cpu:
        return
    import cupy

    if not cupy.cuda.is_available():
        raise MissingDependencyError.because(
            f"backend={name!r} needs a GPU in this process, and CUDA finds none",
            "leave backend out: models run on the GPUs of the workers all the same",
        )
