"""The columns that were found in some shards, kept in the store: opening them again looks into no file."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

import pyarrow as pa

from imagecurate.errors import OutputError
from imagecurate.remote import StorageOptions
from imagecurate.shards import InputSchema, Shard, discover_schema
from imagecurate.shards.schema import INDEX_VERSION
from imagecurate.store import Store, digest, write_atomically

__all__ = ["schema_of"]

#: Raised when other columns, or other sentences about them, are found in the same shards.
_VERSION: Final = 1
#: Key of the Arrow schema's metadata under which all but the columns is kept.
_BESIDES = b"imagecurate.schema"


def schema_of(
    shards: Sequence[Shard], store: Store, *, storage_options: StorageOptions = None, **reading: Any
) -> InputSchema:
    """Give what ``discover_schema`` finds in some shards, from the store where it was found before.

    It holds as long as no tar and no parquet beside one changes, comes or goes; ``reading`` is that of
    ``discover_schema``, whose errors these are.
    """
    seen = [[each.source, each.name, each.size, each.stamp, each.parquet_stamp] for each in shards]
    path = store.schema(digest([_VERSION, INDEX_VERSION, repr(sorted(reading.items())), seen]))
    with suppress(FileNotFoundError, pa.ArrowInvalid):  # not there yet, or cut off by a power loss
        return _read(path.read_bytes())
    schema = discover_schema(shards, storage_options=storage_options, **reading)
    with suppress(OutputError):  # a store that is only read, or is full, says so when something has to be kept
        write_atomically(path, lambda temporary: temporary.write_bytes(_written(schema)))
    return schema


def _written(schema: InputSchema) -> bytes:
    besides = {each.name: getattr(schema, each.name) for each in dataclasses.fields(schema) if each.name != "fields"}
    columns = pa.schema(list(schema.fields.items()), {_BESIDES: json.dumps(besides)})
    written: bytes = columns.serialize().to_pybytes()
    return written


def _read(written: bytes) -> InputSchema:
    columns = pa.ipc.read_schema(pa.BufferReader(written))
    besides: dict[str, Any] = json.loads(columns.metadata[_BESIDES])
    besides |= {name: tuple(value) for name, value in besides.items() if isinstance(value, list)}
    return InputSchema(fields={each.name: each.type for each in columns}, **besides)
