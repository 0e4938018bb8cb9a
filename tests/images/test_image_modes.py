"""How each mode and oddity becomes RGB, with values worked out by hand."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

WHITE = [255, 255, 255]


def png(width: int, height: int, depth: int, colour: int, rows: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG made by hand, for what Pillow does not write."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    packed = [
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in parts
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def test_alpha_over_white(decoder, encode):
    """Transparent is white, half transparent is halfway there."""
    image = Image.new("RGBA", (3, 1))
    image.putdata([(200, 100, 0, 255), (200, 100, 0, 0), (200, 100, 0, 128)])
    decoded = decoder.decode(encode(image, "PNG"))
    assert decoded.pixels.tolist() == [[[200, 100, 0], WHITE, [227, 177, 127]]]
    assert decoded.info.has_alpha
    assert decoded.info.mode == "RGBA"


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "AVIF", "ICO", "JPEG2000"])
def test_alpha_in_every_format(decoder, encode, kind):
    """A fully transparent corner is white whatever colour lies below."""
    image = Image.new("RGBA", (32, 32), (10, 20, 30, 255))
    image.paste((10, 20, 30, 0), (0, 0, 16, 16))
    options = {"lossless": True} if kind == "WEBP" else {}
    pixels = decoder.decode(encode(image, kind, **options)).pixels
    assert pixels[2, 2].tolist() == WHITE
    assert np.abs(pixels[-3, -3].astype(int) - [10, 20, 30]).max() <= 6


def test_grey_with_alpha(decoder, encode):
    """LA is grey over white."""
    image = Image.new("LA", (2, 1))
    image.putdata([(100, 255), (100, 0)])
    assert decoder.decode(encode(image, "PNG")).pixels.tolist() == [[[100, 100, 100], WHITE]]


def test_premultiplied_alpha(decoder, encode):
    """TIFF's associated alpha is taken out before the picture is laid over white."""
    data = encode(Image.new("RGBA", (1, 1), (100, 50, 0, 128)), "TIFF")
    extra_samples = struct.pack("<HHIH", 338, 3, 1, 2)
    assert extra_samples in data
    pixels = decoder.decode(data.replace(extra_samples, struct.pack("<HHIH", 338, 3, 1, 1))).pixels
    assert np.abs(pixels.astype(int) - [227, 177, 127]).max() <= 1


def test_palette(decoder, encode):
    """Indices become the colours that they stand for."""
    image = Image.new("P", (2, 1))
    image.putpalette([1, 2, 3, 250, 251, 252])
    image.putdata([0, 1])
    for kind in ("PNG", "GIF", "TIFF", "BMP"):
        decoded = decoder.decode(encode(image, kind))
        assert decoded.pixels.tolist() == [[[1, 2, 3], [250, 251, 252]]]
        assert decoded.info.mode == "P"
        assert not decoded.info.has_alpha


@pytest.mark.parametrize(
    ("transparency", "expected"),
    [(0, [WHITE, [100, 100, 100], [0, 0, 0]]), (b"\0\x80\xff", [WHITE, [177, 177, 177], [0, 0, 0]])],
    ids=["one index", "alpha of each index"],
)
def test_palette_with_transparency(decoder, encode, transparency, expected):
    """One transparent index, or an alpha for each."""
    image = Image.new("P", (3, 1))
    image.putpalette([50, 50, 50, 100, 100, 100, 0, 0, 0])
    image.putdata([0, 1, 2])
    decoded = decoder.decode(encode(image, "PNG", transparency=transparency))
    assert decoded.pixels.tolist() == [expected]
    assert decoded.info.has_alpha


def test_transparent_colour(decoder, encode):
    """RGB and grey PNG may call one colour transparent."""
    image = Image.new("RGB", (2, 1))
    image.putdata([(1, 2, 3), (4, 5, 6)])
    assert decoder.decode(encode(image, "PNG", transparency=(1, 2, 3))).pixels.tolist() == [[WHITE, [4, 5, 6]]]
    grey = Image.new("L", (2, 1))
    grey.putdata([7, 8])
    assert decoder.decode(encode(grey, "PNG", transparency=7)).pixels.tolist() == [[WHITE, [8, 8, 8]]]


def test_transparent_grey_of_few_bits(decoder):
    """The transparent value is in the file's scale, 0 to 15 here, not in that of pixels."""
    decoded = decoder.decode(png(2, 1, 4, 0, b"\0\x5f", (b"tRNS", b"\0\5")))
    assert decoded.pixels.tolist() == [[WHITE, WHITE]]
    opaque = decoder.decode(png(2, 1, 4, 0, b"\0\x5f", (b"tRNS", b"\0\0")))
    assert opaque.pixels.tolist() == [[[85, 85, 85], WHITE]]
    assert opaque.info.bit_depth == 4


def test_transparent_colour_of_sixteen_bits(decoder):
    """The transparent value of a 16-bit picture has 16 bits, for colour and for grey."""
    rows = b"\0" + struct.pack(">6H", 0x1234, 0x5678, 0x9ABC, 0xFF00, 0, 0x8000)
    colour = decoder.decode(png(2, 1, 16, 2, rows, (b"tRNS", struct.pack(">3H", 0x1234, 0x5678, 0x9ABC))))
    assert colour.pixels.tolist() == [[WHITE, [255, 0, 128]]]
    rows = b"\0" + struct.pack(">2H", 0x1234, 0x4000)
    grey = decoder.decode(png(2, 1, 16, 0, rows, (b"tRNS", struct.pack(">H", 0x1234))))
    assert grey.pixels.tolist() == [[WHITE, [64, 64, 64]]]
    assert grey.info.bit_depth == colour.info.bit_depth == 16


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG2000"])
def test_sixteen_bit_grey_is_scaled(decoder, encode, kind):
    """0 is black, 65535 is white, and what lies between is not clipped."""
    values = np.linspace(0, 65535, 1024).astype(np.uint16).reshape(32, 32)
    decoded = decoder.decode(encode(Image.fromarray(values), kind))
    np.testing.assert_array_equal(decoded.pixels[..., 0], values >> 8)
    assert decoded.info.bit_depth == 16
    assert decoded.info.mode.startswith("I;16")


def test_big_endian_sixteen_bit_grey(decoder, encode):
    """The byte order of the file does not matter."""
    image = Image.frombytes("I;16B", (2, 1), struct.pack(">2H", 0x1234, 0xFFFF))
    assert decoder.decode(encode(image, "TIFF")).pixels[..., 0].tolist() == [[0x12, 0xFF]]


def test_sixteen_bit_colour_and_alpha(decoder):
    """PNG with 16 bits a channel: the high byte counts."""
    rgb = decoder.decode(png(1, 1, 16, 2, b"\0" + struct.pack(">3H", 0x1234, 0x5678, 0x9ABC)))
    assert rgb.pixels.tolist() == [[[0x12, 0x56, 0x9A]]]
    rgba = decoder.decode(png(1, 1, 16, 6, b"\0" + struct.pack(">4H", 0x1234, 0x5678, 0x9ABC, 0)))
    assert rgba.pixels.tolist() == [[WHITE]]
    grey_alpha = decoder.decode(png(1, 1, 16, 4, b"\0" + struct.pack(">2H", 0x1234, 0xFFFF)))
    assert grey_alpha.pixels.tolist() == [[[0x12] * 3]]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.5, 1.0], [0, 128, 255]),
        ([0.0, 100.0, 200.0], [0, 100, 200]),
        ([0.0, 32767.5, 65535.0], [0, 128, 255]),
        ([0.0, 0.51, 1.02], [0, 128, 255]),
        ([0.5, 1.0, 2.0], [64, 128, 255]),
        ([0.0, 2.0, 2.5], [0, 2, 3]),
        ([-2.0, 0.0, 2.0], [0, 128, 255]),
        ([1e6, 2e6, 3e6], [0, 128, 255]),
        ([float("nan"), float("inf"), 1.0], [0, 255, 255]),
        ([float("nan")] * 3, [0, 0, 0]),
        ([0.0] * 3, [0, 0, 0]),
    ],
)
def test_floats_are_scaled_by_their_range(decoder, encode, values, expected):
    """0 to 1, to their greatest up to 2, to 255 or to 65535; else their own least and greatest."""
    image = Image.fromarray(np.array([values], np.float32))
    decoded = decoder.decode(encode(image, "TIFF"))
    assert decoded.pixels[0, :, 0].tolist() == expected
    assert (decoded.info.mode, decoded.info.bit_depth) == ("F", 32)


@pytest.mark.parametrize(
    ("values", "expected"),
    [([0, 1, 200], [0, 1, 200]), ([0, 0x1234, 0xFFFF], [0, 0x12, 0xFF]), ([-100, 0, 100], [0, 128, 255])],
)
def test_wide_integers_are_scaled_by_their_range(decoder, encode, values, expected):
    """0 to 255 or to 65535; else their own least and greatest."""
    image = Image.fromarray(np.array([values], np.int32))
    assert decoder.decode(encode(image, "TIFF")).pixels[0, :, 0].tolist() == expected


def test_portable_greymap_of_sixteen_bits(decoder):
    """Pillow reads it into mode I."""
    pixels = decoder.decode(b"P5 3 1 65535\n" + struct.pack(">3H", 0, 0x1234, 0xFFFF)).pixels
    assert pixels[0, :, 0].tolist() == [0, 0x12, 0xFF]


@pytest.mark.parametrize(("most", "expected"), [(65535, [0, 0, 0]), (1000, [0, 25, 51])])
def test_a_dark_greymap_stays_dark(decoder, most, expected):
    """Its header says what white is, so its values need not."""
    pixels = decoder.decode(b"P5 3 1 %d\n" % most + struct.pack(">3H", 0, 100, 200)).pixels
    assert pixels[0, :, 0].tolist() == expected


def test_bilevel(decoder, encode):
    """One bit is black or white."""
    image = Image.new("1", (2, 1))
    image.putdata([0, 255])
    for kind in ("PNG", "TIFF", "BMP"):
        decoded = decoder.decode(encode(image, kind))
        assert decoded.pixels.tolist() == [[[0, 0, 0], WHITE]]
    assert decoder.decode(encode(image, "PNG")).info.bit_depth == 1


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk(decoder, encode, make_picture, kind):
    """Inks become light, also where Adobe's inverted values are stored."""
    data = encode(Image.fromarray(make_picture(32, 32)).convert("CMYK"), kind)
    decoded = decoder.decode(data)
    assert decoded.info.mode == "CMYK"
    np.testing.assert_array_equal(decoded.pixels, np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))
    assert np.abs(decoded.pixels.astype(int) - make_picture(32, 32)).mean() < 12


def test_lab(decoder, encode):
    """CIE Lab goes through its colour space."""
    lab = Image.merge("LAB", [Image.new("L", (4, 4), value) for value in (255, 128, 128)])
    assert decoder.decode(encode(lab, "TIFF")).pixels.min() >= 250


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF", "AVIF"])
def test_first_frame_of_an_animation(decoder, encode, kind):
    """The first frame is the picture, and the column says that there are more."""
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "green", "blue")]
    options = {"lossless": True} if kind == "WEBP" else {"quality": 100} if kind == "AVIF" else {}
    decoded = decoder.decode(encode(frames[0], kind, save_all=True, append_images=frames[1:], **options))
    assert decoded.info.is_animated
    assert np.abs(decoded.pixels.astype(int) - [255, 0, 0]).max() <= 3
    assert not decoder.decode(encode(frames[0], kind)).info.is_animated


def test_an_animation_damaged_after_its_first_frame(decoder, encode):
    """The first frame is there; whether more follow, nobody can tell."""
    frames = [Image.effect_noise((64, 64), level) for level in (20, 40, 60)]
    data = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    decoded = decoder.decode(data[: len(data) // 2])
    assert decoded.info.error is None
    assert decoded.pixels.shape == (64, 64, 3)


def test_multi_picture_jpeg(decoder, encode, make_picture):
    """Pillow knows these as MPO."""
    image = Image.fromarray(make_picture(16, 16))
    decoded = decoder.decode(encode(image, "MPO", save_all=True, append_images=[image.rotate(90)]))
    assert (decoded.info.format, decoded.info.is_animated) == ("mpo", True)
    assert np.abs(decoded.pixels.astype(int) - make_picture(16, 16)).mean() < 8


def test_colour_profiles_are_not_applied(decoder, encode, make_picture):
    """Numbers stay as stored: models were trained that way."""
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    for kind in ("PNG", "JPEG"):
        with_profile = encode(make_picture(16, 16), kind, icc_profile=profile)
        without = encode(make_picture(16, 16), kind)
        np.testing.assert_array_equal(decoder.decode(with_profile).pixels, decoder.decode(without).pixels)


@pytest.mark.parametrize("kind", ["BMP", "PPM", "TGA", "PCX", "SGI", "DDS", "QOI", "MSP", "XBM"])
def test_other_formats_of_pillow(decoder, encode, make_picture, kind):
    """Whatever Pillow reads by itself is read."""
    image = Image.fromarray(make_picture(32, 32))
    if kind in ("MSP", "XBM"):
        image = image.convert("1")
    decoded = decoder.decode(encode(image, kind))
    assert decoded.info.format == kind.lower()
    np.testing.assert_array_equal(decoded.pixels, np.asarray(image.convert("RGB")))


def test_every_length_of_a_short_edge(decoder, encode, make_picture):
    """One-pixel pictures and panoramas are no special case."""
    for size in ((1, 1), (1, 400), (400, 1), (20, 400), (2, 3)):
        for kind in ("JPEG", "PNG", "WEBP", "GIF"):
            assert decoder.decode(encode(make_picture(*size), kind)).pixels.shape == (*size, 3)
