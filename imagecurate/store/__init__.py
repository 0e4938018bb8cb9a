"""The folder where computed columns are kept, by what produced them."""

from imagecurate.store.files import ERROR, PART_ROWS, POSITION, StageFiles
from imagecurate.store.fingerprint import digest
from imagecurate.store.store import Store
from imagecurate.store.values import BlockValues, StageValues
from imagecurate.store.writing import StorePath, write_atomically

__all__ = [
    "ERROR",
    "PART_ROWS",
    "POSITION",
    "BlockValues",
    "StageFiles",
    "StageValues",
    "Store",
    "StorePath",
    "digest",
    "write_atomically",
]
