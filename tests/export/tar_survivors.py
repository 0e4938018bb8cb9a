"""A dataset as the export sees it, made from tars by the standard library alone."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from imagecurate.shards.shard import Shard
from imagecurate.shards.sources import ByteSource, open_shard

VECTOR = pa.list_(pa.float32())

COLUMNS: dict[str, pa.DataType] = {
    "sample_id": pa.string(),
    "key": pa.string(),
    "source": pa.string(),
    "shard": pa.string(),
    "caption": pa.string(),
    "image_embedding": VECTOR,
    "score": pa.float32(),
}


def split(name: str) -> tuple[str, str]:
    """Key and field of a member: the key ends at the first dot of the base name."""
    dot = name.index(".", name.rfind("/") + 1)
    return name[:dot], name[dot + 1 :]


@dataclass
class TarSurvivors:
    """Samples of some tars that ``keep`` (source, shard, key) says to keep."""

    paths: Sequence[tuple[str, str, Path]]
    keep: Callable[[str, str, str], bool] = lambda source, shard, key: True
    columns: Mapping[str, pa.DataType] = field(default_factory=lambda: dict(COLUMNS))
    asked: list[tuple[int, tuple[str, ...]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.shards = [
            Shard(source, name, str(path), path.stat().st_size, "", None, "") for source, name, path in self.paths
        ]
        self._samples = [self._index(shard) for shard in self.shards]

    @classmethod
    def of(cls, folder: Path, **kwargs: object) -> TarSurvivors:
        """All tars of a folder, as one source."""
        tars = sorted(folder.glob("*.tar"))
        return cls([("default", path.stem, path) for path in tars], **kwargs)  # type: ignore[arg-type]

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(repr([self.kept(number) for number in range(len(self.shards))]).encode()).hexdigest()

    def kept(self, number: int) -> list[str]:
        """Keys that are kept of a shard."""
        shard = self.shards[number]
        return [key for key in self._samples[number] if self.keep(shard.source, shard.name, key)]

    def rows(self, number: int, columns: Sequence[str]) -> pa.Table:
        self.asked.append((number, tuple(columns)))
        shard, keys = self.shards[number], self.kept(number)
        every = list(self._samples[number])
        made = {
            "sample_id": [f"{shard.source}/{shard.name}/{every.index(key)}" for key in keys],
            "key": keys,
            "source": [shard.source] * len(keys),
            "shard": [shard.name] * len(keys),
            "caption": [f"caption of {key}" for key in keys],
            "image_embedding": [[float(number), float(place)] for place in range(len(keys))],
            "score": [place / 4 for place in range(len(keys))],
            "_members": [self._samples[number][key] for key in keys],
        }
        members = pa.list_(
            pa.struct(
                {
                    "name": pa.string(),
                    "start": pa.int64(),
                    "offset": pa.int64(),
                    "size": pa.int64(),
                    "verbatim": pa.bool_(),
                }
            )
        )
        types = dict(self.columns) | {"_members": members}
        return pa.table({name: pa.array(made.get(name, [None] * len(keys)), types[name]) for name in columns})

    def ledger(self, number: int) -> pa.Table:
        shard, kept = self.shards[number], set(self.kept(number))
        rows = [
            {
                "sample_id": f"{shard.source}/{shard.name}/{place}",
                "source": shard.source,
                "shard": shard.name,
                "key": key,
                "status": "kept" if key in kept else "dropped",
                "reason": None if key in kept else "test",
                "detail": None,
            }
            for place, key in enumerate(self._samples[number])
        ]
        names = ("sample_id", "source", "shard", "key", "status", "reason", "detail")
        return pa.Table.from_pylist(rows, pa.schema([(name, pa.string()) for name in names]))

    def open(self, number: int) -> ByteSource:
        return open_shard(self.shards[number])

    @staticmethod
    def _index(shard: Shard) -> dict[str, list[dict[str, object]]]:
        samples: dict[str, list[dict[str, object]]] = {}
        with tarfile.open(shard.url) as tar:
            for member in tar:
                data = tar.getmember(member.linkname) if member.islnk() else member
                key, _ = split(member.name)
                samples.setdefault(key, []).append(
                    {
                        "name": member.name,
                        "start": member.offset,
                        "offset": data.offset_data,
                        "size": data.size,
                        "verbatim": member.isreg() and not tar.pax_headers,
                    }
                )
        return samples


def contents(*tars: Path) -> dict[str, bytes]:
    """Members of tars by name; a name twice is an error."""
    found: dict[str, bytes] = {}
    for path in tars:
        with tarfile.open(path) as tar:
            for member in tar:
                file = tar.extractfile(member)
                assert file is not None
                assert member.name not in found
                found[member.name] = file.read()
    return found


def tree(folder: Path) -> dict[str, bytes]:
    """All files of an export but the timings, by name."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "timings.json"
    }
