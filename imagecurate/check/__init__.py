"""Looking at every shard without decoding: what is in it, what is wrong, what the files beside it promise."""

from imagecurate.check.shards import check_shards, noticed

__all__ = ["check_shards", "noticed"]
