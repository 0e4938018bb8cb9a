"""The decoder as its callers see it."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image, ImageOps

from imagecurate.images import DecodePolicy, Decoder

WHITE = [255, 255, 255]


def pillow(data: bytes) -> np.ndarray:
    return np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (16, 16), (61, 97), (1, 300)])
@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"subsampling": 0}, {"subsampling": 1}, {"quality": 20}]
)
def test_plain_jpeg_is_pillows_bit_for_bit(decoder, make_picture, encode, size, options):
    """The fast path decodes what Pillow decodes."""
    data = encode(make_picture(*size), "JPEG", **options)
    decoded = decoder.decode(data)
    np.testing.assert_array_equal(decoded.pixels, pillow(data))
    assert (decoded.info.format, decoded.info.mode, decoded.info.error) == ("jpeg", "RGB", None)
    assert decoded.pixels.flags.c_contiguous


def test_grey_jpeg(decoder, make_picture, encode):
    """Grey becomes three equal channels, and its mode says so."""
    data = encode(Image.fromarray(make_picture(20, 30)).convert("L"), "JPEG")
    decoded = decoder.decode(data)
    np.testing.assert_array_equal(decoded.pixels, pillow(data))
    assert decoded.info.mode == "L"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied(decoder, make_picture, encode, kind, orientation):
    """In every format that carries one, and width and height are those of the upright picture."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(make_picture(12, 20), kind, exif=exif)
    decoded = decoder.decode(data)
    height, width = (12, 20) if orientation < 5 else (20, 12)
    np.testing.assert_array_equal(decoded.pixels, pillow(data))
    assert (decoded.info.height, decoded.info.width) == decoded.pixels.shape[:2] == (height, width)
    assert decoded.info.orientation == orientation


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_of_many_strips_is_turned_like_one_of_one(decoder, make_picture, encode, orientation):
    """Pictures above a million pixels are converted in strips, which are put together in the right order."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(make_picture(1100, 1000), "PNG", exif=exif, compress_level=1)
    np.testing.assert_array_equal(decoder.decode(data).pixels, pillow(data))


@pytest.mark.parametrize("kind", ["bytes", "bytearray", "memoryview"])
def test_any_bytes_like_object(decoder, make_picture, encode, kind):
    """A view into a mapped shard is as good as bytes."""
    data = encode(make_picture(9, 9), "JPEG")
    given = {"bytes": data, "bytearray": bytearray(data), "memoryview": memoryview(b"x" + data)[1:]}[kind]
    assert decoder.decode(given).pixels.shape == (9, 9, 3)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"hello", "not an image"),
        (b"<!DOCTYPE html><html></html>", "not an image"),
        (b"\0" * 5000, "not an image"),
        (b"%PDF-1.7 ...", "unsupported format: pdf"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "unsupported format: eps"),
        (b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>', "unsupported format: svg"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "unsupported format: heic"),
        (b"\xff\xd8\xff", "truncated: the file ends before its picture does"),
    ],
)
def test_what_is_no_picture_fails_with_a_reason(decoder, data, reason):
    """Reasons are short and the same in every run."""
    decoded = decoder.decode(data)
    assert decoded.pixels is None
    assert decoded.info.error == reason


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "AVIF", "JPEG2000", "BMP", "PPM"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.95])
def test_truncated_files_say_so(decoder, make_picture, encode, kind, share):
    """Wherever a file is cut."""
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = encode(noise, kind)
    info = decoder.decode(data[: int(len(data) * share)]).info
    if info.format in ("bmp", "ppm") and share < 0.05:
        assert info.error  # half a header says nothing about what follows
    else:
        assert info.error == "truncated: the file ends before its picture does"
        assert info.is_truncated


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_truncated_files_are_decoded_where_accepted(make_picture, encode, kind):
    """What is there is kept, and the column says that something is missing."""
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = encode(pixels, kind)
    with Decoder(DecodePolicy(accept_truncated=True)) as decoder:
        decoded = decoder.decode(data[: len(data) * 3 // 4])
        assert decoded.info.error is None
        assert decoded.info.is_truncated
        np.testing.assert_array_equal(decoded.pixels[:16], decoder.decode(data).pixels[:16])
        assert decoder.decode(b"\xff\xd8\xff\xe0").info.error.startswith("truncated")
        assert not decoder.decode(data).info.is_truncated


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "AVIF", "TIFF", "BMP", "JPEG2000"])
def test_pixels_are_bounded_by_the_header(make_picture, encode, kind):
    """A picture above the bound is refused with its size; one at the bound is decoded."""
    data = encode(make_picture(30, 40), kind)
    with Decoder(DecodePolicy(max_pixels=1199)) as decoder:
        decoded = decoder.decode(data)
        assert decoded.pixels is None
        assert decoded.info.error == "too many pixels: 40x30 = 1200 > 1199"
        assert (decoded.info.width, decoded.info.height, decoded.info.format) == (40, 30, kind.lower())
    with Decoder(DecodePolicy(max_pixels=1200)) as decoder:
        assert decoder.decode(data).pixels.shape == (30, 40, 3)


def test_pictures_inside_of_pictures_are_bounded(encode):
    """An icon may hold a PNG far larger than its directory says."""
    png = encode(Image.new("1", (3000, 3000)), "PNG")
    icon = struct.pack("<HHH", 0, 1, 1) + struct.pack("<BBBBHHII", 16, 16, 0, 0, 1, 32, len(png), 22) + png
    with Decoder(DecodePolicy(max_pixels=1_000_000)) as decoder:
        assert decoder.decode(icon).info.error == "too many pixels: 3000x3000 = 9000000 > 1000000"


def test_a_bomb_costs_nothing(decoder):
    """A header that promises four thousand million pixels is refused before anything is reserved."""
    header = struct.pack(">IIBBBBB", 65535, 65535, 8, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + header
    import zlib

    png += struct.pack(">I", zlib.crc32(b"IHDR" + header)) + struct.pack(">I", 0) + b"IDAT" + bytes(4)
    assert decoder.decode(png).info.error == "too many pixels: 65535x65535 = 4294836225 > 89478485"


def test_trailing_bytes_do_no_harm(decoder, make_picture, encode):
    """Cameras append thumbnails and videos."""
    data = encode(make_picture(20, 20), "JPEG")
    np.testing.assert_array_equal(decoder.decode(data + b"\0" * 999).pixels, decoder.decode(data).pixels)


def test_damaged_exif_does_not_spoil_a_picture(decoder, make_picture, encode):
    """The picture counts as upright."""
    data = encode(make_picture(20, 20), "JPEG", exif=b"Exif\0\0nonsense that is no TIFF header")
    decoded = decoder.decode(data)
    assert decoded.info.error is None
    assert decoded.info.orientation == 1


def test_many_threads_at_once(make_picture, encode):
    """One decoder serves any number of threads, fast path and processes mixed, and each gets its own picture."""
    sizes = [(8 + n, 40 - n) for n in range(24)]
    files = [encode(make_picture(*size), ("JPEG", "PNG", "WEBP")[n % 3]) for n, size in enumerate(sizes)] * 4
    with Decoder() as decoder, ThreadPoolExecutor(6) as pool:
        shapes = [decoded.pixels.shape[:2] for decoded in pool.map(decoder.decode, files)]
        assert len(decoder._idle) <= 6
    assert shapes == sizes * 4


def test_a_closed_decoder_starts_anew(make_picture, encode):
    """Closing ends processes, not the object."""
    decoder = Decoder()
    data = encode(make_picture(5, 5), "PNG")
    assert decoder.decode(data).pixels is not None
    decoder.close()
    assert decoder._idle == []
    assert decoder.decode(data).pixels is not None
    decoder.close()


def test_decoder_is_quiet(decoder, make_picture, encode, capfd):
    """What libraries print about damaged files stays in the other process."""
    data = bytearray(encode(Image.fromarray(make_picture(64, 64)).convert("1"), "TIFF", compression="group4"))
    data[20:60] = bytes(40)
    decoder.decode(bytes(data))
    assert capfd.readouterr() == ("", "")


def test_pillow_stays_out_of_the_calling_process():
    """Decoding plain JPEG, and starting processes for the rest, imports neither Pillow nor torch."""
    script = (
        "import sys, types\n"
        "from imagecurate.images import Decoder\n"
        "with Decoder() as decoder:\n"
        "    assert decoder.decode(b'GIF89a').info.error\n"
        "assert not {'PIL', 'torch', 'timm'} & set(sys.modules), sorted(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_threads_that_end_leave_no_process_behind(make_picture, encode):
    """Processes belong to the decoder, not to the thread that first needed one."""
    data = encode(make_picture(5, 5), "PNG")
    with Decoder() as decoder:
        for _ in range(5):
            thread = threading.Thread(target=decoder.decode, args=(data,))
            thread.start()
            thread.join()
        assert len(decoder._idle) == 1
