"""A whole curation as a file."""

from imagecurate.pipeline.pipeline import ExportOptions, Pipeline
from imagecurate.pipeline.steps import installed_stages

__all__ = ["ExportOptions", "Pipeline", "installed_stages"]
