"""Pictures to test with, and one decoder for all tests."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

from imagecurate.images import Decoder


def picture(height: int, width: int) -> np.ndarray:
    """A smooth picture, different in every corner, so that no turn of it is like another."""
    rows, columns = np.mgrid[0:height, 0:width]
    red = 255 * columns / max(1, width - 1)
    green = 255 * rows / max(1, height - 1)
    blue = 127 + 127 * np.sin(rows / 7 + columns / 11)
    return np.stack([red, green, blue], axis=2).astype(np.uint8)


@pytest.fixture(scope="session")
def make_picture() -> Callable[[int, int], np.ndarray]:
    """Give a smooth picture of a height and a width."""
    return picture


def file_of(pixels: Any, kind: str, **options: Any) -> bytes:
    """The bytes of a file of the given format."""
    image = Image.fromarray(pixels) if isinstance(pixels, np.ndarray) else pixels
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def encode() -> Callable[..., bytes]:
    """Encode pixels or a Pillow picture."""
    return file_of


@pytest.fixture(scope="session")
def decoder() -> Iterator[Decoder]:
    """A decoder by the default policy."""
    with Decoder() as decoder:
        yield decoder
