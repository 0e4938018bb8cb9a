"""Metadata that lies elsewhere, looked up by id."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from imagecurate.errors import ColumnNotFoundError, ParameterError, listed, near_miss
from imagecurate.remote import StorageOptions
from imagecurate.shards.types import common_type, converted
from imagecurate.store import digest
from imagecurate.tables.files import TableFile, TablePath, find_parquets
from imagecurate.tables.ids import all_valid, as_text, hashed, is_number
from imagecurate.tables.index import Index, index_schema, indexed, open_index
from imagecurate.tables.parquet import open_parquet, pieces
from imagecurate.tables.row_groups import Span, group_spans, holds_any, is_ordered, united
from imagecurate.tables.sorting import sort_rows, write_index

__all__ = ["Table"]

#: Raise it when the same files give other rows.
TABLE_VERSION = 1
#: Up to so many rows are read for one shard where row groups say where its ids are; above, an index pays.
MOST_ROWS_READ = 2_000_000
#: Footers read at a time.
_REQUESTS = 16
_PANDAS_INDEX = re.compile(r"__index_level_\d+__")


@dataclass(frozen=True)
class Table:
    """Rows of parquet files, to be looked up by id: small and picklable, since it knows the files and no rows.

    Attributes
    ----------
    files : tuple of TableFile
    on : tuple of str
        Columns of the files that together are the id.
    columns : mapping of str to (str, pyarrow.DataType)
        For each column to give its name in the files and its type.
    rows : int
        Of all files, by their footers.
    numeric : tuple of bool
        For each column of ``on``, whether it holds integers.
    spans : tuple of Span
        For each file the range of the first column of ``on``; empty where that narrows nothing down, as in a table in
        no order.
    storage_options : mapping, optional
        For fsspec; no part of what the table is.
    """

    files: tuple[TableFile, ...]
    on: tuple[str, ...]
    columns: Mapping[str, tuple[str, pa.DataType]]
    rows: int
    numeric: tuple[bool, ...]
    spans: tuple[Span, ...] = field(default=(), repr=False)
    storage_options: StorageOptions = field(default=None, repr=False, compare=False)

    @classmethod
    def open(
        cls,
        path: TablePath,
        on: str | Sequence[str],
        columns: str | Sequence[str] | Mapping[str, str] | None = None,
        *,
        storage_options: StorageOptions = None,
    ) -> Table:
        """Read the footers of a table's files.

        Parameters
        ----------
        path : str, path-like, or iterable of these
            A parquet file, a folder, a glob or brace pattern, or several of them; local or any URL that fsspec knows.
        on : str or sequence of str
            The column of the files that is the id, or several that are it together.
        columns : str, sequence of str, or mapping of str to str, optional
            Columns to give, or for each its new name: ``{"WIDTH": "laion_width"}``.  All but ``on`` by default.
        storage_options : mapping, optional
            For fsspec.

        Raises
        ------
        ParameterError
            An argument that cannot be meant so, as two columns of one name.
        ColumnNotFoundError
            The files do not have a column.
        ShardError
            Nothing was found, or a file is no parquet.

        Notes
        -----
        A column has the type that takes its values in all files, and is null for the rows of a file that lacks it.
        """
        ids = _names("on", on)
        if not ids:
            raise ParameterError.because("on names no column", "name the one that is the id, as in on='uid'")
        files = find_parquets(path, storage_options)
        with ThreadPoolExecutor(_REQUESTS) as threads:
            footers = list(threads.map(lambda file: _read_footer(file, ids, storage_options), files))
        kinds: dict[str, list[pa.DataType]] = {}
        for footer in footers:
            for name, kind in footer.kinds.items():
                kinds.setdefault(name, []).append(kind)
        numeric = tuple(any(map(is_number, kinds[name])) for name in ids)
        first = [is_number(kind) for kind in kinds[ids[0]] if not pa.types.is_null(kind)]
        ordered = all(first) == any(first) and is_ordered(span for footer in footers for span in footer.spans)
        return cls(
            files,
            ids,
            _wanted(columns, ids, {name: common_type(found) for name, found in kinds.items()}),
            sum(footer.rows for footer in footers),
            numeric,
            tuple(united(footer.spans) for footer in footers) if ordered else (),
            storage_options,
        )

    def identity(self) -> dict[str, Any]:
        """Give what the results of look-ups depend on, for fingerprints; not where the files lie."""
        return {
            "version": TABLE_VERSION,
            "files": [[file.name, file.size, file.stamp] for file in self.files],
            "on": list(self.on),
            "columns": {column: [name, str(kind)] for column, (name, kind) in self.columns.items()},
        }

    def look_up(self, ids: Sequence[pa.Array], folder: Path) -> tuple[dict[str, pa.Array], NDArray[np.bool_]]:
        """Find the row of each id.

        Ids are compared as texts; where they are integers on one side, a text matches that says the same number, so
        that 42 is ``"000000042"``.  A null matches nothing.  Of rows with the same id the first wins.

        Parameters
        ----------
        ids : sequence of pyarrow.Array
            One for each column of ``on``, of length n and any type.
        folder : Path
            Where an index is built, once, if row groups do not narrow the ids down to `MOST_ROWS_READ` rows and half
            of the table.  Indexes are named by what is in them.

        Returns
        -------
        values : dict of str to pyarrow.Array
            The columns, of length n; null where nothing matched.
        matched : array of shape (n,), bool

        Raises
        ------
        ShardError
            A file was changed or removed since the table was opened, or is damaged.
        OutputError
            There is no room for the index.
        """
        numeric = tuple(number or is_number(one.type) for number, one in zip(self.numeric, ids, strict=True))
        texts = [as_text(one, numeric=number) for one, number in zip(ids, numeric, strict=True)]
        valid = all_valid(texts)
        places = np.full(len(valid), -1, np.int64)
        values = [pa.array([], kind) for _, kind in self.columns.values()]
        if valid.any():
            texts = [text.filter(pa.array(valid)) for text in texts]
            values, places[valid] = self._index(texts[0], numeric, folder).look_up(hashed(texts))
        matched = places >= 0
        rows = pa.array(places, mask=~matched)
        return dict(zip(self.columns, (column.take(rows) for column in values), strict=True)), matched

    @functools.cached_property
    def _schema(self) -> pa.Schema:
        return index_schema([pa.field(column, kind) for column, (_, kind) in self.columns.items()])

    @functools.cached_property
    def _token(self) -> str:
        return digest(self.identity(), 32)

    def _index(self, ids: pa.Array, numeric: tuple[bool, ...], folder: Path) -> Index:
        """Give an index that answers for some ids, by the first column of ``on``: of the rows near them, or of all."""
        path = folder / f"{digest([self._token, numeric], 32)}.arrow"
        if self.spans and numeric[0] == self.numeric[0] and not path.exists():
            near = self._near(ids, number=numeric[0])
            if near is not None:
                found = [rows for part in near for rows in self._read(part, numeric, ids)]
                return Index([sort_rows(pa.concat_batches(found))] if found else [], self._schema)

        def build(path: Path) -> None:
            write_index(path, self._schema, (rows for file in self.files for rows in self._read(_Part(file), numeric)))

        return open_index(path, self._schema, build)

    def _near(self, ids: pa.Array, *, number: bool) -> list[_Part] | None:
        """Find the row groups that some ids can be in; None where these are too many."""
        most = min(self.rows // 2, MOST_ROWS_READ)
        wanted: list[Any] = ids.to_pylist()
        if number:
            wanted = [int(text) for text in wanted if re.fullmatch("-?[0-9]+", text)]
        wanted.sort()
        parts = []
        for file, span in zip(self.files, self.spans, strict=True):
            if not holds_any(span, wanted):
                continue
            with open_parquet(file, self.storage_options) as parquet:
                footer, kind = parquet.metadata, parquet.schema_arrow.field(self.on[0]).type
            spans = group_spans(footer, self.on[0], kind)
            groups = [number for number, span in enumerate(spans) if holds_any(span, wanted)]
            most -= sum(spans[number].rows for number in groups)
            if most < 0:
                return None
            parts.append(_Part(file, footer, groups))
        return parts

    def _read(self, part: _Part, numeric: tuple[bool, ...], wanted: pa.Array | None = None) -> Iterator[pa.RecordBatch]:
        """Read rows with their hashed ids; of the first column of ``on`` only those wanted, where that is given."""
        names = {*self.on, *(name for name, _ in self.columns.values())}
        with open_parquet(part.file, self.storage_options, part.footer) as parquet:
            for piece in pieces(parquet, names, part.groups):
                texts = [as_text(piece.column(name), numeric=one) for name, one in zip(self.on, numeric, strict=True)]
                kept = all_valid(texts)
                if wanted is not None:
                    kept &= pc.is_in(texts[0], value_set=wanted).to_numpy(zero_copy_only=False)
                texts = [text.filter(pa.array(kept)) for text in texts]
                piece = piece.filter(pa.array(kept))
                values = [_values(piece, name, kind) for name, kind in self.columns.values()]
                yield indexed(hashed(texts), values, self._schema)


class _Part(NamedTuple):
    """Row groups of a file; all where none are named."""

    file: TableFile
    footer: pq.FileMetaData | None = None
    groups: list[int] | None = None


class _Footer(NamedTuple):
    kinds: dict[str, pa.DataType]
    rows: int
    spans: list[Span]


def _read_footer(file: TableFile, ids: tuple[str, ...], storage_options: StorageOptions) -> _Footer:
    with open_parquet(file, storage_options) as parquet:
        schema, footer = parquet.schema_arrow, parquet.metadata
    names = [name for name in schema.names if schema.names.count(name) == 1 and not _PANDAS_INDEX.fullmatch(name)]
    for name in ids:
        if name not in names:
            raise _not_found(name, names, repr(file.url))
    kinds = {name: schema.field(name).type for name in names}
    return _Footer(kinds, footer.num_rows, group_spans(footer, ids[0], kinds[ids[0]]))


def _names(argument: str, names: Any) -> tuple[str, ...]:
    names = (names,) if isinstance(names, str) else names
    if not isinstance(names, Sequence) or not all(isinstance(name, str) and name for name in names):
        raise ParameterError(f"{argument} must be the name of a column or several, not {names!r}")
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None:
        raise ParameterError.because(f"{argument} names {repeated!r} twice", "name it once")
    return tuple(names)


def _wanted(columns: Any, ids: tuple[str, ...], kinds: Mapping[str, pa.DataType]) -> dict[str, tuple[str, pa.DataType]]:
    """Give for each column its name in the files and its type."""
    if columns is None:
        names = {name: name for name in kinds if name not in ids}
    elif isinstance(columns, Mapping):
        renamed = _names("columns", list(columns.values()))
        names = dict(zip(renamed, _names("columns", list(columns)), strict=True))
    else:
        names = {name: name for name in _names("columns", columns)}
    for name in names.values():
        if name not in kinds:
            raise _not_found(name, kinds, "the table")
    return {column: (name, _or_text(kinds[name])) for column, name in names.items()}


def _not_found(name: str, known: Sequence[str] | Mapping[str, Any], where: str) -> ColumnNotFoundError:
    guess = next((one for one in known if one.lower() == name.lower()), None) or near_miss(name, known)
    return ColumnNotFoundError.because(
        f"column {name!r} not found in {where}; it has: {listed(known, 20)}",
        f"did you mean {guess!r}?" if guess else None,
    )


def _or_text(kind: pa.DataType) -> pa.DataType:
    return pa.string() if pa.types.is_null(kind) else kind


def _values(piece: pa.RecordBatch, name: str, kind: pa.DataType) -> pa.Array:
    if name not in piece.schema.names:
        return pa.nulls(len(piece), kind)
    return converted(piece.column(name), kind)[0]
