"""Samples drawn from the ledger of an output folder, which has a row for every sample that came in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from imagecurate.explore.report.collect import EXAMPLES, examples_of
from imagecurate.explore.report.fates import KEPT, Fate
from imagecurate.explore.report.picks import drawn, lowest, picks
from imagecurate.remote import StorageOptions
from imagecurate.tables.files import TableFile
from imagecurate.tables.parquet import open_parquet

__all__ = ["examples_in"]

#: One piece of a ledger: number of its file, and of the row group.
_Piece = tuple[int, int]


def examples_in(files: tuple[TableFile, ...], options: StorageOptions = None) -> dict[Fate, list[dict[str, Any]]]:
    """Draw samples of every fate but that of the kept, in two passes: the second reads only where some were drawn.

    Parameters
    ----------
    files : tuple of TableFile
        The ledger, in order.
    options : mapping, optional
        For fsspec.
    """
    found: dict[Fate, np.ndarray[Any, Any]] = {}
    pieces: list[_Piece] = []
    for piece, rows in _pieces(files, ["status", "reason"], options):
        number = len(pieces)
        pieces.append(piece)
        luck = drawn(number, "ledger", len(rows))
        coded = _fates(rows).dictionary_encode()
        codes = coded.indices.to_numpy()
        here = {}
        for code, name in enumerate(coded.dictionary.to_pylist()):
            status, _, reason = name.partition("\0")
            if status != KEPT[0]:
                where = np.flatnonzero(codes == code)
                here[status, reason] = lowest(picks(number, where, luck[where]), EXAMPLES)
        found = examples_of([found, here])
    wanted: dict[int, list[tuple[Fate, int]]] = {}
    for fate, some in found.items():
        for number, row in zip(some["shard"].tolist(), some["row"].tolist(), strict=True):
            wanted.setdefault(number, []).append((fate, row))
    read: dict[Fate, list[dict[str, Any]]] = {fate: [] for fate in found}
    for number in sorted(wanted):
        file, group = pieces[number]
        with open_parquet(files[file], options) as parquet:
            rows = parquet.read_row_group(group)
        for fate, row in wanted[number]:
            read[fate] += rows.slice(row, 1).to_pylist()
    return read


def _pieces(
    files: tuple[TableFile, ...], columns: list[str], options: StorageOptions
) -> Iterator[tuple[_Piece, pa.Table]]:
    for number, file in enumerate(files):
        with open_parquet(file, options) as parquet:
            for group in range(parquet.num_row_groups):
                yield (number, group), parquet.read_row_group(group, columns=columns)


def _fates(rows: pa.Table) -> pa.Array:
    """Status and reason in one text."""
    joined = pc.binary_join_element_wise(rows["status"], pc.fill_null(rows["reason"], ""), "\0")
    return joined.combine_chunks()
