"""Write tiny real shards the way the tools of the trade, and a careless colleague, write them.

Everything is seeded and small, so that a test can make what it needs; nothing is copied from anyone's data.
"""

# ruff: noqa: A002  # Pillow and tarfile call it ``format`` too

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

#: One sample: its key and its fields, as ``("000000001", {"jpg": b"…", "txt": "a dog", "json": {"width": 640}})``.
Sample: TypeAlias = tuple[str, Mapping[str, "bytes | str | Mapping[str, Any]"]]


def picture(seed: int = 0, size: tuple[int, int] = (64, 48), format: str = "JPEG", mode: str = "RGB") -> bytes:
    """A small smooth picture, another for each seed; ``size`` is (width, height), ``format`` and ``mode`` Pillow's."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, format=format)
    return buffer.getvalue()


def encoded(value: bytes | str | Mapping[str, Any]) -> bytes:
    """The bytes of a field: text as UTF-8, a mapping as JSON."""
    if isinstance(value, bytes):
        return value
    return (value if isinstance(value, str) else json.dumps(value)).encode()


def tar_bytes(members: Iterable[tuple[str, bytes]], format: int = tarfile.GNU_FORMAT, mtime: float = 0) -> bytes:
    """A tar in memory; a fractional ``mtime`` makes PAX write an extra header for each member, as webdataset does."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            info.mtime = mtime
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def write_tar(
    path: Path | str, members: Iterable[tuple[str, bytes]], format: int = tarfile.GNU_FORMAT, mtime: float = 0
) -> Path:
    """Write a tar with members in the order given; names may repeat; parent folders are made."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(tar_bytes(members, format, mtime))
    return path


def samples(count: int, *, first: int = 0, extension: str = "jpg", digits: int = 9) -> list[Sample]:
    """Make ``count`` plain samples with a picture, a caption and a JSON, keys counting up from ``first``."""
    made: list[Sample] = []
    for number in range(first, first + count):
        key = f"{number:0{digits}d}"
        size = (48 + number % 5 * 8, 48)
        pixels = picture(number, size, {"jpg": "JPEG", "tif": "TIFF"}.get(extension, extension.upper()))
        fields = {"key": key, "width": size[0], "height": size[1], "score": number / 4}
        made.append((key, {extension: pixels, "txt": f"picture number {number}", "json": fields}))
    return made


def write_shard(
    path: Path | str,
    samples: Iterable[Sample],
    metadata: Iterable[Mapping[str, Any]] | pa.Table | None = None,
    format: int = tarfile.GNU_FORMAT,
    mtime: float = 0,
) -> Path:
    """Write samples, members side by side, as ``path`` and, where there is metadata, a parquet of the same stem."""
    members = [(f"{key}.{field}", encoded(value)) for key, fields in samples for field, value in fields.items()]
    path = write_tar(path, members, format, mtime)
    if metadata is not None:
        table = metadata if isinstance(metadata, pa.Table) else pa.Table.from_pylist([dict(row) for row in metadata])
        pq.write_table(table, path.with_suffix(".parquet"))
    return path


def write_folder(folder: Path | str, shards: int = 2, samples_per_shard: int = 4) -> Path:
    """Write a folder of plain shards ``00000.tar``, … with a parquet beside each; keys are unique across shards."""
    folder = Path(folder)
    for number in range(shards):
        made = samples(samples_per_shard, first=number * samples_per_shard)
        rows = [{"key": key, "caption": fields["txt"], "width": fields["json"]["width"]} for key, fields in made]  # type: ignore[call-overload,index]
        write_shard(folder / f"{number:05d}.tar", made, rows)
    return folder


def img2dataset_shard(folder: Path | str, number: int = 0, count: int = 8, failed: Iterable[int] = ()) -> Path:
    """Write a shard as img2dataset does.

    The parquet has a row for each URL *tried*: positions in ``failed`` have one but no members.  The tar is in order
    of completion, its members carry PAX headers, ``sha256`` is of the bytes before resizing, ``error_message`` is
    of type null in a clean shard, and ``NNNNN_stats.json`` lies beside.
    """
    folder, failed = Path(folder), set(failed)
    made: list[Sample] = []
    rows: list[dict[str, Any]] = []
    for position in range(count):
        key, pixels = f"{number:05d}{position:04d}", picture(1000 * number + position)
        row: dict[str, Any] = {
            "url": f"https://example.com/{number}/{position}.jpg",
            "caption": f"a photo of thing {position}",
            "key": key,
            "status": "success",
            "error_message": None,
            "width": 64,
            "height": 48,
            "original_width": 128,
            "original_height": 96,
            "exif": "{}",
            "sha256": hashlib.sha256(b"before resizing" + pixels).hexdigest(),
        }
        if position in failed:
            gone = dict.fromkeys(("width", "height", "original_width", "original_height", "exif", "sha256"))
            row |= gone | {"status": "failed_to_download", "error_message": "HTTP Error 404: Not Found"}
        else:
            fields = {"jpg": pixels, "txt": row["caption"], "json": json.dumps(row, indent=4)}
            made.append((key, fields))
        rows.append(row)
    done = len(made)
    made = made[1::2] + made[0::2]  # order of completion
    path = write_shard(folder / f"{number:05d}.tar", made, rows, tarfile.PAX_FORMAT, mtime=1700000000.25)
    stats = {"count": count, "successes": done, "failed_to_download": len(failed), "failed_to_resize": 0}
    (folder / f"{number:05d}_stats.json").write_text(json.dumps(stats, indent=4))
    return path


def legacy_nemo_shard(folder: Path | str, number: int = 0, count: int = 8, integer_ids: bool = False) -> Path:
    """Write a shard as NeMo Curator up to 0.9 wants it: mandatory jpg, txt and json, ids of nine digits, a parquet.

    With ``integer_ids`` the parquet has the ids as int64, without their leading zeros.
    """
    made: list[Sample] = [
        (
            f"{number:05d}{position:04d}",
            {
                "jpg": picture(1000 * number + position),
                "txt": f"caption {position}",
                "json": {"key": f"{number:05d}{position:04d}", "url": f"https://example.com/{position}"},
            },
        )
        for position in range(count)
    ]
    rows = [
        {
            "url": f"https://example.com/{position}",
            "caption": f"caption {position}",
            "key": int(key) if integer_ids else key,
        }
        for position, (key, _) in enumerate(made)
    ]
    return write_shard(Path(folder) / f"{number:05d}.tar", made, rows)


def datacomp_shard(folder: Path | str, number: int = 0, count: int = 8) -> Path:
    """Write a shard as DataComp's downloader does: only the ``uid`` is in it, scores lie in ``metadata/`` elsewhere.

    ``folder/shards/NNNNNNNN.tar`` and ``folder/metadata/NNNN.parquet`` with ``uid`` and CLIP scores; the two are in
    different orders.
    """
    folder = Path(folder)
    made: list[Sample] = []
    rows: list[dict[str, Any]] = []
    for position in range(count):
        key = f"{number:08d}{position:04d}"
        uid = hashlib.md5(key.encode()).hexdigest()
        text = f"an image of object {position}"
        made.append((key, {"jpg": picture(1000 * number + position), "txt": text, "json": {"uid": uid, "key": key}}))
        rows.append({"uid": uid, "text": text, "clip_l14_similarity_score": position / count, "original_width": 640})
    (folder / "metadata").mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows[::-1]), folder / "metadata" / f"{number:04d}.parquet")
    metadata = [{"uid": fields["json"]["uid"], "key": key} for key, fields in made]  # type: ignore[call-overload,index]
    return write_shard(folder / "shards" / f"{number:08d}.tar", made, metadata)


def careless_shard(path: Path | str, format: int = tarfile.PAX_FORMAT) -> Path:
    """Write a shard by hand: ``./`` prefixes, folders, dotted names, scattered members, macOS and editor litter.

    Its samples, in order, are ``a/22`` (``05.png`` and ``05.txt``), ``v1.0/000`` (jpg, txt), ``long…`` (150 letters,
    webp), ``ünï cödé`` (JPG in capitals, no caption) and ``textonly`` (no image).
    """
    return write_tar(
        path,
        [
            ("./a/22.05.png", picture(1, format="PNG")),
            ("./v1.0/000.jpg", picture(2)),
            ("._v1.0", b"\x00\x05\x16\x07 macOS"),
            ("v1.0/._000.jpg", b"\x00\x05\x16\x07 macOS"),
            (".DS_Store", b"litter"),
            ("./a/22.05.txt", b"a picture in a folder"),
            ("long" + "g" * 146 + ".webp", picture(3, format="WEBP")),
            ("README", b"no extension at all"),
            ("ünï cödé.JPG", picture(4)),
            ("textonly.txt", b"words without a picture"),
            ("v1.0/000.txt", b"a picture in a version"),
        ],
        format,
    )


def member_digests(folder: Path | str) -> dict[str, str]:
    """sha256 of each member of all tars of a folder, by name."""
    found = {}
    for path in sorted(Path(folder).glob("*.tar")):
        with tarfile.open(path) as tar:
            for entry in tar:
                data = tar.extractfile(entry)
                assert data is not None
                found[entry.name] = hashlib.sha256(data.read()).hexdigest()
    return found
