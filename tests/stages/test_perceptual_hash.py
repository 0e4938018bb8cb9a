"""Perceptual hashes: those of the known libraries, near for copies, far for other pictures."""

from __future__ import annotations

import csv
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import imagehash
import numpy as np
import pandas as pd
import pdqhash
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from making import write_tar
from numpy.typing import NDArray
from opening import opened
from PIL import Image, ImageEnhance, ImageOps
from scipy.fft import dctn

from imagecurate.errors import ParameterError
from imagecurate.images.perceptual import (
    CROPS,
    HashSize,
    detail,
    hashes_of,
    luma_thumbnail,
    perceptual_hashes,
    texts_of,
)
from imagecurate.stages.perceptual_hash import PerceptualHash

Pixels = NDArray[np.uint8]

#: Distances up to which two pictures count as one in these tests, by bits: the whole of one, the whole or a part of
#: the other.
NEAR: dict[HashSize, int] = {256: 40, 64: 8}


def scene(seed: int, size: tuple[int, int] = (375, 500)) -> Pixels:
    """Something like a photograph: the energy of a frequency falls with its square, three channels alike."""
    rng = np.random.default_rng(seed)
    frequencies = np.hypot(np.fft.fftfreq(size[0])[:, None] * size[0], np.fft.fftfreq(size[1]) * size[1])
    noise = rng.normal(size=(4, *size)) + 1j * rng.normal(size=(4, *size))
    fields = np.fft.ifft2(noise / (1 + frequencies) ** 1.4).real
    fields /= fields.std(axis=(1, 2), keepdims=True)
    channels = 128 + 50 * fields[:1] + 12 * fields[1:]
    return np.ascontiguousarray(channels.clip(0, 255).astype(np.uint8).transpose(1, 2, 0))


def jpeg(image: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def thumbnails(pictures: list[Pixels]) -> Pixels:
    return np.stack([luma_thumbnail(one) for one in pictures])


def apart(one: Pixels, other: Pixels) -> NDArray[np.int64]:
    """Bits in which hashes differ."""
    return np.bitwise_count(one ^ other).sum(axis=-1, dtype=np.int64)


def views(small: Pixels, hash_size: HashSize, crops: int) -> Pixels:
    """Hashes of the whole and of its parts, shape (1 + crops, n, bytes)."""
    return np.stack([perceptual_hashes(small, hash_size, place) for place in (None, *CROPS[crops])])


@pytest.mark.parametrize("size", [(375, 500), (800, 600), (512, 512)])
def test_256_bits_are_near_those_of_pdq(size: tuple[int, int]) -> None:
    """Few bits from Meta's reference, in the same order, and much the same quality."""
    scenes = [scene(seed, size) for seed in range(12)]
    reference, quality = zip(*(pdqhash.compute(one) for one in scenes), strict=True)
    small = thumbnails(scenes)
    distances = apart(perceptual_hashes(small, 256), np.packbits(np.array(reference, np.uint8), axis=1))
    assert np.median(distances) <= 10
    assert distances.max() <= 24
    assert np.abs(detail(small) - np.array(quality)).max() <= 25


def test_64_bits_are_near_those_of_imagehash() -> None:
    """And written in the same digits."""
    scenes = [scene(seed) for seed in range(12)]
    reference = [str(imagehash.phash(Image.fromarray(one))) for one in scenes]
    texts = texts_of(perceptual_hashes(thumbnails(scenes), 64))
    distances = apart(hashes_of(pa.array(texts))[0], hashes_of(pa.array(reference))[0])
    assert np.median(distances) <= 2
    assert distances.max() <= 4


def test_the_transform_is_the_cosine_transform() -> None:
    """Against SciPy's, for the whole of a thumbnail."""
    small = thumbnails([scene(1)])
    strengths = dctn(small[0].astype(float), norm="ortho")[:8, :8]
    # The ortho norm halves the first row and column; a hash takes the sum as it is.
    strengths[0] *= np.sqrt(2)
    strengths[:, 0] *= np.sqrt(2)
    expected = np.packbits(strengths.ravel() > np.median(strengths))
    assert np.array_equal(perceptual_hashes(small, 64)[0], expected)


@given(st.tuples(st.integers(1, 70), st.integers(1, 70)).flatmap(lambda size: arrays(np.uint8, (*size, 3))))
def test_every_picture_has_a_hash(pixels: Pixels) -> None:
    """Whatever its shape and content, and a mirrored copy of the same quality."""
    small = thumbnails([pixels, pixels[:, ::-1].copy()])
    quality = detail(small)
    assert 0 <= quality[0] <= 100
    assert abs(int(quality[0]) - int(quality[1])) <= 1
    for hash_size in (64, 256):
        assert perceptual_hashes(small, hash_size).shape == (2, hash_size // 8)


@pytest.mark.parametrize("level", [0, 1, 127, 255])
@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (40, 50), (600, 800)])
def test_flat_pictures_say_that_they_are(level: int, size: tuple[int, int]) -> None:
    """No detail, and one and the same hash whatever the size."""
    small = thumbnails([np.full((*size, 3), level, np.uint8)])
    assert detail(small).tolist() == [0]
    assert texts_of(perceptual_hashes(small, 256)) == ["0" * 64]
    assert texts_of(perceptual_hashes(small, 64)) == ["8000000000000000" if level else "0" * 16]


@pytest.mark.parametrize("hash_size", [64, 256])
@pytest.mark.parametrize("place", [None, (0.5, 0.5), (0.0, 1.0)])
def test_rows_do_not_depend_on_their_batch(hash_size: HashSize, place: tuple[float, float] | None) -> None:
    """Bit by bit; an empty batch has no rows."""
    small = np.random.default_rng(1).integers(0, 256, (9, 64, 64), dtype=np.uint8)
    whole = perceptual_hashes(small, hash_size, place)
    assert np.array_equal(whole, np.concatenate([perceptual_hashes(one[None], hash_size, place) for one in small]))
    assert perceptual_hashes(small[:0], hash_size, place).shape == (0, hash_size // 8)


@pytest.mark.parametrize("down", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("across", [0.0, 0.5, 1.0])
def test_a_part_has_the_hash_of_what_is_left_when_the_rest_is_cut(down: float, across: float) -> None:
    """For each place of ``CROPS``, within few bits, where the whole is far."""
    assert (down, across) in CROPS[9]
    scenes = [scene(seed, (400, 600)) for seed in range(5)]
    top, left = round(20 * down), round(30 * across)
    cut = perceptual_hashes(thumbnails([one[top : top + 380, left : left + 570].copy() for one in scenes]), 256)
    assert apart(cut, perceptual_hashes(thumbnails(scenes), 256, (down, across))).max() <= 24
    assert apart(cut, perceptual_hashes(thumbnails(scenes), 256)).min() > 24


@given(st.integers(1, 40).flatmap(lambda width: arrays(np.uint8, st.tuples(st.integers(0, 9), st.just(width)))))
def test_hashes_are_written_and_read(hashes: Pixels) -> None:
    """Two digits a byte, nulls between."""
    texts = pa.array([*texts_of(hashes), None], pa.string())
    read, valid = hashes_of(texts)
    assert valid.tolist() == [True] * len(hashes) + [False]
    assert read.shape == (hashes.shape if len(hashes) else (0, 0))
    assert np.array_equal(read.ravel(), hashes.ravel())
    assert np.array_equal(
        hashes_of(pa.array([*map(str.upper, texts_of(hashes))], pa.string()))[0].ravel(), read.ravel()
    )


@pytest.mark.parametrize("wrong", ["xyz0", "abc", "ab cd ", "äb01"])
def test_what_is_no_hash_is_told(wrong: str) -> None:
    """With the text, whatever stands beside it."""
    with pytest.raises(ValueError, match=rf"^a hash is written in hexadecimal digits, two a byte, found '{wrong}'$"):
        hashes_of(pa.array(["00" * (len(wrong) // 2) + "0" * (len(wrong) % 2), wrong][len(wrong) % 2 :]))


def test_hashes_of_two_lengths_are_told() -> None:
    """A column of pHash beside PDQ."""
    with pytest.raises(ValueError, match=r"^hashes of one column have as many digits each, found 16 and 64$"):
        hashes_of(pa.array(["0" * 64, "0" * 16]))


def test_columns(tmp_path: Path) -> None:
    """A hash, those of its parts and a quality for each picture; null where there is none; filters can name a hash."""
    one, other = (Image.fromarray(scene(seed, (180, 240))) for seed in (1, 2))
    files = {"a.jpg": one, "b.jpg": None, "c.jpg": one.reduce(2), "d.jpg": other}
    members = [(name, jpeg(image, 85) if image else b"no picture") for name, image in files.items()]
    write_tar(tmp_path / "data" / "00000.tar", members)
    ds = PerceptualHash()(opened(tmp_path / "data"))
    frame = ds.metadata.compute().set_index("key")
    assert frame.perceptual_hash.str.len().dropna().tolist() == [64, 64, 64]
    assert pd.isna(frame.perceptual_hash["b"])
    assert pd.isna(frame.perceptual_quality["b"])
    assert frame.perceptual_hash["a"] != frame.perceptual_hash_crops["a"]
    assert len(frame.perceptual_hash_crops["a"]) == 9 * 64
    near = apart(*(hashes_of(pa.array([frame.perceptual_hash[key]]))[0] for key in ("a", "c")))
    assert near.max() <= NEAR[256]
    blocked = frame.perceptual_hash["d"]
    assert ds.filter(f"perceptual_hash not in ['{blocked}']").metadata.key.compute().tolist() == ["a", "c"]


@pytest.mark.parametrize(("crops", "digits"), [(0, None), (1, 16), (9, 144)])
def test_parts_and_names_are_chosen(crops: int, digits: int | None) -> None:
    """Columns are as ``adds`` promises, and hashes that differ in kind have another fingerprint."""
    stage = PerceptualHash(64, crops, "phash", "interest")
    computed = stage.process(np.random.default_rng(1).integers(0, 256, (3, *stage.input_shape), dtype=np.uint8))
    assert list(computed) == list(stage.adds())
    assert {name: len(values[0]) for name, values in computed.items() if name != "interest"} == (
        {"phash": 16} | ({"phash_crops": digits} if digits else {})
    )
    assert stage.fingerprint() != PerceptualHash(256, crops, "phash", "interest").fingerprint()


def test_other_sizes_are_refused() -> None:
    """Early, and with what there is."""
    with pytest.raises(ParameterError, match=r"hash_size=128: Input should be 64 or 256"):
        PerceptualHash(hash_size=128)
    with pytest.raises(ParameterError, match=r"crops=5: Input should be 0, 1 or 9"):
        PerceptualHash(crops=5)


def read_photos(folder: Path) -> dict[str, Pixels]:
    photos = {}
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                if member.name.endswith((".jpg", ".png", ".webp")):
                    data = tar.extractfile(member)
                    assert data is not None
                    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data.read())))
                    photos[member.name.split(".")[0]] = np.asarray(image.convert("RGB"))
    return photos


@pytest.fixture(scope="module")
def photos(shared: Path) -> dict[str, Pixels]:
    return read_photos(shared / "data" / "photos")


@pytest.fixture(scope="module")
def planted(shared: Path) -> list[tuple[str, str]]:
    with (shared / "data" / "photos_duplicates.csv").open() as file:
        return [(row["key"], row["source_key"]) for row in csv.DictReader(file)]


def distances(one: Pixels, other: Pixels) -> NDArray[np.int64]:
    """Of all pairs of pictures, by their ``views``: the whole of either to any view of the other."""
    forth = np.min([apart(one[:1].swapaxes(0, 1), view[None]) for view in other], axis=0)
    back = np.min([apart(view[:, None], other[0][None]) for view in one], axis=0)
    nearest: NDArray[np.int64] = np.minimum(forth, back)
    return nearest


@pytest.mark.shared
@pytest.mark.parametrize("hash_size", [64, 256])
def test_planted_duplicates_are_near_and_nothing_else(
    photos: dict[str, Pixels], planted: list[tuple[str, str]], hash_size: HashSize
) -> None:
    """All 60, with a wide gap to the nearest two photographs that are not the same."""
    place = {key: number for number, key in enumerate(photos)}
    hashes = views(thumbnails(list(photos.values())), hash_size, 1)
    found = distances(hashes, hashes)
    rows, columns = np.array([[place[key] for key in pair] for pair in planted]).T
    assert found[rows, columns].max() <= NEAR[hash_size] / 2
    others = np.triu(np.ones_like(found, dtype=bool), 1)
    others[rows, columns] = others[columns, rows] = False
    assert found[others].min() > (NEAR[hash_size] if hash_size == 64 else 2 * NEAR[hash_size])


def cut(image: Image.Image, down: float, across: float) -> Image.Image:
    """95 % of a picture, from ``down`` and ``across`` of its margins on."""
    height, width = round(0.95 * image.height), round(0.95 * image.width)
    top, left = round((image.height - height) * down), round((image.width - width) * across)
    return image.crop((left, top, left + width, top + height))


def brighter(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    return ImageEnhance.Brightness(image).enhance(rng.uniform(1.1, 1.4))


Copy = Callable[[Image.Image, np.random.Generator], Image.Image]
#: How a copy is made, the quality of its JPEG, the parts that have hashes and how many copies are to be found at least.
COPIES: dict[str, tuple[Copy, int, int, float]] = {
    "half size": (lambda image, rng: image.reduce(2), 85, 1, 0.98),
    "JPEG q30": (lambda image, rng: image, 30, 1, 0.98),
    "brighter": (brighter, 85, 1, 0.98),
    "grey": (lambda image, rng: image.convert("L"), 85, 1, 0.98),
    "5 % off": (lambda image, rng: cut(image, 0.5, 0.5), 85, 1, 0.98),
    "5 % off anywhere": (lambda image, rng: cut(image, *rng.uniform(size=2)), 85, 9, 0.95),
}


@pytest.mark.shared
@pytest.mark.parametrize("kind", COPIES)
def test_copies_of_photographs_are_found(photos: dict[str, Pixels], planted: list[tuple[str, str]], kind: str) -> None:
    """Of each kind nearly all, and no other photograph for one."""
    copies = {key for key, _ in planted}
    originals = [pixels for key, pixels in photos.items() if key not in copies][::4]
    copy, quality, crops, recall = COPIES[kind]
    rng = np.random.default_rng(4)
    files = [jpeg(copy(Image.fromarray(pixels), rng), quality) for pixels in originals]
    altered = [np.array(Image.open(io.BytesIO(file)).convert("RGB")) for file in files]
    found = distances(*(views(thumbnails(pictures), 256, crops) for pictures in (originals, altered))) <= NEAR[256]
    assert found.diagonal().mean() >= recall
    assert found.sum() == found.diagonal().sum()
