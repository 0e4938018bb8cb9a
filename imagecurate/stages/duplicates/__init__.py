"""Deduplication on three levels: equal bytes, equal to the eye, equal in meaning."""

from imagecurate.stages.duplicates.cascade import Deduplicate
from imagecurate.stages.duplicates.exact import ExactDeduplicator
from imagecurate.stages.duplicates.leakage import LeakageFinder, find_leakage
from imagecurate.stages.duplicates.perceptual import PerceptualDeduplicator
from imagecurate.stages.duplicates.semantic import SemanticDeduplicator

__all__ = [
    "Deduplicate",
    "ExactDeduplicator",
    "LeakageFinder",
    "PerceptualDeduplicator",
    "SemanticDeduplicator",
    "find_leakage",
]
