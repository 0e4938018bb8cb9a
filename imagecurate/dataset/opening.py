"""What a dataset is opened with: shards, how each source is read, and the plan that has no steps yet."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import pyarrow as pa

from imagecurate.backend import check_backend
from imagecurate.backend.machines import connected_client
from imagecurate.columns import IDENTITY, JSON_EXTRA
from imagecurate.dataset.known_schema import schema_of
from imagecurate.errors import ImageCurateError, ParameterError, ShardError, listed
from imagecurate.frame import ShardList
from imagecurate.images import DecodePolicy
from imagecurate.plan.plan import Plan
from imagecurate.plan.shard_state import Work
from imagecurate.remote import check_options
from imagecurate.shards import InputSchema, discover_schema, find_shards, stated_reading
from imagecurate.shards.types import common_type
from imagecurate.store import Store, digest
from imagecurate.workdir import open_store

__all__ = ["DIFFERENCES", "open_shards", "reaching", "tell", "united"]

#: A logger of its own, for the command line prints what it says among the results.
DIFFERENCES = logging.getLogger("imagecurate.differences")


def open_shards(
    path: Any,
    workdir: Any,
    backend: str,
    decode_policy: DecodePolicy | None,
    storage_options: Mapping[str, Any] | None,
    shard_identity: str,
    **reading: Any,
) -> tuple[ShardList, Work]:
    """Find shards and their columns; ``reading`` goes to ``discover_schema``.

    Raises
    ------
    ParameterError, MissingDependencyError
        An argument is out of range, or the backend is not installed.
    ShardError
        Nothing is there, or it may not be read.
    """
    frames = _library(backend)
    if decode_policy is not None and not isinstance(decode_policy, DecodePolicy):
        raise ParameterError.because(
            f"decode_policy must be a DecodePolicy, but is {decode_policy!r}", "DecodePolicy(max_pixels=…)"
        )
    check_options(storage_options)
    options = dict(storage_options or {}) or None
    with reaching(path):
        shards = ShardList(find_shards(path, storage_options=options, identity=shard_identity))

    def look() -> InputSchema:
        with reaching(path):
            return discover_schema(shards, storage_options=options, **reading)

    stated = stated_reading(**reading)
    store = open_store(workdir, path, options)
    schema = schema_of(shards, store, stated, look)
    schemas = dict.fromkeys((shard.source for shard in shards), schema)
    plan = _plan(schemas, decode_policy or DecodePolicy())
    return shards, Work(plan, schemas, store, options, frames)


def _library(backend: str) -> str:
    """The library of frames that is meant: cuDF by itself only on a cluster of GPUs that this process started."""
    if backend not in ("auto", "pandas", "cudf"):
        raise ParameterError(f"backend must be 'auto', 'pandas' or 'cudf', but is {backend!r}")
    if backend == "auto":
        cluster = getattr(connected_client(), "cluster", None)
        on_gpus = type(cluster).__module__.partition(".")[0] == "dask_cuda"
        return "cudf" if on_gpus and find_spec("cudf") else "pandas"
    check_backend(backend)
    return backend


@contextmanager
def reaching(path: Any) -> Iterator[None]:
    """Name a path in what its file system says against it, as that there are no credentials.

    Raises
    ------
    ShardError
        In place of errors of file systems; those of remote ones need not be of the operating system.
    """
    try:
        yield
    except ImageCurateError:
        raise
    except Exception as error:
        if not (isinstance(error, OSError) or "://" in str(path)):
            raise
        raise ShardError(f"{path} cannot be opened: {error}") from error


def tell(differences: Iterable[str]) -> None:
    """Say in the log what differs between files or sources: once, not for each shard."""
    for sentence in differences:
        DIFFERENCES.warning("%s", sentence)


def united(parts: Iterable[tuple[ShardList, Work]], store: Store) -> tuple[ShardList, Work]:
    """Put shards that were opened apart together, each source read as it was.

    Raises
    ------
    ParameterError
        They have a source in common, or were opened with what cannot differ within a dataset.
    """
    parts = list(parts)
    works = [work for _, work in parts]
    policies = {work.plan.policy for work in works}
    if len(policies) > 1:
        raise ParameterError(f"datasets that are concatenated need one decode_policy, but have {listed(policies)}")
    images = {work.plan.images for work in works}
    if len(images) > 1:
        raise ParameterError(f"datasets that are concatenated need one images=, but have {listed(sorted(images))}")
    backends = {work.backend for work in works}
    if len(backends) > 1:
        raise ParameterError(f"datasets that are concatenated need one backend, but have {listed(sorted(backends))}")
    options = [work.storage_options for work in works if work.storage_options]
    if any(each != options[0] for each in options):
        raise ParameterError.because(
            "datasets that are concatenated need the same storage_options",
            "one set of options may hold those of several file systems, where their names differ",
        )
    schemas: dict[str, InputSchema] = {}
    for work in works:
        for source, schema in work.schemas.items():
            if source in schemas:
                raise ParameterError.because(
                    f"two of the datasets have a source named {source!r}",
                    'name them: ic.concat({"cc12m": first, "relaion": second})',
                )
            schemas[source] = schema
    shards = ShardList([shard for each, _ in parts for shard in each])
    plan = _plan(schemas, policies.pop())
    return shards, Work(plan, schemas, store, options[0] if options else None, backends.pop())


def _plan(schemas: Mapping[str, InputSchema], policy: DecodePolicy) -> Plan:
    """The plan without steps: the columns of all sources, each of the type that takes what any of them has."""
    kinds: dict[str, list[pa.DataType]] = {name: [pa.string()] for name in IDENTITY}
    for schema in schemas.values():
        for name, kind in schema.fields.items():
            kinds.setdefault(name, []).append(kind)
    if JSON_EXTRA in kinds:
        kinds[JSON_EXTRA] = kinds.pop(JSON_EXTRA)  # always the last
    inputs = pa.schema([pa.field(name, common_type(set(each))) for name, each in kinds.items()])
    readings = {source: _reading(schema) for source, schema in schemas.items()}
    first = next(iter(readings.values()))
    fingerprint = digest(first if all(each == first for each in readings.values()) else readings)
    return Plan(inputs, fingerprint, policy, images=next(iter(schemas.values())).images)


def _reading(schema: InputSchema) -> list[object]:
    """What decides the values of a column beside its name and type."""
    return [schema.metadata, schema.id_col, schema.images, schema.parquet_captions, schema.json_captions]
