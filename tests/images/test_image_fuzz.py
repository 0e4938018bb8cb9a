"""Damaged files never raise, never harm the next one, and are never read in two ways."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from imagecurate.images.decoder import decode_plain
from imagecurate.images.header import jpeg_header

SEEDS = ("jpeg", "progressive", "grey", "turned", "png", "palette", "gif", "webp", "avif", "tiff", "lzw", "bmp", "jp2")

#: Where to damage a file (a share of its length, small ones more often: headers), and how.
damages = st.lists(
    st.tuples(
        st.sampled_from(["flip", "set", "cut", "insert", "repeat"]),
        st.one_of(st.floats(0, 1, exclude_max=True), st.floats(0, 0.1)),
        st.integers(0, 255),
    ),
    min_size=1,
    max_size=5,
)


@pytest.fixture(scope="session")
def seeds(make_picture, encode) -> dict[str, bytes]:
    """A small valid file of each kind."""
    pixels = make_picture(23, 37)
    image = Image.fromarray(pixels)
    turned = Image.Exif()
    turned[0x010F] = "a camera"
    turned[0x0112] = 6
    files = [
        encode(pixels, "JPEG"),
        encode(pixels, "JPEG", progressive=True),
        encode(image.convert("L"), "JPEG", restart_marker_rows=1),
        encode(pixels, "JPEG", exif=turned),
        encode(image.convert("RGBA"), "PNG"),
        encode(image.quantize(16), "PNG", transparency=3),
        encode(image, "GIF", save_all=True, append_images=[image.rotate(180)]),
        encode(pixels, "WEBP"),
        encode(pixels, "AVIF", exif=turned),
        encode(pixels, "TIFF"),
        encode(Image.fromarray(pixels[..., 0].astype(np.uint16) * 257), "TIFF", compression="tiff_lzw"),
        encode(image.quantize(4), "BMP"),
        encode(pixels, "JPEG2000"),
    ]
    return dict(zip(SEEDS, files, strict=True))


def damaged(data: bytes, harm: list[tuple[str, float, int]]) -> bytes:
    """Apply damages one after the other."""
    for kind, where, value in harm:
        position = int(where * len(data))
        before, after = data[:position], data[position:]
        if kind == "cut":
            data = before
        elif kind == "insert":
            data = before + bytes([value]) + after
        elif kind == "repeat":
            data = before + after[:value] + after
        elif after:
            data = before + bytes([after[0] ^ 1 << value % 8 if kind == "flip" else value]) + after[1:]
    return data


@settings(max_examples=300, deadline=None)
@given(seed=st.sampled_from(SEEDS), harm=damages)
def test_any_damage_gives_pixels_or_a_reason(decoder, seeds, seed, harm):
    """One or the other, never an exception, and the decoder goes on."""
    decoded = decoder.decode(damaged(seeds[seed], harm))
    info = decoded.info
    if decoded.pixels is None:
        assert info.error
        assert len(info.error) < 160
        assert "0x" not in info.error  # an address would differ in every run
    else:
        assert info.error is None
        assert decoded.pixels.shape == (info.height, info.width, 3)
        assert decoded.pixels.dtype == np.uint8
        assert decoded.pixels.flags.c_contiguous
        assert None not in (info.format, info.mode, info.bit_depth, info.orientation, info.has_alpha)
    assert decoder.decode(seeds["png"]).pixels is not None


@settings(max_examples=300, deadline=None)
@given(seed=st.sampled_from(SEEDS[:4]), harm=damages)
def test_both_paths_read_a_damaged_jpeg_alike(decoder, seeds, seed, harm):
    """What the fast path accepts, whole or reduced, Pillow decodes to the same pixels and the same columns."""
    data = damaged(seeds[seed], harm)
    header = jpeg_header(data)
    if header is None or not header.is_plain:
        return
    here = decode_plain(data, header, decoder.policy)
    for reduction in (2, 4, 8):
        smaller = decode_plain(data, header, decoder.policy, reduction)
        assert (smaller is None) == (here is None)
        assert smaller is None or smaller.shape == (*(-(-edge // reduction) for edge in here.shape[:2]), 3)
    if here is None:
        return
    apart = decoder._decode_apart(data)
    np.testing.assert_array_equal(here, apart.pixels)
    assert decoder.decode(data).info == apart.info
