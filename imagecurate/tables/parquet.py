"""Reading parquet files by footer, row group and column."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.parquet as pq

from imagecurate.remote import StorageOptions, local_path
from imagecurate.shards.types import converted, plain_type
from imagecurate.tables.files import PARQUET, TableFile, open_stream, readable

__all__ = ["open_parquet", "pieces"]

#: Bytes and rows of a piece of a row group.
PIECE_BYTES = 8 << 20
MOST_PIECE_ROWS = 64 << 10
#: What helps where a file that is not called so is no parquet.
_FORMS = "a join reads parquet, a list of ids is .txt, .csv, .npy or parquet; write it as one of these"


@contextmanager
def open_parquet(
    file: TableFile, storage_options: StorageOptions = None, footer: pq.FileMetaData | None = None
) -> Iterator[pq.ParquetFile]:
    """Open a parquet, of which only the ranges that are read are fetched; the footer not where it is given.

    Raises
    ------
    ShardError
        It is damaged, here or where it is read, or not the file that was found.
    """
    known = {} if PARQUET in file.name.lower() else {"hint": _FORMS}
    with open_stream(file, storage_options) as stream, readable(file, **known):
        # Buffered ahead, the columns of a row group are a request or two instead of one each.
        ahead = local_path(file.url) is None
        with pq.ParquetFile(pa.PythonFile(stream, mode="r"), metadata=footer, pre_buffer=ahead) as parquet:
            yield parquet


def pieces(
    parquet: pq.ParquetFile, columns: Collection[str], groups: Iterable[int] | None = None
) -> Iterator[pa.RecordBatch]:
    """Read those of some columns that a parquet has, piece by piece, in the order of its rows.

    Parameters
    ----------
    parquet : pyarrow.parquet.ParquetFile
    columns : collection of str
    groups : iterable of int, optional
        Row groups; all by default.

    Returns
    -------
    iterator of pyarrow.RecordBatch
        Each column of its plain type: Arrow can neither filter nor take rows of views, which other libraries write.

    Notes
    -----
    Memory is the compressed columns of one row group and a piece of `PIECE_BYTES`, or somewhat more where the
    file's encodings are small beside what they stand for.
    """
    names = [name for name in parquet.schema_arrow.names if name in columns]
    footer = parquet.metadata
    paths = [footer.schema.column(place).path for place in range(footer.num_columns)]
    places = [place for place, path in enumerate(paths) if path in columns or path.partition(".")[0] in columns]
    for number in range(footer.num_row_groups) if groups is None else groups:
        group = footer.row_group(number)
        size = sum(group.column(place).total_uncompressed_size for place in places)
        rows = max(1, min(MOST_PIECE_ROWS, PIECE_BYTES * group.num_rows // max(size, 1)))
        for piece in parquet.iter_batches(rows, row_groups=[number], columns=names):
            columns_read = [converted(column, plain_type(column.type))[0] for column in piece.columns]
            yield pa.RecordBatch.from_arrays(columns_read, piece.schema.names)
