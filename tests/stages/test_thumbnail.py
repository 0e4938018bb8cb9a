"""The embedding without weights: near copies lie near, other pictures do not."""

from __future__ import annotations

import csv
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from PIL import Image, ImageOps
from scipy.fft import dctn

from imagecurate.stages import ThumbnailEmbedder

EMBEDDER = ThumbnailEmbedder()


def embed(pictures: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
    thumbnails = np.stack([EMBEDDER.prepare(picture) for picture in pictures])
    return np.asarray(EMBEDDER.process(thumbnails)["image_embedding"])


@given(st.tuples(st.integers(1, 70), st.integers(1, 70)).flatmap(lambda size: arrays(np.uint8, (*size, 3))))
def test_every_picture_has_a_vector(picture: NDArray[np.uint8]) -> None:
    """Of unit length and 67 numbers, whatever its shape and content."""
    (vector,) = embed([picture])
    assert vector.shape == (67,)
    assert vector.dtype == np.float32
    assert abs(np.linalg.norm(vector) - 1) < 1e-6


@pytest.mark.parametrize("level", [0, 127, 128, 255])
def test_flat_pictures_are_told_by_colour(level: int) -> None:
    """A constant picture is finite; grey of any level is near itself and far from red."""
    grey, red = np.full((40, 50, 3), level, np.uint8), np.zeros((40, 50, 3), np.uint8)
    red[..., 0] = 255
    vectors = embed([grey, np.clip(grey, 1, 254), red])
    assert np.isfinite(vectors).all()
    assert vectors[0] @ vectors[1] > 0.99
    assert vectors[0] @ vectors[2] < 0.8


def test_rows_do_not_depend_on_their_batch() -> None:
    """Bit by bit."""
    thumbnails = np.random.default_rng(1).integers(0, 256, (9, 32, 32, 3), dtype=np.uint8)
    whole = EMBEDDER.process(thumbnails)["image_embedding"]
    single = [EMBEDDER.process(thumbnails[row : row + 1])["image_embedding"][0] for row in range(9)]
    assert np.array_equal(whole, np.stack(single))
    assert EMBEDDER.process(thumbnails[:0])["image_embedding"].shape == (0, 67)


def test_the_transform_is_the_cosine_transform() -> None:
    """Against SciPy's."""
    thumbnail = np.random.default_rng(2).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    luma = thumbnail / 255 @ [0.299, 0.587, 0.114]
    row, column = np.indices((8, 8))
    shapes = (dctn(luma, norm="ortho")[:8, :8] / 4 * np.hypot(row, column) ** 0.5).ravel()[1:]
    vector = EMBEDDER.process(thumbnail[None])["image_embedding"][0]
    assert shapes @ vector[:63] / np.linalg.norm(shapes) / np.linalg.norm(vector[:63]) == pytest.approx(1, abs=1e-6)


def test_it_needs_no_torch() -> None:
    """Neither weights nor a model library."""
    import subprocess
    import sys

    code = (
        "import sys, numpy as np\n"
        "from imagecurate.stages import ThumbnailEmbedder\n"
        "e = ThumbnailEmbedder('thumb')\n"
        "e.process(e.prepare(np.zeros((5, 5, 3), np.uint8))[None])\n"
        "assert e.fingerprint() and not {'torch', 'timm'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.shared
def test_planted_duplicates(shared: Path) -> None:
    """Copies of photographs lie within a cosine of 0.95, no two different ones do by far."""
    keys, pictures = [], []
    for path in sorted((shared / "data" / "photos").glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                if member.name.endswith((".jpg", ".png", ".webp")):
                    data = tar.extractfile(member)
                    assert data is not None
                    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data.read())))
                    keys.append(member.name.split(".")[0])
                    pictures.append(np.asarray(image.convert("RGB")))
    place = {key: number for number, key in enumerate(keys)}
    with (shared / "data" / "photos_duplicates.csv").open() as file:
        pairs = [(place[row["key"]], place[row["source_key"]]) for row in csv.DictReader(file)]
    vectors = embed(pictures)
    cosines = vectors @ vectors.T
    assert min(cosines[pair] for pair in pairs) > 0.95
    others = np.triu(np.ones_like(cosines, dtype=bool), 1)
    for one, other in pairs:
        others[one, other] = others[other, one] = False
    assert cosines[others].max() < 0.75
