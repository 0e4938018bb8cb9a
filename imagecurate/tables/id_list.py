"""Lists of ids: what to drop, or what to keep."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from imagecurate.errors import ColumnNotFoundError
from imagecurate.remote import StorageOptions
from imagecurate.tables.files import find_parquets
from imagecurate.tables.id_files import READERS, extension_of
from imagecurate.tables.id_sources import IdFile, IdsGiven
from imagecurate.tables.parquet import open_parquet
from imagecurate.tables.table import Table

__all__ = ["IdList"]

#: Raise it when the same list holds other ids.
LIST_VERSION = 1


@dataclass(frozen=True)
class IdList:
    """A list of ids: small and picklable, since it knows where they are and not which.

    Attributes
    ----------
    on : str
        The column of ids.
    ids : Table, IdFile or IdsGiven
        Where they are: in parquet files, in another file, or in the store.
    """

    on: str
    ids: Table | IdFile | IdsGiven

    @classmethod
    def open(cls, ids: Any, on: str, folder: Path, *, storage_options: StorageOptions = None) -> IdList:
        """Take a list of ids.

        Parameters
        ----------
        ids : path, iterable, array or series
            Texts or integers: a Python iterable, a NumPy array (also of pairs ``u8,u8``), a pandas Series or Index, a
            pyarrow array, a column of a dataset's metadata.  Or where they are: a ``.txt`` file of one id a line, a
            ``.npy``, a ``.csv`` with a header, or parquet files as `Table.open` takes them; of CSV and parquet the
            column ``on`` is read, of a parquet also the only column.
        on : str
            The column of ids.
        folder : Path
            Where ids that are no file are kept at once, by what they are: the same ids in another order, or repeated,
            are the same list.
        storage_options : mapping, optional
            For fsspec.

        Raises
        ------
        ParameterError
            These are no ids.
        ColumnNotFoundError
            A CSV has no such column, or a parquet neither that nor only one.
        ShardError
            A file is not there, or damaged.
        OutputError
            ``folder`` cannot be written.
        """
        if not isinstance(ids, str | os.PathLike):
            return cls(on, IdsGiven.keep(ids, folder))
        path = os.fspath(ids)
        if extension_of(path) in READERS:
            return cls(on, IdFile.open(path, on, storage_options))
        return cls(on, _open_table(path, on, storage_options))

    def identity(self) -> dict[str, Any]:
        """Give what the list holds, for fingerprints; not where it lies."""
        return {"list": LIST_VERSION, **self.ids.identity()}

    def contains(self, ids: pa.Array, folder: Path) -> NDArray[np.bool_]:
        """Tell which of some ids are on the list; null is not.

        Ids are compared as `Table.look_up` does.

        Parameters
        ----------
        ids : pyarrow.Array
            Of length n and any type.
        folder : Path
            The one that the list was opened with; where an index of a file is built, once.

        Returns
        -------
        array of shape (n,), bool

        Raises
        ------
        ShardError
            A file was changed or removed since the list was opened, or is damaged.
        OutputError
            There is no room for the index.
        """
        return self.ids.look_up([ids], folder)[1] if isinstance(self.ids, Table) else self.ids.contains(ids, folder)


def _open_table(path: str, on: str, storage_options: StorageOptions) -> Table:
    try:
        return Table.open(path, on, [], storage_options=storage_options)
    except ColumnNotFoundError:
        with open_parquet(find_parquets(path, storage_options)[0], storage_options) as parquet:
            names = parquet.schema_arrow.names
        if len(names) != 1:
            raise
        return Table.open(path, names[0], [], storage_options=storage_options)
