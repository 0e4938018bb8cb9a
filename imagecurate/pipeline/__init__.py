"""A whole curation as a file."""

from imagecurate.pipeline.pipeline import ExportOptions, Pipeline
from imagecurate.pipeline.steps import DropDuplicates, Exclude, Filter, Include, Join, WithColumn
from imagecurate.stages.installed import installed_stages

__all__ = [
    "DropDuplicates",
    "Exclude",
    "ExportOptions",
    "Filter",
    "Include",
    "Join",
    "Pipeline",
    "WithColumn",
    "installed_stages",
]
