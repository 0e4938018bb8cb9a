"""Stages: embedders and hashes that look at pictures, predictors that look at embeddings, and deduplicators.

The one list of their names: ``imagecurate`` offers these, and a pipeline may name those of them that it can hold.  Each
is imported when it is first used, so that the list itself costs nothing.
"""

from __future__ import annotations

import importlib
from typing import Any

#: Public names, by the module of this package that holds them.
_MODULES = {
    "classifier": ("EmbeddingWarning", "ImageClassifier"),
    "duplicates": (
        "Deduplicate",
        "ExactDeduplicator",
        "LeakageFinder",
        "PerceptualDeduplicator",
        "SemanticDeduplicator",
        "find_leakage",
    ),
    "embedder": ("ImageEmbedder",),
    "image_digest": ("ImageDigest", "PixelDigest"),
    "laion": ("AestheticClassifier", "NsfwClassifier"),
    "perceptual_hash": ("PerceptualHash",),
    "thumbnail": ("ThumbnailEmbedder",),
    "timm_embedder": ("TimmImageEmbedder",),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'imagecurate.stages' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"imagecurate.stages.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
