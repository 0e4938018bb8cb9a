"""One schema for all shards: which columns come in, of which type, and from where."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import pyarrow as pa

from imagecurate.columns import CAPTION, JSON_EXTRA, KEY, SAMPLE_ID, SHARD, SOURCE
from imagecurate.errors import ColumnNotFoundError, ParameterError, ShardError, listed, near_miss
from imagecurate.shards.documents import MOST_TEXT, parse
from imagecurate.shards.naming import split_name, without_dots
from imagecurate.shards.remote import StorageOptions, local_path
from imagecurate.shards.shard import Shard
from imagecurate.shards.sidecar import read_footer
from imagecurate.shards.sources import open_shard
from imagecurate.shards.tar import FILE, TarReader
from imagecurate.shards.types import common_type, json_type, stated_type

__all__ = ["InputSchema", "discover_schema"]

T = TypeVar("T")

METADATA_MODES: Final = ("auto", "parquet", "json", "none")

#: Names that imagecurate writes itself; what comes in under one of them is read as ``input_<name>``.
RESERVED = frozenset(
    f"{KEY} {SAMPLE_ID} {SOURCE} {SHARD} {JSON_EXTRA} "
    "image_width image_height image_format image_error image_mode image_bit_depth image_orientation "
    "image_has_alpha image_is_animated image_is_truncated".split()
)

#: Up to so many parquets on a disk (0.2 ms each) all footers are read, else so many (30 ms each from a store).
MOST_LOCAL_FOOTERS = 1000
MOST_FOOTERS = 64
#: Shards looked into for JSON, documents looked at, and bytes of a remote shard fetched for them.
MOST_SHARDS_WITH_JSON = 8
MOST_DOCUMENTS = 1000
MOST_MEMBERS = 10_000
MOST_SAMPLED_BYTES = 8 << 20

#: What pandas calls an index without a name.
_PANDAS_INDEX = re.compile(r"__index_level_\d+__")
#: What ids are called in published data sets, for a hint.
_USUAL_IDS = ("key", "uid", "id", "__key__", "image_id", "filename")

#: Part of the identity; raised when an index of the same shards and schema comes out differently.
INDEX_VERSION = 2


@dataclass(frozen=True)
class InputSchema:
    """The columns that come with the data, the same for every shard.

    Attributes
    ----------
    fields : mapping of str to pyarrow.DataType
        Columns of an index after those that describe the tar itself, in order: ``caption`` first, ``json_extra`` last
        where JSON is read.
    names : mapping of str to str
        For each column but ``caption`` and ``json_extra`` its name in the parquet or JSON.
    json_only : tuple of str
        Names that no parquet has.
    metadata : str
        ``"auto"``, ``"parquet"``, ``"json"`` or ``"none"``.
    id_col : str
        Column of the parquet that equals the key.
    read_json : bool
        Whether JSON members are parsed at all.
    """

    fields: Mapping[str, pa.DataType]
    names: Mapping[str, str]
    json_only: tuple[str, ...] = ()
    metadata: str = "auto"
    id_col: str = KEY
    read_json: bool = False

    def identity(self) -> dict[str, Any]:
        """All that decides what an index of given bytes contains, as JSON-like values."""
        return {
            "version": INDEX_VERSION,
            "fields": [[column, str(kind), self.names.get(column)] for column, kind in self.fields.items()],
            "json_only": list(self.json_only),
            "metadata": self.metadata,
            "id_col": self.id_col,
            "read_json": self.read_json,
        }

    def wanted(self, names: Iterable[str] | None = None) -> dict[str, tuple[str, pa.DataType]]:
        """For each column its incoming name and type, ``caption`` left out; only for some incoming names if given."""
        chosen = None if names is None else set(names)
        return {
            column: (name, self.fields[column])
            for column, name in self.names.items()
            if chosen is None or name in chosen
        }


def discover_schema(
    shards: Sequence[Shard],
    *,
    id_col: str = KEY,
    metadata: str = "auto",
    schema: Mapping[str, Any] | None = None,
    storage_options: StorageOptions = None,
) -> InputSchema:
    """Find out which columns come with some shards.

    Parquet columns are known from the footers (of all shards where they are local and fewer than a thousand, else of
    64 evenly spaced ones), JSON fields from the first documents of the first shard that has any.  Types are unified
    without loss, down to text.  What a later shard has beyond that is kept in ``json_extra`` if it came from JSON.

    Parameters
    ----------
    shards : sequence of Shard
    id_col : str, default="key"
        Column of the parquet (or of the JSON) that equals the tar key.  Any other than ``"key"`` stays as a column.
    metadata : {"auto", "parquet", "json", "none"}, default="auto"
        Where columns come from: the parquet beside the tar, and JSON in it for fields that no parquet has; only one
        of the two; or captions alone.
    schema : mapping of str to type, optional
        Types that override those found, by column; a column that was not found is looked for in every shard.
    storage_options : mapping, optional
        For fsspec.

    Raises
    ------
    ParameterError
        An unknown mode or type.
    ColumnNotFoundError
        A parquet without ``id_col``.
    ShardError
        ``metadata="parquet"`` and no shard has one.
    """
    stated = _stated(schema, id_col, metadata)
    in_parquet: dict[str, pa.DataType] = {}
    in_json: dict[str, pa.DataType] = {}
    if metadata in ("auto", "parquet"):
        in_parquet = _parquet_types(shards, id_col, storage_options)
    if metadata == "parquet" and not any(shard.parquet_url for shard in shards):
        raise ShardError.because(
            f"metadata='parquet' needs a parquet beside each tar, but none of the {len(shards)} shards has one",
            "use metadata='auto', 'json' or 'none'",
        )
    if metadata in ("auto", "json"):
        in_json = _json_types(shards, storage_options)

    bare = any(shard.parquet_url is None for shard in shards)  # there JSON stands in for the parquet
    found = {name: [kind] for name, kind in in_parquet.items()}
    for name, kind in in_json.items():
        if bare or name not in in_parquet:
            found.setdefault(name, []).append(kind)
    json_only = [name for name in in_json if name not in in_parquet and name != KEY]

    names = _columns(name for name in found if name != CAPTION and (name != KEY or id_col != KEY))
    fields = {column: common_type(found[name]) for column, name in names.items()}
    for column, kind in stated.items():
        if column not in fields:
            names |= _columns([column])
            json_only.append(column)
        fields[column if column in names else f"input_{column}"] = kind
    read_json = metadata == "json" or (metadata == "auto" and bool(json_only or (bare and in_json)))
    fields = {CAPTION: pa.string(), **fields} | ({JSON_EXTRA: pa.string()} if read_json else {})
    fields = {column: pa.string() if pa.types.is_null(kind) else kind for column, kind in fields.items()}
    if id_col != KEY and metadata != "none" and id_col not in found:
        raise ColumnNotFoundError.among(id_col, found)
    return InputSchema(fields, names, tuple(json_only), metadata, id_col, read_json)


def _stated(schema: Mapping[str, Any] | None, id_col: str, metadata: str) -> dict[str, pa.DataType]:
    """Check the arguments; give the types that the user wrote."""
    if metadata not in METADATA_MODES:
        guess = near_miss(str(metadata), METADATA_MODES)
        hint = f"did you mean {guess!r}?" if guess else None
        raise ParameterError.because(f"metadata must be one of {listed(METADATA_MODES)}, not {metadata!r}", hint)
    if not isinstance(id_col, str) or not id_col:
        raise ParameterError(f"id_col must be the name of a column, not {id_col!r}")
    if schema is not None and not isinstance(schema, Mapping):
        raise ParameterError(f"schema must map column names to types, not be a {type(schema).__name__}")
    stated = {column: stated_type(column, kind) for column, kind in (schema or {}).items()}
    if stated and metadata == "none":
        raise ParameterError.because("schema names columns, but metadata='none' reads none", "leave one of them out")
    if not pa.types.is_string(stated.pop(CAPTION, pa.string())):
        raise ParameterError(f"schema: {CAPTION!r} is always a string")
    return stated


def _columns(names: Iterable[str]) -> dict[str, str]:
    """Give each incoming name a column.

    >>> _columns(["width", "source", "_x"])
    {'width': 'width', 'input_source': 'source', 'input__x': '_x'}
    >>> _columns(["source", "input_source"])
    {'input_source': 'input_source'}
    """
    names = list(names)
    free = {name: name for name in names if not _is_reserved(name)}
    return {
        column: name
        for name in names
        for column in [name if name in free else f"input_{name}"]
        if column == name or column not in free
    }


def _is_reserved(name: str) -> bool:
    return name in RESERVED or not name or name.startswith("_")


def _parquet_types(shards: Sequence[Shard], id_col: str, storage_options: StorageOptions) -> dict[str, pa.DataType]:
    """Unify the columns of the parquets beside the tars."""
    urls = [shard.parquet_url for shard in shards if shard.parquet_url]
    few = len(urls) <= MOST_LOCAL_FOOTERS and all(local_path(url) for url in urls)
    chosen = urls if few else _spaced(urls, MOST_FOOTERS)
    with ThreadPoolExecutor(16) as threads:
        footers = list(threads.map(lambda url: read_footer(url, storage_options), chosen))
    found: dict[str, list[pa.DataType]] = {}
    for url, footer in zip(chosen, footers, strict=True):
        if footer is None:
            continue  # damaged: counted where its shard is indexed
        names = [name for name in footer.names if footer.names.count(name) == 1 and not _PANDAS_INDEX.fullmatch(name)]
        if id_col not in names:
            guess = near_miss(id_col, names) or next((name for name in _USUAL_IDS if name in names), None)
            raise ColumnNotFoundError.because(
                f"column {id_col!r}, which should equal the tar keys, is not in {url!r}; it has: {listed(names, 20)}",
                f"name the right one{f', as in id_col={guess!r}' if guess else ''}, or leave parquets aside with "
                "metadata='json'",
            )
        for name in names:
            found.setdefault(name, []).append(footer.field(name).type)
    return {name: common_type(kinds) for name, kinds in found.items()}


def _json_types(shards: Sequence[Shard], storage_options: StorageOptions) -> dict[str, pa.DataType]:
    """Unify the fields of the first documents in the first shard that has any."""
    bare = [shard for shard in shards if shard.parquet_url is None]
    for shard in _spaced(bare or shards, MOST_SHARDS_WITH_JSON):
        documents = _first_documents(shard, storage_options)
        if documents:
            found: dict[str, list[pa.DataType]] = {}
            for document in documents:
                for name, value in document.items():
                    found.setdefault(name, []).append(json_type(value))
            return {name: common_type(set(kinds)) for name, kinds in found.items()}
    return {}


def _first_documents(shard: Shard, storage_options: StorageOptions) -> list[dict[str, Any]]:
    documents: list[dict[str, Any]] = []
    with open_shard(shard, storage_options=storage_options) as source:
        most = source.size if local_path(shard.url) else MOST_SAMPLED_BYTES
        reader = TarReader(source)
        for number, member in enumerate(reader):
            if len(documents) >= MOST_DOCUMENTS or number >= MOST_MEMBERS or member.offset + member.size > most:
                break
            _, field = split_name(without_dots(member.name)) or ("", "")
            if member.kind == FILE and field.rpartition(".")[2] == "json" and member.size <= MOST_TEXT:
                document = parse(reader.read(member.offset, member.size))
                if document is not None:
                    documents.append(document)
    return documents


def _spaced(items: Sequence[T], most: int) -> Sequence[T]:
    """Up to ``most`` items, evenly spaced, the first and the last among them.

    >>> _spaced(range(10), 4)
    [0, 3, 6, 9]
    """
    if len(items) <= most:
        return items
    return [items[round(number * (len(items) - 1) / (most - 1))] for number in range(most)]
