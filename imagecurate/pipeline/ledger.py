"""Reading the ledger of an export, a piece at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from imagecurate.errors import OutputError, ShardError
from imagecurate.tables.files import find_parquets
from imagecurate.tables.parquet import open_parquet

__all__ = ["ledger_rows", "ledger_sums"]


def ledger_sums(output: str) -> Counter[tuple[str, str]]:
    """Count the samples of each status and reason; the reason of those that were kept is "".

    Raises
    ------
    OutputError
        There is no ledger.
    """
    sums: Counter[tuple[str, str]] = Counter()
    for rows in _pieces(output, ["status", "reason"]):
        counted = rows.group_by(["status", "reason"]).aggregate([([], "count_all")])
        for row in counted.to_pylist():
            sums[row["status"], row["reason"] or ""] += row["count_all"]
    return sums


def ledger_rows(
    output: str, statuses: Sequence[str], chosen: Mapping[str, str], limit: int | None
) -> tuple[list[dict[str, Any]], int]:
    """Give rows of the ledger, and how many there are in all.

    Parameters
    ----------
    output : str
        An output folder.
    statuses : sequence of str
        ``"kept"``, ``"dropped"``, ``"failed"``; all where it is empty.
    chosen : mapping of str to str
        Values that columns must have.
    limit : int or None
        Rows to give at most.

    Raises
    ------
    OutputError
        There is no ledger.
    """
    found: list[dict[str, Any]] = []
    count = 0
    for rows in _pieces(output):
        fits = pc.is_in(rows["status"], pa.array(statuses, pa.string())) if statuses else None
        for column, value in chosen.items():
            equal = pc.fill_null(pc.equal(rows[column], value), False)
            fits = equal if fits is None else pc.and_(fits, equal)
        rows = rows if fits is None else rows.filter(fits)
        count += len(rows)
        left = len(rows) if limit is None else limit - len(found)
        found += rows.slice(0, max(left, 0)).to_pylist()
    return found, count


def _pieces(output: str, columns: list[str] | None = None) -> Iterator[pa.Table]:
    """The rows, a row group at a time."""
    try:
        files = find_parquets(f"{output.rstrip('/')}/ledger")
    except ShardError as error:
        raise OutputError.because(
            f"there is no ledger in {output!r}", "name the output folder of a run; its ledger comes with the export"
        ) from error
    for file in files:
        with open_parquet(file, None) as parquet:
            for number in range(parquet.num_row_groups):
                yield parquet.read_row_group(number, columns=columns)
