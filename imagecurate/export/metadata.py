"""Write the columns of kept samples as parquet, one file for each input shard."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from imagecurate.errors import ColumnNotFoundError, OutputError, ParameterError
from imagecurate.export.failures import writing
from imagecurate.export.folder import Folder
from imagecurate.export.folder_at import folder_at, output_path
from imagecurate.export.occupancy import check_not_input
from imagecurate.export.spread import spread
from imagecurate.export.tables import write_parquet
from imagecurate.plan.threads import cores
from imagecurate.remote import StorageOptions
from imagecurate.store.fingerprint import digest as fingerprint_of

if TYPE_CHECKING:
    from imagecurate.export.survivors import SurvivingRows, Survivors
    from imagecurate.shards.shard import Shard

__all__ = ["MetadataSummary", "save_metadata"]

#: Key of the file's schema metadata under which it says what is in it.
_MARK = "imagecurate"


@dataclass(frozen=True)
class MetadataSummary:
    """What ``save_metadata`` wrote: the folder, the files and rows in it, and how many files were there already."""

    path: str
    files: int
    rows: int
    skipped: int


def save_metadata(
    survivors: Survivors,
    path: str | os.PathLike[str] | None,
    columns: Sequence[str] | None = None,
    *,
    threads: int | None = None,
    storage_options: StorageOptions = None,
) -> MetadataSummary:
    """Write one parquet for each input shard, named like it, with the rows that were kept.

    A file holds in its schema metadata what it was made from: run again, only files that would differ are written.

    Parameters
    ----------
    survivors : Survivors
        The samples, shard by shard.
    path : str or path
        Folder to write, local or behind a URL.  Shards of several sources lie in a folder for each source.
    columns : sequence of str, optional
        Which columns, in this order; all by default.
    threads : int, optional
        Shards in work at a time; the number of processors by default.
    storage_options : mapping, optional
        For fsspec, where ``path`` is a URL.

    Raises
    ------
    ParameterError
        No path, or no column.
    ColumnNotFoundError
        A column that is not there.
    OutputError
        A file would lie beside the input or replace one that was not written by this function, or cannot be written.
    """
    if path is None or path == "":
        raise ParameterError.because(
            "save_metadata needs a path: it never overwrites its input", 'save_metadata("out/metadata")'
        )
    chosen = _chosen(survivors.rows.columns, columns)
    several = len({shard.source for shard in survivors.shards}) > 1
    names = [f"{f'{shard.source}/' if several else ''}{shard.name}.parquet" for shard in survivors.shards]
    root = output_path(path)
    check_not_input({f"{root}/{name}".rpartition("/")[0] for name in names}, survivors.shards)
    folder = folder_at(path, storage_options)

    write = _WriteShard(survivors.rows, folder, root, tuple(chosen.items()))
    marks = (fingerprint_of([survivors.fingerprint, each.source, each.name, list(chosen)]) for each in survivors.shards)
    keep = folder.claim()
    try:
        with writing(root):
            written = list(
                spread(folder, root, threads or cores(), write, zip(survivors.shards, names, marks, strict=True))
            )
    finally:
        folder.release(keep=keep)
    return MetadataSummary(
        root, len(names), sum(rows for rows, _ in written), sum(was_there for _, was_there in written)
    )


@dataclass(frozen=True)
class _WriteShard:
    """Write the file of one input shard, unless it is there; how many rows it has, and whether it was there."""

    rows: SurvivingRows
    folder: Folder
    root: str
    columns: tuple[tuple[str, pa.DataType], ...]

    def __call__(self, item: tuple[Shard, str, str]) -> tuple[int, bool]:
        shard, name, mark = item
        rows = _rows_marked(self.folder, self.root, name, mark)
        if rows is not None:
            return rows, True
        schema = pa.schema(self.columns)
        table = self.rows.read(shard, schema.names).select(schema.names).cast(schema)
        with self.folder.create(name) as file:
            write_parquet(table, file, {_MARK: mark})
            file.commit()
        return len(table), False


def _chosen(known: Mapping[str, pa.DataType], columns: Sequence[str] | None) -> dict[str, pa.DataType]:
    if columns is None:
        return dict(known)
    if isinstance(columns, str) or not columns:
        raise ParameterError.because(
            f"columns must be a list of names, but is {columns!r}", 'columns=["key", "caption"]'
        )
    for column in columns:
        if column not in known:
            raise ColumnNotFoundError.among(column, known)
    return {column: known[column] for column in columns}


def _rows_marked(folder: Folder, root: str, name: str, mark: str) -> int | None:
    """Rows of a file that holds just what is to be written, or None where it is to be written.

    Raises
    ------
    OutputError
        There is a file that somebody else wrote.
    """
    if folder.size(name) is None:
        return None
    found = None
    try:
        with folder.open(name) as file:
            footer = pq.read_metadata(file)
        found = (footer.metadata or {}).get(_MARK.encode())
    except pa.ArrowInvalid:  # no parquet at all
        pass
    if found is None:
        raise OutputError.because(
            f"{root}/{name} exists and was not written by save_metadata", "name another folder, or remove the file"
        )
    return footer.num_rows if found.decode() == mark else None
