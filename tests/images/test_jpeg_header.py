"""What the header probe reads of a JPEG, and what it leaves to Pillow."""

from __future__ import annotations

import io
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from imagecurate.images.header import ends_early, format_of, jpeg_header


def with_segment(jpeg: bytes, marker: int, body: bytes) -> bytes:
    return jpeg[:2] + bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body + jpeg[2:]


def exif(order: str, entries: list[tuple[int, int, int, bytes]]) -> bytes:
    mark = b"II*\0" if order == "<" else b"MM\0*"
    head = mark + struct.pack(order + "IH", 8, len(entries))
    return (
        b"Exif\0\0" + head + b"".join(struct.pack(order + "HHI", *entry[:3]) + entry[3] for entry in entries) + bytes(4)
    )


def pillow_orientation(data: bytes) -> int:
    value = Image.open(io.BytesIO(data)).getexif().get(0x0112, 1)
    return value if value in range(1, 9) else 1


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"optimize": True}])
def test_size_and_kind(make_picture, encode, options):
    """Every kind that Pillow writes is plain, and its size is read."""
    header = jpeg_header(encode(make_picture(31, 47), "JPEG", **options))
    assert (header.width, header.height, header.components, header.precision) == (47, 31, 3, 8)
    assert header.is_plain


def test_grey_is_plain_and_cmyk_is_not(make_picture, encode):
    """CMYK has conventions of its own, which Pillow knows."""
    image = Image.fromarray(make_picture(8, 8))
    assert jpeg_header(encode(image.convert("L"), "JPEG")).is_plain
    header = jpeg_header(encode(image.convert("CMYK"), "JPEG"))
    assert header.components == 4
    assert not header.is_plain


def test_scans_are_counted_from_above(make_picture, encode):
    """A progressive file has about ten scans; each repeated scan counts."""
    data = encode(make_picture(32, 32), "JPEG", progressive=True)
    scans = jpeg_header(data).scans
    assert scans >= 6
    last = data.rindex(b"\xff\xda")
    assert jpeg_header(data[:-2] + data[last:-2] * 50 + data[-2:]).scans == scans + 50


def test_scans_of_a_baseline_file(make_picture, encode):
    """One where it holds every component; else they are counted, as a bomb may have thousands."""
    data = encode(make_picture(32, 32), "JPEG")
    assert jpeg_header(data + b"\xff\xda" * 9).scans == 1
    scan = data.index(b"\xff\xda")
    single = data[:scan] + b"\xff\xda\0\x08\1\1\0\0\x3f\0" + data[scan + 14 : -2]
    assert jpeg_header(single + b"\xff\xda" * 9).scans == 10


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("value", range(10))
def test_exif_orientation(make_picture, encode, order, value):
    """Both byte orders are read; what is no orientation counts as upright."""
    number = struct.pack(order + "HH", value, 0)
    data = with_segment(encode(make_picture(8, 8), "JPEG"), 0xE1, exif(order, [(0x0112, 3, 1, number)]))
    header = jpeg_header(data)
    assert header.is_plain
    assert header.orientation == pillow_orientation(data)


@pytest.mark.parametrize(
    "entries",
    [
        [(0x0112, 4, 1, b"\6\0\0\0")],
        [(0x0112, 3, 2, b"\6\0\3\0")],
        [(0x0112, 3, 1, b"\6\0\0\0"), (0x0112, 3, 1, b"\3\0\0\0")],
        [(0x010F, 2, 500, b"\0\0\1\0"), (0x0112, 3, 1, b"\6\0\0\0")],
    ],
    ids=["a long", "two numbers", "twice", "after an entry that lies outside"],
)
def test_ambiguous_exif_is_left_to_pillow(make_picture, encode, entries):
    """Where decoders might disagree about the orientation, one of them decides."""
    data = with_segment(encode(make_picture(8, 8), "JPEG"), 0xE1, exif("<", entries))
    assert not jpeg_header(data).is_plain


def test_xmp_orientation_counts_without_exif(make_picture, encode):
    """As in Pillow, XMP is asked where EXIF says nothing."""
    xmp = b"http://ns.adobe.com/xap/1.0/\0<x tiff:Orientation='1' tiff:Orientation=\"8\"/>"
    data = with_segment(encode(make_picture(8, 8), "JPEG"), 0xE1, xmp)
    assert jpeg_header(data).orientation == 8 == pillow_orientation(data)
    both = with_segment(data, 0xE1, exif("<", [(0x0112, 3, 1, b"\3\0\0\0")]))
    assert jpeg_header(both).orientation == 3 == pillow_orientation(both)


def test_several_pictures_in_one_file_are_left_to_pillow(make_picture, encode):
    """Multi-picture files have an orientation and frames of their own."""
    assert not jpeg_header(with_segment(encode(make_picture(8, 8), "JPEG"), 0xE2, b"MPF\0II*\0")).is_plain


def test_fill_bytes_before_a_marker(make_picture, encode):
    """Any number of FF may precede a marker."""
    data = encode(make_picture(8, 8), "JPEG")
    assert jpeg_header(data[:2] + b"\xff\xff" + data[2:]).is_plain


@pytest.mark.parametrize("frame", [0xC3, 0xC5, 0xC9, 0xCA])
def test_unusual_frames_are_left_to_pillow(make_picture, encode, frame):
    """Lossless, hierarchical and arithmetic coding are not plain."""
    data = encode(make_picture(8, 8), "JPEG")
    assert not jpeg_header(data.replace(b"\xff\xc0", bytes([0xFF, frame]), 1)).is_plain


def test_twelve_bits_are_left_to_pillow(make_picture, encode):
    """Only 8 bits are plain."""
    data = bytearray(encode(make_picture(8, 8), "JPEG"))
    data[data.index(b"\xff\xc0") + 4] = 12
    header = jpeg_header(bytes(data))
    assert header.precision == 12
    assert not header.is_plain


@given(st.binary(max_size=200))
def test_any_bytes(tail):
    """Damage in a header is never an error."""
    for data in (tail, b"\xff\xd8" + tail, b"\xff\xd8\xff\xe1\x00\x40Exif\0\0II*\0" + tail):
        header = jpeg_header(data)
        assert header is None or header.orientation in range(1, 9)
        assert format_of(data) is None or isinstance(format_of(data), str)
        assert ends_early(data) in (True, False)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "AVIF", "JPEG2000"])
def test_a_file_cut_short_is_recognised(make_picture, encode, kind):
    """The container tells a truncated file from a damaged one."""
    data = encode(make_picture(40, 40), kind)
    assert format_of(data) == kind.lower()
    assert not ends_early(data)
    for share in (0.3, 0.6, 0.9):
        assert ends_early(data[: int(len(data) * share)])


def test_trailing_bytes_are_no_truncation(make_picture, encode):
    """Cameras append thumbnails and videos."""
    assert not ends_early(encode(make_picture(8, 8), "JPEG") + b"more")
