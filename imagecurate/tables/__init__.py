"""Tables and lists that lie beside the shards: metadata and ids, looked up for the rows of one shard at a time."""

from imagecurate.tables.files import TableFile
from imagecurate.tables.id_list import IdList
from imagecurate.tables.table import Table

__all__ = ["IdList", "Table", "TableFile"]
