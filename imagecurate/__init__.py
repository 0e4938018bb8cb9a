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

#: Public names, by the module that holds them.
_MODULES = {
    "imagecurate.dataset": ("ImageTextPairDataset", "concat", "read_webdataset"),
    "imagecurate.images": ("DecodePolicy",),
    "imagecurate.pipeline": ("Pipeline",),
    "imagecurate.plan.stage": ("ColumnStage", "DatasetStage", "ImageStage", "Stage"),
    "imagecurate.stages": (
        "AestheticClassifier",
        "Deduplicate",
        "EmbeddingWarning",
        "ExactDeduplicator",
        "ImageClassifier",
        "ImageDigest",
        "ImageEmbedder",
        "LeakageFinder",
        "NsfwClassifier",
        "PerceptualDeduplicator",
        "PerceptualHash",
        "PixelDigest",
        "SemanticDeduplicator",
        "ThumbnailEmbedder",
        "TimmImageEmbedder",
        "find_leakage",
    ),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}

__all__ = ["__version__", "errors", *sorted(_HOMES)]


def __getattr__(name: str) -> Any:
    if name == "errors":
        return importlib.import_module("imagecurate.errors")
    if name not in _HOMES:
        raise AttributeError(f"module 'imagecurate' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
