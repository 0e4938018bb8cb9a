"""Look into some of the files of a dataset for the columns that they have."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

import pyarrow as pa

from imagecurate.errors import ColumnNotFoundError, listed, near_miss
from imagecurate.remote import StorageOptions, local_path
from imagecurate.shards.documents import MOST_TEXT, parse
from imagecurate.shards.naming import split_name, without_dots
from imagecurate.shards.shard import Shard
from imagecurate.shards.sidecar import read_footer
from imagecurate.shards.sources import LocalSource, open_shard
from imagecurate.shards.tar import FILE, TarReader
from imagecurate.shards.types import common_type, json_type, plain_type

__all__ = ["Found", "look_into_json", "look_into_parquets"]

T = TypeVar("T")

#: Up to so many parquets on a disk (0.2 ms each) all footers are read, else so many (30 ms each from a store), shared
#: among the sources, but at least the first and the last of each.
MOST_LOCAL_FOOTERS = 1000
MOST_FOOTERS = 64
#: Tars of a source looked into for JSON, on a disk and elsewhere; of all sources together, if that leaves one each.
MOST_LOCAL_TARS = 4
MOST_REMOTE_TARS = 2
MOST_TARS = 64
#: Documents and members looked at in a tar, bytes of documents, and bytes fetched or unpacked for them.
MOST_DOCUMENTS = 250
MOST_MEMBERS = 10_000
MOST_SAMPLED_BYTES = 8 << 20

_REQUESTS = 16
#: What pandas calls an index without a name.
_PANDAS_INDEX = re.compile(r"__index_level_\d+__")
#: What ids are called in published data sets, for a hint.
_USUAL_IDS = ("key", "uid", "id", "__key__", "image_id", "filename")


class Found(NamedTuple):
    """The columns of one file: the parquet beside a tar, or the first JSON documents in it.

    ``is_second`` is true for JSON beside a parquet, which is asked only for what that lacks.  ``labels`` says of each
    column what stands in the file: the name of its type or, for JSON, ``nested`` or of what it is a mixture; ``""``
    where all is null.
    """

    shard: Shard
    in_json: bool
    is_second: bool
    types: Mapping[str, pa.DataType]
    labels: Mapping[str, str]

    @property
    def file(self) -> str:
        """Name of the file below its source's folder."""
        url = self.shard.url if self.in_json else self.shard.parquet_url or ""
        return self.shard.name[: self.shard.name.rfind("/") + 1] + re.split(r"[/\\]", url)[-1]


def look_into_parquets(shards: Sequence[Shard], id_col: str, storage_options: StorageOptions) -> list[Found]:
    """Read the footers of the parquets beside some tars; a damaged one is passed over.

    Raises
    ------
    ColumnNotFoundError
        A parquet has no ``id_col``.
    """
    beside = [shard for shard in shards if shard.parquet_url]
    if len(beside) > MOST_LOCAL_FOOTERS or not all(local_path(shard.parquet_url or "") for shard in beside):
        sources = _by_source(beside)
        most = max(2, MOST_FOOTERS // max(1, len(sources)))
        beside = [shard for group in sources for shard in _spaced(group, most)]
    with ThreadPoolExecutor(_REQUESTS) as threads:
        footers = list(threads.map(lambda shard: read_footer(shard.parquet_url or "", storage_options), beside))
    found = []
    for shard, footer in zip(beside, footers, strict=True):
        if footer is None:
            continue  # counted where its shard is indexed
        names = [name for name in footer.names if footer.names.count(name) == 1 and not _PANDAS_INDEX.fullmatch(name)]
        if id_col not in names:
            guess = near_miss(id_col, names) or next((name for name in _USUAL_IDS if name in names), None)
            raise ColumnNotFoundError.because(
                f"column {id_col!r}, which should equal the tar keys, is not in {shard.parquet_url!r}; it has: "
                f"{listed(names, 20)}",
                f"name the right one{f', as in id_col={guess!r}' if guess else ''}, or leave parquets aside with "
                "metadata='json'",
            )
        types = {name: plain_type(footer.field(name).type) for name in names}
        labels = {name: "" if pa.types.is_null(kind) else str(kind) for name, kind in types.items()}
        found.append(Found(shard, False, False, types, labels))
    return found


def look_into_json(shards: Sequence[Shard], storage_options: StorageOptions, *, is_second: bool) -> list[Found]:
    """Read the first documents of some tars of each source; a tar without any is left out.

    Where JSON comes second to parquets, those of a source that have none beside them are looked into, if there are any.
    """
    sources = _by_source(shards)
    chosen: list[Shard] = []
    for group in sources:
        bare = [shard for shard in group if shard.parquet_url is None] if is_second else []
        most = MOST_LOCAL_TARS if local_path(group[0].url) else MOST_REMOTE_TARS
        chosen += _spaced(bare or group, max(1, min(most, MOST_TARS // len(sources))))
    with ThreadPoolExecutor(_REQUESTS) as threads:
        samples = list(threads.map(lambda shard: _first_documents(shard, storage_options), chosen))
    return [
        _found_in(shard, documents, is_second=is_second and shard.parquet_url is not None)
        for shard, documents in zip(chosen, samples, strict=True)
        if documents
    ]


def _found_in(shard: Shard, documents: Iterable[Mapping[str, Any]], *, is_second: bool) -> Found:
    kinds: dict[str, set[pa.DataType]] = {}
    labels: dict[str, set[str]] = {}
    for document in documents:
        for name, value in document.items():
            kind = json_type(value)
            kinds.setdefault(name, set()).add(kind)
            said = labels.setdefault(name, set())
            if value is not None:
                said.add("nested" if isinstance(value, list | dict) else str(kind))
    types = {name: common_type(sorted(several, key=str)) for name, several in kinds.items()}
    # Numbers with and without a fraction are one type to JSON.
    spoken = {
        name: " and ".join(sorted(said)) if pa.types.is_string(types[name]) or not said else str(types[name])
        for name, said in labels.items()
    }
    return Found(shard, True, is_second, types, spoken)


def _first_documents(shard: Shard, storage_options: StorageOptions) -> list[dict[str, Any]]:
    documents: list[dict[str, Any]] = []
    read = 0
    with open_shard(shard, storage_options=storage_options) as source:
        most = sys.maxsize if isinstance(source, LocalSource) else MOST_SAMPLED_BYTES
        reader = TarReader(source)
        for number, member in enumerate(reader):
            if len(documents) >= MOST_DOCUMENTS or number >= MOST_MEMBERS or member.offset + member.size > most:
                break
            _, field = split_name(without_dots(member.name)) or ("", "")
            if member.kind == FILE and field.rpartition(".")[2] == "json" and member.size <= MOST_TEXT:
                document = parse(reader.read(member.offset, member.size))
                if document is not None:
                    documents.append(document)
                read += member.size
                if read > MOST_SAMPLED_BYTES:
                    break
    return documents


def _by_source(shards: Iterable[Shard]) -> list[list[Shard]]:
    groups: dict[str, list[Shard]] = {}
    for shard in shards:
        groups.setdefault(shard.source, []).append(shard)
    return list(groups.values())


def _spaced(items: Sequence[T], most: int) -> Sequence[T]:
    """Up to ``most`` items, evenly spaced, the first and the last among them.

    >>> _spaced(range(10), 4), _spaced(range(10), 1)
    ([0, 3, 6, 9], [0])
    """
    if len(items) <= most:
        return items
    return [items[round(number * (len(items) - 1) / max(1, most - 1))] for number in range(most)]
