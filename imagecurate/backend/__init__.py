"""Where CPU and GPU differ: the same names, chosen by what holds the rows.

``backend_of(rows)`` gives the module that handles them.  Nothing outside this package imports a GPU library.
"""

from __future__ import annotations

import pandas as pd
import pyarrow as pa
from dask.utils import Dispatch

from imagecurate.backend import cpu

__all__ = ["backend_of"]

#: The backend for a frame, a series or a column.
backend_of = Dispatch("backend_of")
backend_of.register((pa.Array, pa.ChunkedArray, pd.DataFrame, pd.Series), lambda rows: cpu)
