"""The columns that were found in some shards, kept in the store: opening them again looks into no file."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import pyarrow as pa

from imagecurate.errors import OutputError
from imagecurate.shards import InputSchema, Shard
from imagecurate.shards.schema import INDEX_VERSION
from imagecurate.store import Store, digest, write_atomically

__all__ = ["schema_of"]

#: Raised when other columns, or other sentences about them, are found in the same shards.
_VERSION: Final = 1
#: Key of the Arrow schema's metadata under which all but the columns is kept.
_BESIDES = b"imagecurate.schema"
_FIELDS = [each.name for each in dataclasses.fields(InputSchema)]
#: Bytes in front of a file that tell whether the rest is what was written.
_DIGEST = 16


def schema_of(
    shards: Sequence[Shard], store: Store, reading: Mapping[str, Any], look: Callable[[], InputSchema]
) -> InputSchema:
    """Give the columns that were found in some shards before, or look into them and keep what is found.

    It holds as long as no tar and no parquet beside one changes, comes or goes.

    Parameters
    ----------
    shards : sequence of Shard
    store : Store
    reading : mapping
        How they are read, as ``stated_reading`` gives it.
    look : callable
        Looks into the shards.
    """
    seen = "\0".join(
        f"{each.source}\0{each.name}\0{each.size}\0{each.stamp}\0{each.parquet_stamp}\0{'://' in each.url}"
        for each in shards
    )
    path = store.schema(digest([_VERSION, INDEX_VERSION, _FIELDS, reading, seen]))
    with suppress(FileNotFoundError):
        written = path.read_bytes()
        if _digest(written[_DIGEST:]) == written[:_DIGEST]:  # else it was cut off by a power loss
            return _read(written[_DIGEST:])
    schema = look()
    written = _written(schema)
    with suppress(OutputError):  # a store that is only read, or is full, says so when something has to be kept
        write_atomically(path, lambda temporary: temporary.write_bytes(_digest(written) + written))
    return schema


def _digest(written: bytes) -> bytes:
    return hashlib.blake2b(written, digest_size=_DIGEST).digest()


def _written(schema: InputSchema) -> bytes:
    besides = {name: getattr(schema, name) for name in _FIELDS if name != "fields"}
    columns = pa.schema(list(schema.fields.items()), {_BESIDES: json.dumps(besides)})
    written: bytes = columns.serialize().to_pybytes()
    return written


def _read(written: bytes) -> InputSchema:
    columns = pa.ipc.read_schema(pa.BufferReader(written))
    besides: dict[str, Any] = json.loads(columns.metadata[_BESIDES])
    besides |= {name: tuple(value) for name, value in besides.items() if isinstance(value, list)}
    return InputSchema(fields={each.name: each.type for each in columns}, **besides)
