"""imagecurate turns raw image-text shards into training data.

An ``ImageTextPairDataset`` is a set of tar shards plus a Dask dataframe with one row a sample.  Stages add columns,
filters drop rows for a recorded reason, and what survives is written as tar and parquet.

>>> import imagecurate as ic
>>> ic.read_webdataset  # doctest: +ELLIPSIS
<bound method ImageTextPairDataset.from_webdataset of <class '...ImageTextPairDataset'>>

Names are imported when they are first used: ``import imagecurate`` loads neither torch nor a dataframe library.
"""

from __future__ import annotations

import importlib
from typing import Any

from imagecurate._version import __version__
from imagecurate.stages import __all__ as _stages

#: Public names, by the module that holds them.
_MODULES = {
    "imagecurate.cluster": ("get_client",),
    "imagecurate.dataset": ("ImageTextPairDataset", "concat", "read_webdataset"),
    "imagecurate.images": ("DecodePolicy",),
    "imagecurate.pipeline": ("Pipeline",),
    "imagecurate.plan.stage": ("ColumnStage", "DatasetStage", "ImageStage", "Stage"),
    "imagecurate.stages": tuple(_stages),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}

__all__ = ["__version__", "errors", *sorted(_HOMES)]


def __getattr__(name: str) -> Any:
    if name == "errors":
        return importlib.import_module("imagecurate.errors")
    if name not in _HOMES:
        raise _unknown(name)
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


def _unknown(name: str) -> Exception:
    """The error for a name that is not here; one that another tool has for ours leads to it."""
    if name[:1].isupper():
        migration = importlib.import_module("imagecurate.migration")
        if name in migration.__all__:
            errors = importlib.import_module("imagecurate.errors")
            where: Exception = errors.ParameterError.because(
                f"{name} is a name of NeMo Curator", f"from imagecurate.migration import {name}"
            )
            return where
        elsewhere: Exception | None = importlib.import_module("imagecurate.pipeline.renamed").our_name(name)
        if elsewhere is not None:
            return elsewhere
    return AttributeError(f"module 'imagecurate' has no attribute {name!r}")
