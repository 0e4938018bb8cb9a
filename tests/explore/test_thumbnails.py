"""Small JPEGs of pictures."""

from __future__ import annotations

import io

import numpy as np
import pytest
from making import picture
from PIL import Image

from imagecurate.explore.thumbnails import thumbnail, veil
from imagecurate.images import DecodePolicy, Decoder


def opened(jpeg: bytes | None) -> Image.Image:
    assert jpeg is not None
    return Image.open(io.BytesIO(jpeg))


@pytest.mark.parametrize("size", [(64, 48), (48, 64), (1000, 10), (3000, 2000), (1, 1)])
def test_the_longer_side_is_bounded(size: tuple[int, int]) -> None:
    """The shape stays, and small pictures stay small."""
    small = thumbnail(picture(1, size), 100)
    scale = min(1.0, 100 / max(size))
    expected = tuple(max(1, round(side * scale)) for side in size)
    assert (small.width, small.height) == pytest.approx(expected, abs=1)
    assert opened(small.jpeg).size == (small.width, small.height)


@pytest.mark.parametrize(("format", "mode"), [("PNG", "RGBA"), ("PNG", "L"), ("WEBP", "RGB"), ("JPEG", "CMYK")])
def test_every_format_becomes_a_jpeg_in_colour(format: str, mode: str) -> None:  # noqa: A002
    """By the policy of the decoder."""
    small = thumbnail(picture(2, (60, 40), format, mode), 30)
    assert opened(small.jpeg).mode == "RGB"


def test_a_scaled_decode_looks_like_a_full_one() -> None:
    """Large JPEGs are decoded at a part of their size, which must not show."""
    pixels = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
    large = Image.fromarray(pixels).resize((1600, 1200), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    large.save(buffer, "JPEG", quality=95)
    small = opened(thumbnail(buffer.getvalue(), 160).jpeg)
    difference = np.asarray(small, np.int16) - np.asarray(large.resize(small.size), np.int16)
    assert np.abs(difference).mean() < 4


def test_exif_orientation_is_applied() -> None:
    """A turned picture stands upright."""
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    Image.new("RGB", (2000, 1000), "red").save(buffer, "JPEG", exif=exif)
    small = thumbnail(buffer.getvalue(), 100)
    assert (small.width, small.height) == (50, 100)


def test_bad_data_gives_a_reason() -> None:
    """And never an exception."""
    assert thumbnail(b"").error == "empty file"
    assert thumbnail(picture(3, (3000, 2000))[:-4000]).error == "truncated: the file ends before its picture does"
    assert thumbnail(b"<svg onload='alert(1)'/>").jpeg is None


def test_a_decoder_given_stays_open() -> None:
    """Many threads share it; its policy counts."""
    with Decoder(DecodePolicy(max_pixels=100)) as decoder:
        assert "too many pixels" in str(thumbnail(picture(4, (64, 48), "PNG"), 10, decoder).error)
        assert thumbnail(picture(4, (8, 8), "PNG"), 10, decoder).jpeg is not None


def test_a_veil_shows_no_shapes() -> None:
    """What stands in front of a picture has next to nothing of its detail."""
    stripes = np.zeros((100, 100, 3), np.uint8)
    stripes[:, ::2] = 255
    buffer = io.BytesIO()
    Image.fromarray(stripes).save(buffer, "JPEG", quality=95)
    small = thumbnail(buffer.getvalue(), 100)
    assert small.jpeg is not None
    covered = np.asarray(opened(veil(small.jpeg)).convert("L"), np.float64)
    assert covered.std() < 12
