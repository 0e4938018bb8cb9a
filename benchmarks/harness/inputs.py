"""Photographs, as shards: as they are, large, small, and in other formats."""

from __future__ import annotations

import functools
import io
import itertools
import math
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

__all__ = [
    "PHOTOS",
    "Sample",
    "large",
    "photographs",
    "pictures",
    "recoded",
    "repeated",
    "small",
    "source",
    "write_shards",
]

#: Beside the checkout: 460 photographs with captions, most of 500 x 375 and the like, 104 kB on average.
PHOTOS = Path(__file__).resolve().parents[3] / "shared/data/photos"

Sample = dict[str, bytes]


def source() -> str:
    """Where the photographs come from, for a table's head."""
    return "shared/data/photos" if PHOTOS.is_dir() else "photographs of scikit-image at 500 x 375"


@functools.cache
def photographs() -> tuple[Sample, ...]:
    """The photographs beside the checkout; where there are none, parts of those of scikit-image."""
    if PHOTOS.is_dir():
        return tuple(itertools.chain.from_iterable(read_shard(path) for path in sorted(PHOTOS.glob("*.tar"))))
    from skimage import data

    found = []
    for photo in (data.astronaut(), data.coffee(), data.chelsea(), data.rocket()):
        for left in range(0, 100, 10):
            picture = Image.fromarray(photo[:, left:]).convert("RGB").resize((500, 375), Image.Resampling.LANCZOS)
            found.append({"jpg": encoded(picture), "txt": b"a photograph", "json": b'{"width": 500}'})
    return tuple(found)


def read_shard(path: Path) -> Iterator[Sample]:
    """The samples of a tar, whose members follow each other by key."""
    with tarfile.open(path) as tar:
        for _, members in itertools.groupby(tar, key=lambda member: member.name.partition(".")[0]):
            files = ((member.name.partition(".")[2], tar.extractfile(member)) for member in members)
            yield {field: file.read() for field, file in files if file is not None}


def pictures(count: int) -> list[Image.Image]:
    """The first photographs, decoded."""
    return [Image.open(io.BytesIO(sample["jpg"])).convert("RGB") for sample in photographs()[:count]]


def repeated(count: int) -> Iterator[Sample]:
    """So many photographs, none the same file as another: each has its number in a comment."""
    for number, sample in enumerate(itertools.islice(itertools.cycle(photographs()), count)):
        comment = b"\xff\xfe\x00\x06" + number.to_bytes(4)  # a marker, its length with these two bytes, its content
        yield sample | {"jpg": sample["jpg"][:2] + comment + sample["jpg"][2:]}


def large(count: int) -> Iterator[Sample]:
    """JPEG of 12 megapixels: mosaics of four by four photographs at twice their size."""
    tiles = [picture.resize((1000, 750), Image.Resampling.LANCZOS) for picture in pictures(64)]
    random = np.random.default_rng(0)
    for _ in range(count):
        mosaic = Image.new("RGB", (4000, 3000))
        for place, tile in enumerate(random.choice(len(tiles), 16, replace=False)):
            mosaic.paste(tiles[tile], (place % 4 * 1000, place // 4 * 750))
        yield {"jpg": encoded(mosaic)}


def small(count: int) -> Iterator[Sample]:
    """JPEG whose shorter side is 32 to 256 pixels."""
    random = np.random.default_rng(0)
    for picture in itertools.islice(itertools.cycle(pictures(len(photographs()))), count):
        scale = random.integers(32, 257) / min(picture.size)
        size = tuple(math.ceil(side * scale) for side in picture.size)
        yield {"jpg": encoded(picture.resize(size, Image.Resampling.BICUBIC))}


def recoded(count: int, extension: str) -> Iterator[Sample]:
    """The photographs as PNG or WebP."""
    once = [{extension: encoded(picture, extension)} for picture in pictures(min(count, len(photographs())))]
    yield from itertools.islice(itertools.cycle(once), count)


def encoded(picture: Image.Image, extension: str = "jpg") -> bytes:
    """A picture as a file, of quality 90 where there is a choice."""
    buffer = io.BytesIO()
    picture.save(buffer, {"jpg": "JPEG", "png": "PNG", "webp": "WEBP"}[extension], quality=90)
    return buffer.getvalue()


def write_shards(folder: Path, samples: Iterable[Sample], samples_per_shard: int = 1000) -> list[Path]:
    """Write samples as tars, keys counting from 0; the files."""
    folder.mkdir(parents=True)
    paths = []
    numbered = enumerate(samples)
    while batch := list(itertools.islice(numbered, samples_per_shard)):
        paths.append(folder / f"{len(paths):05d}.tar")
        with tarfile.open(paths[-1], "w", format=tarfile.USTAR_FORMAT) as tar:
            for number, sample in batch:
                add(tar, f"{number:09d}", sample)
    return paths


def add(tar: tarfile.TarFile, key: str, sample: Sample) -> None:
    """Write one sample."""
    for field, data in sample.items():
        info = tarfile.TarInfo(f"{key}.{field}")
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))


def files_of(paths: Sequence[Path], extension: str) -> list[bytes]:
    """The files with an extension, of all shards."""
    return [sample[extension] for path in paths for sample in read_shard(path)]
