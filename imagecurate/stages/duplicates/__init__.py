"""Deduplication on three levels: equal bytes, equal to the eye, equal in meaning."""

from imagecurate.stages.duplicates.exact import ExactDeduplicator

__all__ = ["ExactDeduplicator"]
