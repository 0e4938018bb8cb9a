"""The dataset itself: what users call."""

from imagecurate.dataset.concat import concat
from imagecurate.dataset.dataset import ImageTextPairDataset, read_webdataset

__all__ = ["ImageTextPairDataset", "concat", "read_webdataset"]
