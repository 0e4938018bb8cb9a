"""A dataset as the export sees it, made from tars by the standard library alone."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

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

MEMBERS = pa.list_(
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

#: Last extensions of images in the tests.
IMAGES = ("jpg", "png")


def split(name: str) -> tuple[str, str]:
    """Key and field of a member: the key ends at the first dot of the base name."""
    dot = name.index(".", name.rfind("/") + 1)
    return name[:dot], name[dot + 1 :]


def is_image(name: str) -> bool:
    """Whether a member is an image."""
    return name.rpartition(".")[2].lower() in IMAGES


class Row(NamedTuple):
    """A row of the dataset: a sample, or one image of a sample."""

    key: str
    #: Position of the sample's first row.
    sample: int
    #: What ``keep`` is asked with.
    name: str
    #: Where the sample has several rows, the field of this one's image.
    image_field: str | None
    members: list[dict[str, object]]


@dataclass
class TarSurvivors:
    """Rows of some tars that ``keep`` (source, shard, key) says to keep.

    Where it is ``grouped``, every image of a sample has a row, and ``keep`` is asked with the name of the image.
    """

    paths: Sequence[tuple[str, str, Path]]
    keep: Callable[[str, str, str], bool] = lambda source, shard, key: True
    grouped: bool = False
    columns: Mapping[str, pa.DataType] = field(default_factory=lambda: dict(COLUMNS))
    asked: list[tuple[int, tuple[str, ...]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.shards = [
            Shard(source, name, str(path), path.stat().st_size, "", None, "") for source, name, path in self.paths
        ]
        self._rows = [self._index(shard) for shard in self.shards]
        if self.grouped:
            self.columns = dict(self.columns) | {"image_field": pa.string()}

    @classmethod
    def of(cls, folder: Path, **kwargs: object) -> TarSurvivors:
        """All tars of a folder, as one source."""
        tars = sorted(folder.glob("*.tar"))
        return cls([("default", path.stem, path) for path in tars], **kwargs)  # type: ignore[arg-type]

    @property
    def fingerprint(self) -> str:
        kept = [self._kept_rows(number) for number in range(len(self.shards))]
        return hashlib.sha256(repr([[place for place, _ in rows] for rows in kept]).encode()).hexdigest()

    def kept(self, number: int) -> list[str]:
        """Keys of which something is kept, of a shard."""
        return list(dict.fromkeys(row.key for _, row in self._kept_rows(number)))

    def _kept_rows(self, number: int) -> list[tuple[int, Row]]:
        shard = self.shards[number]
        return [
            (place, row)
            for place, row in enumerate(self._rows[number])
            if self.keep(shard.source, shard.name, row.name)
        ]

    @property
    def rows(self) -> TarSurvivors:
        return self

    @property
    def store(self) -> Path:
        return Path("no store")  # of a dataset that is not shared

    @property
    def scratch(self) -> None:
        return None

    def read(self, shard: Shard, columns: Sequence[str]) -> pa.Table:
        number = self.shards.index(shard)
        self.asked.append((number, tuple(columns)))
        kept = self._kept_rows(number)
        made = {
            "sample_id": [f"{shard.source}/{shard.name}/{place}" for place, _ in kept],
            "key": [row.key for _, row in kept],
            "source": [shard.source] * len(kept),
            "shard": [shard.name] * len(kept),
            "caption": [f"caption of {row.key}" for _, row in kept],
            "image_embedding": [[float(number), float(place)] for place in range(len(kept))],
            "score": [place / 4 for place in range(len(kept))],
            "image_field": [row.image_field for _, row in kept],
            "_members": [row.members for _, row in kept],
            "_sample": [row.sample for _, row in kept],
        }
        types = dict(self.columns) | {"_members": MEMBERS} | ({"_sample": pa.int64()} if self.grouped else {})
        return pa.table({name: pa.array(made.get(name, [None] * len(kept)), types[name]) for name in columns})

    def ledger(self, shard: Shard) -> pa.Table:
        number = self.shards.index(shard)
        kept = {place for place, _ in self._kept_rows(number)}
        rows = [
            {
                "sample_id": f"{shard.source}/{shard.name}/{place}",
                "source": shard.source,
                "shard": shard.name,
                "key": row.key,
                "status": "kept" if place in kept else "dropped",
                "reason": None if place in kept else "test",
                "detail": None,
            }
            for place, row in enumerate(self._rows[number])
        ]
        names = ("sample_id", "source", "shard", "key", "status", "reason", "detail")
        return pa.Table.from_pylist(rows, pa.schema([(name, pa.string()) for name in names]))

    def open(self, shard: Shard) -> ByteSource:
        return open_shard(shard)

    def _index(self, shard: Shard) -> list[Row]:
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
        rows: list[Row] = []
        for key, members in samples.items():
            names = [str(member["name"]) for member in members]
            images = [name for name in names if is_image(name)]
            if not self.grouped or not images:
                rows.append(Row(key, len(rows), key, None, members))
                continue
            first = len(rows)
            for image in images:
                own = [each for name, each in zip(names, members, strict=True) if name == image or name not in images]
                rows.append(Row(key, first, image, split(image)[1], own))
        return rows


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
