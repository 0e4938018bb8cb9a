"""Shards: finding them, what is in them, and their bytes."""

from imagecurate.shards.find import find_shards
from imagecurate.shards.index import index_shard
from imagecurate.shards.naming import IMAGE_EXTENSIONS
from imagecurate.shards.provisional import provisional_index
from imagecurate.shards.schema import InputSchema, discover_schema, stated_reading
from imagecurate.shards.shard import Shard
from imagecurate.shards.sources import ByteSource, open_shard

__all__ = [
    "IMAGE_EXTENSIONS",
    "ByteSource",
    "InputSchema",
    "Shard",
    "discover_schema",
    "find_shards",
    "index_shard",
    "open_shard",
    "provisional_index",
    "stated_reading",
]
