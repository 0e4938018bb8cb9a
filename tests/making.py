"""Write tiny real shards the way the tools of the trade, and a careless colleague, write them.

Everything is seeded and small, so that a test can make what it needs; nothing is copied from anyone's data.
"""

# ruff: noqa: A002  # Pillow and tarfile call it ``format`` too

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import zlib
from collections import Counter
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


#: What webdataset's ``TarWriter`` puts into headers: a time with a fraction makes PAX write one more for each member.
WEBDATASET: dict[str, Any] = {
    "format": tarfile.PAX_FORMAT,
    "mtime": 1700000000.25,
    "mode": 0o444,
    "uname": "bigdata",
    "gname": "bigdata",
}


def tar_bytes(
    members: Iterable[tuple[str, bytes]], format: int = tarfile.GNU_FORMAT, mtime: float = 0, **header: Any
) -> bytes:
    """A tar in memory; ``header`` are further attributes of each member's ``tarfile.TarInfo``."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            for attribute, value in (header | {"size": len(data), "mtime": mtime}).items():
                setattr(info, attribute, value)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def write_tar(
    path: Path | str,
    members: Iterable[tuple[str, bytes]],
    format: int = tarfile.GNU_FORMAT,
    mtime: float = 0,
    **header: Any,
) -> Path:
    """Write a tar with members in the order given; names may repeat; parent folders are made."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(tar_bytes(members, format, mtime, **header))
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
    **header: Any,
) -> Path:
    """Write samples, members side by side, as ``path`` and, where there is metadata, a parquet of the same stem."""
    members = [(f"{key}.{field}", encoded(value)) for key, fields in samples for field, value in fields.items()]
    path = write_tar(path, members, format, mtime, **header)
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


#: What img2dataset adds to the columns of its input, in this order; a failed row has null in the last seven.
_IMG2DATASET = {
    **dict.fromkeys(("key", "status", "error_message"), pa.string()),
    **dict.fromkeys(("width", "height", "original_width", "original_height"), pa.int32()),
    **dict.fromkeys(("exif", "sha256"), pa.string()),
}
_REFUSALS = ("HTTP Error 404: Not Found", "<urlopen error [Errno -2] Name or service not known>")


def img2dataset_shard(
    folder: Path | str,
    number: int = 0,
    count: int = 8,
    failed: Iterable[int] = (),
    *,
    inputs: pa.Table | None = None,
    shard_digits: int = 5,
    declared_types: bool = False,
) -> Path:
    """Write a shard as img2dataset's writer for webdataset does, by its source of 2025.

    The parquet has a row for each URL *tried*: positions in ``failed`` have one but no members.  Rows and members are
    in order of completion, ``sha256`` is of the bytes before resizing, ``width`` and ``height`` are after it, a null
    caption is an empty text, and ``NNNNN_stats.json`` lies beside.  Every output folder begins at key 000000000.

    Parameters
    ----------
    inputs : pyarrow.Table, optional
        The rows of the URL list that fall to this shard, ``caption`` and ``url`` last, behind what
        ``save_additional_columns`` names; ``count`` rows of example.com by default.
    shard_digits : int, default=5
        Its option ``oom_shard_count``.
    declared_types : bool, default=False
        Whether the parquet has the types that img2dataset declares from 1.25 on; before, it guessed them from the
        values, so that ``error_message`` is of type null in a clean shard.
    """
    folder, inputs = Path(folder), url_list(number, count) if inputs is None else inputs
    rows: list[dict[str, Any]] = []
    made: list[Sample] = []
    for position in _completion(inputs.num_rows, set(failed)):
        given = inputs.slice(position, 1).to_pylist()[0]
        row = given | dict.fromkeys(_IMG2DATASET) | {"key": f"{number:0{shard_digits}d}{position:04d}"}
        rows.append(row)
        if position in set(failed):
            row |= {"status": "failed_to_download", "error_message": _REFUSALS[position % 2]}
            continue
        pixels = downloaded(row["url"])
        row |= {"status": "success", "width": 64, "height": 48, "original_width": 128, "original_height": 96}
        row |= {"exif": json.dumps({"Image Orientation": "Horizontal (normal)"} if position % 2 else {})}
        row |= {"sha256": original_sha256(row["url"])}
        made.append((row["key"], {"jpg": pixels, "json": json.dumps(row, indent=4), "txt": row["caption"] or ""}))
    table = pa.Table.from_pylist(rows)
    if declared_types:
        table = table.cast(pa.schema([*inputs.schema, *(pa.field(*column) for column in _IMG2DATASET.items())]))
    path = write_shard(folder / f"{number:0{shard_digits}d}.tar", made, table, **WEBDATASET)
    _write_img2dataset_stats(path, rows)
    return path


def url_list(number: int = 0, count: int = 8, host: str = "example.com") -> pa.Table:
    """The rows of a URL list that fall to shard ``number``: ``caption``, ``url``."""
    return pa.table(
        {
            "caption": [f"a photo of thing {position}" for position in range(count)],
            "url": [f"https://{host}/{number}/{position}.jpg" for position in range(count)],
        }
    )


def downloaded(url: str) -> bytes:
    """The picture that img2dataset makes of what a URL has: another for each."""
    return picture(zlib.crc32(url.encode()))


def original_sha256(url: str) -> str:
    """Digest of what a URL has, before img2dataset resizes it."""
    return hashlib.sha256(b"before resizing" + downloaded(url)).hexdigest()


def _completion(count: int, failed: set[int]) -> list[int]:
    """The order in which many threads come to an end: refusals are quick."""
    sound = [position for position in range(count) if position not in failed]
    return sorted(failed) + sound[1::2] + sound[0::2]


def _write_img2dataset_stats(path: Path, rows: list[dict[str, Any]]) -> None:
    reasons = Counter(row["error_message"] or "success" for row in rows)
    stats = {
        "count": len(rows),
        "successes": reasons["success"],
        "failed_to_download": len(rows) - reasons["success"],
        "failed_to_resize": 0,
        "duration": 1.5,
        "start_time": 1700000000.25,
        "end_time": 1700000001.75,
        "status_dict": dict(reasons),
    }
    path.with_name(f"{path.stem}_stats.json").write_text(json.dumps(stats, indent=4))


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


def datacomp_pool(folder: Path | str, shards: int = 2, count: int = 8, failed: Iterable[int] = ()) -> pa.Table:
    """Write a pool as DataComp publishes and its ``download_upstream.py`` downloads it; gives its metadata.

    ``folder/metadata`` has the published parquets, named by hash and so in no order, with CLIP scores, boxes of faces
    and the digests that the images once had.  ``folder/shards`` is img2dataset's output of eight digits, which carries
    ``uid`` and ``face_bboxes`` along and nothing else.  Positions in ``failed`` fail in every shard.
    """
    folder = Path(folder)
    (folder / "metadata").mkdir(parents=True, exist_ok=True)
    tables = []
    for number in range(shards):
        urls = url_list(number, count, "datacomp.example")["url"].to_pylist()
        table = pa.table(
            {
                "uid": [datacomp_uid(url) for url in urls],
                "url": urls,
                "text": [f"an image of object {position}" for position in range(count)],
                "original_width": pa.array([128] * count, pa.int64()),
                "original_height": pa.array([96] * count, pa.int64()),
                "clip_b32_similarity_score": pa.array([0.1 + position / 40 for position in range(count)], pa.float32()),
                "clip_l14_similarity_score": pa.array([0.3 - position / 40 for position in range(count)], pa.float32()),
                "face_bboxes": pa.array([[[0.1, 0.2, 0.3, 0.4]] * (position % 3) for position in range(count)]),
                "sha256": [original_sha256(url) for url in urls],
            }
        )
        name = hashlib.md5(str(number).encode()).hexdigest()
        pq.write_table(table, folder / "metadata" / f"{name}.parquet")
        inputs = table.select(["uid", "face_bboxes", "text", "url"]).rename_columns(
            ["uid", "face_bboxes", "caption", "url"]
        )
        img2dataset_shard(folder / "shards", number, failed=failed, inputs=inputs, shard_digits=8, declared_types=True)
        tables.append(table)
    return pa.concat_tables(tables)


def datacomp_uid(url: str) -> str:
    """A uid, 128 bits as 32 hexadecimal digits; that of each shard's first URL begins with zeros."""
    shift = 12 if url.endswith("/0.jpg") else 0
    return f"{int(hashlib.md5(url.encode()).hexdigest(), 16) >> shift:032x}"


def datacomp_subset(path: Path | str, uids: Iterable[str]) -> Path:
    """Write a subset file as DataComp's baselines do: sorted pairs of the halves of each uid, the high one first."""
    halves = sorted(divmod(int(uid, 16), 1 << 64) for uid in uids)
    np.save(path, np.array(halves, np.dtype("u8,u8")))
    return Path(path)


def datacomp_reshard(folder: Path | str, uids: Iterable[str]) -> Path:
    """Write the shard that DataComp's resharder makes of a subset: no parquet, stats with one number, keys ``<uid>-0``.

    A uid that the subset has twice is there twice, as ``<uid>-0`` and ``<uid>-1``.
    """
    made: list[Sample] = []
    for uid, times in Counter(uids).items():
        fields = {"jpg": downloaded(uid), "json": json.dumps({"uid": uid}), "txt": f"an image of {uid[:4]}"}
        made += [(f"{uid}-{number}", fields) for number in range(times)]
    path = write_shard(Path(folder) / "00000000.tar", made, **WEBDATASET)
    path.with_name("00000000_stats.json").write_text(json.dumps({"successes": len(made)}))
    return path


def laion_pool(
    folder: Path | str, shards: int = 2, count: int = 8, failed: Iterable[int] = (), carried: Iterable[str] = ()
) -> pa.Table:
    """Write a part of relaion2B-en as LAION publishes it, and img2dataset's output for it; gives the metadata.

    ``folder/metadata`` has one parquet of Spark's with upper-case names, null captions included.  ``folder/images`` is
    what img2dataset makes of it with ``--url_col URL --caption_col TEXT``; ``carried`` is its
    ``save_additional_columns``, ``("similarity", "hash", "punsafe", "pwatermark")`` in LAION's own example.
    """
    folder, total = Path(folder), shards * count
    (folder / "metadata").mkdir(parents=True, exist_ok=True)
    positions = range(total)
    table = pa.table(
        {
            "URL": [f"http://laion.example/{position}.jpg?w={position}" for position in positions],
            "TEXT": [None if position == 1 else f"stock photo {position}" for position in positions],
            "WIDTH": pa.array([128] * total, pa.int32()),
            "HEIGHT": pa.array([96] * total, pa.int32()),
            "similarity": pa.array([0.28 + position / 100 for position in positions], pa.float64()),
            "hash": pa.array([(-1) ** position * (2**62 + position) for position in positions], pa.int64()),
            "punsafe": pa.array([position % 4 / 4 for position in positions], pa.float32()),
            "pwatermark": pa.array([position % 5 / 5 for position in positions], pa.float32()),
        }
    )
    pq.write_table(table, folder / "metadata" / "part-00000-5114fd87-c000.snappy.parquet", row_group_size=5)
    renamed = {"URL": "url", "TEXT": "caption"}
    for number in range(shards):
        inputs = table.slice(number * count, count).select([*carried, "TEXT", "URL"])
        inputs = inputs.rename_columns([renamed.get(name, name) for name in inputs.column_names])
        img2dataset_shard(folder / "images", number, failed=failed, inputs=inputs, declared_types=True)
    return table


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


def several_of_each_shard(path: Path | str) -> Path:
    """Write a shard by hand whose samples have several images or captions.

    ``pair`` has ``0.jpg`` and ``1.jpg``, a caption and a JSON; ``words`` one image and three captions; ``apart`` an
    image, and a second one and the caption behind another sample; ``depth`` a plain image after its depth map.
    """
    return write_tar(
        path,
        [
            ("pair.0.jpg", picture(10)),
            ("pair.1.jpg", picture(11)),
            ("pair.txt", b"before and after"),
            ("pair.json", b'{"topic": "pairs"}'),
            ("words.jpg", picture(12)),
            ("words.txt", b"a dog"),
            ("words.short.txt", b"dog"),
            ("words.long.txt", b"a brown dog on a lawn"),
            ("apart.0.png", picture(13, format="PNG")),
            ("depth.depth.png", picture(14, format="PNG", mode="L")),
            ("depth.jpg", picture(15)),
            ("apart.1.webp", picture(16, format="WEBP")),
            ("apart.txt", b"far from its pictures"),
        ],
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
