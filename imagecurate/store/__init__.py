"""The folder where computed columns are kept, by what produced them."""

from imagecurate.store.files import ERROR, PART_ROWS, POSITION, StageFiles, Store, write_atomically
from imagecurate.store.fingerprint import digest
from imagecurate.store.values import BlockValues, StageValues

__all__ = [
    "ERROR",
    "PART_ROWS",
    "POSITION",
    "BlockValues",
    "StageFiles",
    "StageValues",
    "Store",
    "digest",
    "write_atomically",
]
