"""Stages: embedders and digests that look at pictures, predictors that look at embeddings, and deduplicators."""

from imagecurate.stages.classifier import EmbeddingWarning, ImageClassifier
from imagecurate.stages.duplicates import ExactDeduplicator
from imagecurate.stages.embedder import ImageEmbedder
from imagecurate.stages.image_digest import ImageDigest, PixelDigest
from imagecurate.stages.laion import AestheticClassifier, NsfwClassifier
from imagecurate.stages.thumbnail import ThumbnailEmbedder
from imagecurate.stages.timm_embedder import TimmImageEmbedder

__all__ = [
    "AestheticClassifier",
    "EmbeddingWarning",
    "ExactDeduplicator",
    "ImageClassifier",
    "ImageDigest",
    "ImageEmbedder",
    "NsfwClassifier",
    "PixelDigest",
    "ThumbnailEmbedder",
    "TimmImageEmbedder",
]
