"""Stages: embedders and hashes that look at pictures, predictors that look at embeddings, and deduplicators."""

from imagecurate.stages.classifier import EmbeddingWarning, ImageClassifier
from imagecurate.stages.duplicates import (
    Deduplicate,
    ExactDeduplicator,
    LeakageFinder,
    PerceptualDeduplicator,
    SemanticDeduplicator,
    find_leakage,
)
from imagecurate.stages.embedder import ImageEmbedder
from imagecurate.stages.image_digest import ImageDigest, PixelDigest
from imagecurate.stages.laion import AestheticClassifier, NsfwClassifier
from imagecurate.stages.perceptual_hash import PerceptualHash
from imagecurate.stages.thumbnail import ThumbnailEmbedder
from imagecurate.stages.timm_embedder import TimmImageEmbedder

__all__ = [
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
]
