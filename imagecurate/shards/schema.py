"""One schema for all shards: which columns come in, of which type, and from where."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import pyarrow as pa

from imagecurate.columns import CAPTION, JSON_EXTRA, KEY, SAMPLE_ID, SHARD, SOURCE
from imagecurate.errors import ColumnNotFoundError, ParameterError, ShardError, listed, near_miss
from imagecurate.remote import StorageOptions
from imagecurate.shards.captions import CAPTIONS
from imagecurate.shards.differences import differences
from imagecurate.shards.discovery import Found, look_into_json, look_into_parquets
from imagecurate.shards.shard import Shard
from imagecurate.shards.sidecar import IMAGE_FIELD
from imagecurate.shards.types import common_type, settled_type, stated_type

__all__ = ["InputSchema", "discover_schema", "stated_reading"]

METADATA_MODES: Final = ("auto", "parquet", "json", "none")
IMAGE_MODES: Final = ("first", "all")

#: Names that imagecurate writes itself; what comes in under one of them is read as ``input_<name>``.
RESERVED = frozenset(
    f"{KEY} {SAMPLE_ID} {SOURCE} {SHARD} {JSON_EXTRA} "
    "image_width image_height image_format image_error image_mode image_bit_depth image_orientation "
    "image_has_alpha image_is_animated image_is_truncated".split()
)

#: What a caption is called in published data sets (LAION: ``TEXT``), in small letters.
_CAPTION_NAMES = (CAPTION, "text")

#: How alike two names are, by difflib, of which one was probably meant to be the other.
_SAME_WORD = 0.85

#: Part of the identity; raised when an index of the same shards and schema comes out differently.
INDEX_VERSION = 4


@dataclass(frozen=True)
class InputSchema:
    """The columns that come with the data, the same for every shard.

    Attributes
    ----------
    fields : mapping of str to pyarrow.DataType
        Columns of an index after those that describe the tar itself, in order: ``caption`` and ``captions`` first,
        with ``images="all"`` then ``image_field``; ``json_extra`` last where JSON is read.
    names : mapping of str to str
        For each column that has one its name in the parquet or JSON.
    json_only : tuple of str
        Names that JSON has and a parquet of the same source may lack: JSON is asked for those that it does.
    metadata : str
        ``"auto"``, ``"parquet"``, ``"json"`` or ``"none"``.
    id_col : str
        Column of the parquet that equals the key.
    read_json : bool
        Whether JSON members are parsed at all.
    images : str
        ``"first"``: one row a sample; ``"all"``: one row an image.
    parquet_captions, json_captions : tuple of str
        What the caption may be called; of those that a parquet or document has, the first counts.
    in_parquet : tuple of str
        Columns that a parquet alone answers for: the key where ids are texts, for only the tar tells how an integer is
        spelt there; the caption as long as no text or JSON says otherwise.
    differences : tuple of str
        What differs between the files that were looked at, and which stated columns they nearly have, one sentence a
        column.
    """

    fields: Mapping[str, pa.DataType]
    names: Mapping[str, str]
    json_only: tuple[str, ...] = ()
    metadata: str = "auto"
    id_col: str = KEY
    read_json: bool = False
    images: str = "first"
    parquet_captions: tuple[str, ...] = (CAPTION,)
    json_captions: tuple[str, ...] = (CAPTION,)
    in_parquet: tuple[str, ...] = field(default=(), compare=False)
    differences: tuple[str, ...] = field(default=(), compare=False)

    def identity(self) -> dict[str, Any]:
        """All that decides what an index of given bytes contains, as JSON-like values."""
        return {
            "version": INDEX_VERSION,
            "fields": [[column, str(kind), self.names.get(column)] for column, kind in self.fields.items()],
            "json_only": list(self.json_only),
            "metadata": self.metadata,
            "id_col": self.id_col,
            "read_json": self.read_json,
            "images": self.images,
            "captions": [list(self.parquet_captions), list(self.json_captions)],
        }

    def wanted(self, names: Iterable[str] | None = None) -> dict[str, tuple[str, pa.DataType]]:
        """For each column its incoming name and type; only for some incoming names if given."""
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
    images: str = "first",
    storage_options: StorageOptions = None,
) -> InputSchema:
    """Find out which columns come with some shards.

    Parquet columns are known from the footers (of all shards where they are local and fewer than a thousand, else of
    64 evenly spaced ones), JSON fields from the first documents of up to four tars of each source, evenly spaced (two
    where they are not local).  Types are unified without loss, down to text.  What a shard has beyond that is kept in
    ``json_extra`` if it came from JSON.

    Parameters
    ----------
    shards : sequence of Shard
    id_col : str, default="key"
        Column of the parquet (or of the JSON) that equals the tar key.  Any other than ``"key"`` stays as a column.
    metadata : {"auto", "parquet", "json", "none"}, default="auto"
        Where columns come from: the parquet beside the tar, and JSON in it for fields that the parquet lacks; only one
        of the two; or captions alone.
    schema : mapping of str to type, optional
        Types that override those found, by column; a column that was not found is looked for in every shard.
    images : {"first", "all"}, default="first"
        One row a sample, or one an image.
    storage_options : mapping, optional
        For fsspec.

    Raises
    ------
    ParameterError
        An unknown mode or type, or a type for a column of imagecurate's own.
    ColumnNotFoundError
        A parquet without ``id_col``.
    ShardError
        ``metadata="parquet"`` and no shard has one.
    """
    stated = _stated(schema, id_col, metadata, images)
    bare = [shard for shard in shards if shard.parquet_url is None]  # there JSON stands in for the parquet
    if metadata == "parquet" and len(bare) == len(shards):
        raise ShardError.because(
            f"metadata='parquet' needs a parquet beside each tar, but none of the {len(shards)} shards has one",
            "use metadata='auto', 'json' or 'none'",
        )
    parquets: list[Found] = []
    documents: list[Found] = []
    if metadata in ("auto", "parquet"):
        parquets = look_into_parquets(shards, id_col, storage_options)
    if metadata in ("auto", "json"):
        documents = look_into_json(shards, storage_options, is_second=metadata == "auto")
    json_only = _json_only(parquets, documents)
    found: dict[str, list[pa.DataType]] = {}
    for file in (*parquets, *documents):
        for name, kind in file.types.items():
            if not file.is_second or name in json_only:
                found.setdefault(name, []).append(kind)
    if id_col != KEY and metadata != "none" and id_col not in found:
        raise ColumnNotFoundError.among(id_col, found)

    own = {CAPTION: pa.string(), CAPTIONS: pa.list_(pa.string())}
    elsewhere = {CAPTION, KEY} if id_col == KEY else {CAPTION}
    in_parquet = {name for file in parquets for name in file.types}.difference(json_only)
    if images == "all":
        own[IMAGE_FIELD] = pa.string()
        elsewhere |= in_parquet & {IMAGE_FIELD}
    names = _columns((name for name in found if name not in elsewhere), own)
    types = {column: settled_type(common_type(found[name])) for column, name in names.items()}
    unstated = {column: (name, types[column]) for column, name in names.items() if column not in stated}
    differ = differences([*parquets, *documents], unstated, json_only)
    answers = [KEY] if all(pa.types.is_string(file.types[id_col]) for file in parquets) else []
    answers += [CAPTION] if in_parquet.intersection(_caption_names(parquets)) else []
    answers += [column for column, name in names.items() if name in in_parquet]
    answers += elsewhere & {IMAGE_FIELD}
    differ += tuple(_near_misses(stated, types))
    for column, kind in stated.items():
        if column not in types:
            names |= _columns([column], own)
            json_only.append(column)
        types[column if column in names else f"input_{column}"] = settled_type(kind)
    read_json = metadata == "json" or (metadata == "auto" and bool(json_only or (bare and documents)))
    return InputSchema(
        fields={**own, **types} | ({JSON_EXTRA: pa.string()} if read_json else {}),
        names=names,
        json_only=tuple(json_only),
        metadata=metadata,
        id_col=id_col,
        read_json=read_json,
        images=images,
        parquet_captions=_caption_names(parquets),
        json_captions=_caption_names(documents),
        in_parquet=tuple(answers) if parquets else (),
        differences=differ,
    )


def stated_reading(
    *, id_col: str = KEY, metadata: str = "auto", schema: Mapping[str, Any] | None = None, images: str = "first"
) -> dict[str, Any]:
    """Check what ``discover_schema`` is told of how to read; give it as JSON-like values.

    Raises
    ------
    ParameterError
        As ``discover_schema``.
    """
    stated = _stated(schema, id_col, metadata, images)
    types = [[column, str(kind)] for column, kind in stated.items()]
    return {"id_col": id_col, "metadata": metadata, "schema": types, "images": images}


def _json_only(parquets: Sequence[Found], documents: Sequence[Found]) -> list[str]:
    """Names that JSON has and some parquet of the same source lacks."""
    everywhere: dict[str, set[str]] = {}
    for file in parquets:
        everywhere[file.shard.source] = everywhere.get(file.shard.source, set(file.types)) & file.types.keys()
    found = [
        name
        for file in documents
        if file.is_second or file.shard.source in everywhere
        for name in file.types
        if name not in everywhere.get(file.shard.source, ()) and name != KEY
    ]
    return list(dict.fromkeys(found))


def _caption_names(files: Iterable[Found]) -> tuple[str, ...]:
    """What these files call the caption, best first: its very name before others."""
    found = dict.fromkeys(
        name
        for file in files
        for name, kind in file.types.items()
        if name.lower() in _CAPTION_NAMES and pa.types.is_string(kind) and file.labels[name] != "nested"
    )
    by_rank = sorted(found, key=lambda name: (_CAPTION_NAMES.index(name.lower()), name != name.lower()))
    return tuple(dict.fromkeys((CAPTION, *by_rank)))


def _stated(schema: Mapping[str, Any] | None, id_col: str, metadata: str, images: str) -> dict[str, pa.DataType]:
    """Check the arguments; give the types that the user wrote."""
    for parameter, value, modes in (("metadata", metadata, METADATA_MODES), ("images", images, IMAGE_MODES)):
        if value not in modes:
            guess = near_miss(str(value), modes)
            hint = f"did you mean {guess!r}?" if guess else None
            raise ParameterError.because(f"{parameter} must be one of {listed(modes)}, not {value!r}", hint)
    if not isinstance(id_col, str) or not id_col:
        raise ParameterError(f"id_col must be the name of a column, not {id_col!r}")
    if schema is not None and not isinstance(schema, Mapping):
        raise ParameterError(f"schema must map column names to types, not be a {type(schema).__name__}")
    stated = {column: stated_type(column, kind) for column, kind in (schema or {}).items()}
    if stated and metadata == "none":
        raise ParameterError.because("schema names columns, but metadata='none' reads none", "leave one of them out")
    if not pa.types.is_string(stated.pop(CAPTION, pa.string())):
        raise ParameterError(f"schema: {CAPTION!r} is always a string")
    for column in stated:
        if column in RESERVED or column == CAPTIONS or (column == IMAGE_FIELD and images == "all"):
            raise ParameterError.because(
                f"schema: {column!r} is a column that imagecurate writes itself",
                f"one that comes in under this name is called 'input_{column}'",
            )
    return stated


def _near_misses(stated: Iterable[str], found: Collection[str]) -> Iterator[str]:
    """Say of stated columns that were not found which that were found they may mean, by case or spelling."""
    known = {column.lower(): column for column in found}
    for column in stated:
        guesses = difflib.get_close_matches(column.lower(), known, n=1, cutoff=_SAME_WORD)
        if guesses and column not in found:
            guess = known[guesses[0]]
            yield f"schema= names {column!r}, which is in no file that was looked at; did you mean {guess!r}?"


def _columns(names: Iterable[str], own: Collection[str] = ()) -> dict[str, str]:
    """Give each incoming name a column.

    >>> _columns(["width", "source", "_x"])
    {'width': 'width', 'input_source': 'source', 'input__x': '_x'}
    >>> _columns(["source", "input_source"])
    {'input_source': 'input_source'}
    """
    names = list(names)
    free = {name: name for name in names if not _is_reserved(name) and name not in own}
    return {
        column: name
        for name in names
        for column in [name if name in free else f"input_{name}"]
        if column == name or column not in free
    }


def _is_reserved(name: str) -> bool:
    return name in RESERVED or not name or name.startswith("_")
