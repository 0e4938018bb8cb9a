"""What differs between the files of a dataset and between its sources, one sentence a column."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import pyarrow as pa

from imagecurate.errors import listed
from imagecurate.shards.discovery import Found
from imagecurate.shards.types import common_type

__all__ = ["between_sources", "differences"]

_MOST_FILES = 3
_MOST_COLUMNS = 20
_MOST_TYPE = 60


def differences(
    found: Sequence[Found], columns: Mapping[str, tuple[str, pa.DataType]], json_only: Collection[str]
) -> tuple[str, ...]:
    """Say of which columns the types differ between files, which some files lack, and which were nested in JSON.

    A column that no file of a source has is not missing there: sources are what they are.

    Parameters
    ----------
    found : sequence of Found
        The files looked at.  JSON that comes second counts only for ``json_only``.
    columns : mapping
        For each column its name in the files and the type it is read as.
    json_only : collection of str
        Names that JSON has and a parquet beside it may lack; the parquet is not blamed.
    """
    several = len({file.shard.source for file in found}) > 1
    called = {id(file): f"{file.shard.source}/{file.file}" if several else file.file for file in found}
    sentences = []
    for column, (name, kind) in columns.items():
        having = {file.shard.source for file in found if name in file.types}
        looked = [file for file in found if file.shard.source in having and _counts(file, name, json_only)]
        labels: dict[str, list[str]] = {}
        for file in looked:
            labels.setdefault(file.labels.get(name, "missing"), []).append(called[id(file)])
        labels.pop("", None)  # null says nothing
        if set(labels) == {"nested"}:
            sentences.append(f"column {column!r}: nested in the JSON, kept as JSON text")
        elif len(labels) > 1 or any(" and " in label for label in labels):
            sentences.append(f"column {column!r}: {_groups(labels, looked)}; read as {_short(str(kind))}")
    return _cut(sentences, "files")


def between_sources(columns: Mapping[str, Mapping[str, pa.DataType]]) -> tuple[str, ...]:
    """Say of which columns the types differ between sources that are read each in its own way.

    Parameters
    ----------
    columns : mapping of str to mapping
        For each source its columns and their types.

    Examples
    --------
    >>> between_sources({"a": {"n": pa.int64(), "x": pa.int8()}, "b": {"n": pa.float32()}})
    ("column 'n': int64 in a, float in b; read as double",)
    """
    kinds: dict[str, dict[pa.DataType, list[str]]] = {}
    for source, types in columns.items():
        for column, kind in types.items():
            kinds.setdefault(column, {}).setdefault(kind, []).append(source)
    sentences = []
    for column, found in kinds.items():
        if len(found) > 1:
            parts = [f"{_short(str(kind))} in {listed(sources, _MOST_FILES)}" for kind, sources in found.items()]
            sentences.append(f"column {column!r}: {', '.join(parts)}; read as {_short(str(common_type(found)))}")
    return _cut(sentences, "sources")


def _cut(sentences: list[str], of: str) -> tuple[str, ...]:
    if len(sentences) > _MOST_COLUMNS:
        sentences[_MOST_COLUMNS:] = [f"{len(sentences) - _MOST_COLUMNS} more columns differ between {of}"]
    return tuple(sentences)


def _counts(file: Found, name: str, json_only: Collection[str]) -> bool:
    if file.is_second:
        return name in json_only
    return file.in_json or name not in json_only or name in file.types


def _groups(labels: Mapping[str, list[str]], looked: Sequence[Found]) -> str:
    """Name the files of each group but the largest, of which only the size."""
    mediums = {file.in_json for file in looked}
    noun = "files" if len(mediums) > 1 else "tars" if True in mediums else "parquets"
    first, *rest = sorted(labels, key=lambda label: (label == "missing", -len(labels[label])))
    parts = [f"{_short(first)} in {len(labels[first])} of {len(looked)} {noun}"]
    parts += [f"{_short(label)} in {listed(labels[label], _MOST_FILES)}" for label in rest]
    return ", ".join(parts)


def _short(kind: str) -> str:
    return kind if len(kind) <= _MOST_TYPE else f"{kind[:_MOST_TYPE]}…"
