"""Columns from the JSON members of a shard."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from imagecurate.columns import CAPTION
from imagecurate.shards.types import column_of, json_text

__all__ = ["MOST_TEXT", "Documents", "parse"]

#: A caption or JSON is read up to here: a header may promise any size.
MOST_TEXT = 16 << 20
#: Documents kept as Python objects before they become Arrow: bounds memory, costs nothing in speed.
_BLOCK = 4096


def parse(data: bytes) -> dict[str, Any] | None:
    """Read a JSON object; None for what is none."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


class Documents:
    """Collects the documents of a shard in the order of their members and gives columns in the order of its rows.

    Parameters
    ----------
    columns : mapping
        For each wanted column its name in the documents and its type.
    captions : sequence of str
        Names that a caption may have in the documents; of those that one has the first counts.  Where there are any,
        the column ``caption`` is given too.
    expected : collection of str
        Further names that are accounted for elsewhere.  All other names, and values that do not fit their column, go
        to ``json_extra``.

    Attributes
    ----------
    damaged : int
        Members that hold no JSON object.
    misfits : int
        Values that did not fit their column.
    """

    def __init__(
        self,
        columns: Mapping[str, tuple[str, pa.DataType]],
        captions: Sequence[str] = (),
        expected: Collection[str] = (),
    ) -> None:
        self.damaged = 0
        self.misfits = 0
        self._columns: dict[str, tuple[Sequence[str], pa.DataType]] = {
            column: ((name,), kind) for column, (name, kind) in columns.items()
        }
        if captions:
            self._columns[CAPTION] = (captions, pa.string())
        self._known = {name for names, _ in self._columns.values() for name in names} | set(expected)
        self._number_of: dict[int, int] = {}  # row to document
        self._count = 0
        self._waiting: list[dict[str, Any]] = []
        self._flushing = 0
        self._lists: dict[int, list[str]] = {}  # of documents whose caption is a list
        self._chunks: dict[str, list[pa.Array]] = {column: [] for column in self._columns}
        self._extra: list[pa.Array] = []

    def add(self, row: int, data: bytes, *, preferred: bool = True) -> dict[str, Any] | None:
        """Take the document of a row and give it; None where it is no JSON object.

        Of several documents in a row the preferred one counts, else the first.
        """
        document = parse(data)
        if document is None:
            self.damaged += 1
            return None
        if preferred or row not in self._number_of:
            self._number_of[row] = self._count
        self._count += 1
        self._waiting.append(document)
        if len(self._waiting) >= _BLOCK:
            self._flush()
        return document

    def columns(self, count: int) -> tuple[dict[str, pa.Array], pa.Array]:
        """Give the wanted columns and ``json_extra`` for ``count`` rows, null where a row has no document."""
        self._flush()
        where = pa.array([self._number_of.get(row) for row in range(count)], pa.int64())
        found = {}
        for column in self._columns:
            found[column] = pa.concat_arrays(self._chunks[column]).take(where)
        return found, pa.concat_arrays(self._extra).take(where)

    def further_captions(self) -> Iterator[tuple[int, list[str]]]:
        """Give the rows whose caption is a list, each with all that it lists."""
        return ((row, self._lists[number]) for row, number in self._number_of.items() if number in self._lists)

    def _first_caption(self, number: int, value: Any) -> Any:
        """The first text of a caption that is a list of texts; the list is kept apart."""
        if not isinstance(value, list) or not value or not all(isinstance(text, str) for text in value):
            return value
        self._lists[self._count - self._flushing + number] = value
        return value[0]

    def _flush(self) -> None:
        documents, self._waiting = self._waiting, []
        self._flushing = len(documents)
        extras: dict[int, dict[str, Any]] = {}
        known = self._known
        for number, document in enumerate(documents):
            if not document.keys() <= known:
                extras[number] = {name: value for name, value in document.items() if name not in known}
        for column, (names, kind) in self._columns.items():
            name = names[0]
            if len(names) == 1:
                values = [document.get(name) for document in documents]
            else:
                given = ((document.get(each) for each in names) for document in documents)
                values = [next((value for value in each if value is not None), None) for each in given]
            if column == CAPTION:
                values = [self._first_caption(number, value) for number, value in enumerate(values)]
            chunk, misfits = column_of(values, kind)
            self._chunks[column].append(chunk)
            self.misfits += len(misfits)
            for number in misfits:
                extras.setdefault(number, {})[name] = values[number]
        texts = [json_text(extras[number]) if number in extras else None for number in range(len(documents))]
        self._extra.append(pa.array(texts, pa.string()))
