"""Stages: embedders that look at pictures, and predictors that look at their embeddings."""

from imagecurate.stages.classifier import EmbeddingWarning, ImageClassifier
from imagecurate.stages.embedder import ImageEmbedder
from imagecurate.stages.laion import AestheticClassifier, NsfwClassifier
from imagecurate.stages.thumbnail import ThumbnailEmbedder
from imagecurate.stages.timm_embedder import TimmImageEmbedder

__all__ = [
    "AestheticClassifier",
    "EmbeddingWarning",
    "ImageClassifier",
    "ImageEmbedder",
    "NsfwClassifier",
    "ThumbnailEmbedder",
    "TimmImageEmbedder",
]
