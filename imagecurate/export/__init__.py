"""Write curated datasets: new shards by byte copy with ledger and manifest, and metadata as parquet."""

from imagecurate.export.metadata import MetadataSummary, save_metadata
from imagecurate.export.request import check_export
from imagecurate.export.survivors import Survivors
from imagecurate.export.verify import verify
from imagecurate.export.webdataset import ExportSummary, to_webdataset

__all__ = [
    "ExportSummary",
    "MetadataSummary",
    "Survivors",
    "check_export",
    "save_metadata",
    "to_webdataset",
    "verify",
]
