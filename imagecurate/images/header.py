"""What the first bytes of a file tell, read in plain Python in a few microseconds."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

__all__ = ["UNSUPPORTED", "JpegHeader", "ends_early", "format_of", "jpeg_header"]

_SOI = b"\xff\xd8"
_EOI = b"\xff\xd9"
_SOS_MARKER = 0xDA
_SOS = b"\xff\xda"
_SIZE = struct.Struct(">BHHB")  # precision, height, width, components: ITU T.81, B.2.2
_ORIENTATION_TAG = 0x0112
_SHORT = 3
#: Bytes a value of each type, and the first bytes of the two byte orders: TIFF 6.0, section 2.
_TYPE_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8}
_BYTE_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
_XMP = b"http://ns.adobe.com/xap/1.0/\0"
#: The same look at XMP as Pillow's ``Image.getexif``.
_XMP_ORIENTATION = re.compile(rb'tiff:Orientation(="|>)([0-9])')

#: Frames that every decoder knows: baseline, extended sequential, progressive; Huffman coded.
_PLAIN_FRAMES = frozenset({0xC0, 0xC1, 0xC2})
_PROGRESSIVE = 0xC2
#: All start-of-frame markers; C4, C8 and CC are none.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
#: Markers that have no segment and so no place before the first scan.
_BARE = frozenset({0x00, 0x01, *range(0xD0, 0xDA)})


@dataclass(frozen=True, slots=True)
class JpegHeader:
    """The header of a JPEG file up to its first scan.

    Parameters
    ----------
    width, height : int
        As stored, before EXIF orientation.
    components : int
        1 is grey, 3 is colour, 4 is CMYK.
    precision : int
        Bits a sample.
    orientation : int
        EXIF or XMP orientation, 1 to 8.
    scans : int
        An upper bound of the passes that decoding takes.
    is_plain : bool
        True where any decoder gives the same picture: 8 bits, 1 or 3 components, Huffman coded, one picture in the
        file, an orientation that can be read in one way only.
    """

    width: int
    height: int
    components: int
    precision: int
    orientation: int
    scans: int
    is_plain: bool


def jpeg_header(data: bytes) -> JpegHeader | None:
    """Read the header of a JPEG file; None for another format and for one that is damaged before its first scan."""
    if not data.startswith(_SOI):
        return None
    try:
        return _walk(data)
    except (IndexError, struct.error):  # ends inside its header
        return None


def _walk(data: bytes) -> JpegHeader | None:
    is_plain = True
    frame = 0
    precision = height = width = components = 0
    exif: tuple[int, int] | None = None
    xmp: tuple[int, int] | None = None
    position = 2
    while True:
        if data[position] != 0xFF:
            return None
        marker = data[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        if marker in _BARE:
            return None
        length = data[position + 2] << 8 | data[position + 3]
        body = position + 4
        end = position + 2 + length
        if marker == _SOS_MARKER:
            break
        if marker in _FRAMES:
            is_plain = is_plain and not frame and marker in _PLAIN_FRAMES
            frame = marker
            precision, height, width, components = _SIZE.unpack_from(data, body)
        elif marker == 0xE1:
            if data.startswith(b"Exif\0\0", body):
                is_plain = is_plain and exif is None  # Pillow joins several
                exif = (body + 6, end)
            elif data.startswith(_XMP, body):
                xmp = (body, end)
        elif marker == 0xE2 and data.startswith(b"MPF\0", body):
            is_plain = False  # several pictures in one file
        position = end
    if not frame:
        return None
    orientation: int | None = None
    if exif is not None:
        try:
            orientation = _exif_orientation(data, *exif)
        except (ValueError, struct.error):
            is_plain = False
    if orientation is None and xmp is not None and (match := _XMP_ORIENTATION.search(data, *xmp)):
        orientation = int(match[2])
    # Where the first scan holds all of the picture, decoders stop after it; else they read as many as there are.
    several = frame == _PROGRESSIVE or data[body] < components
    is_plain = is_plain and precision == 8 and components in (1, 3) and width > 0 and height > 0
    return JpegHeader(
        width=width,
        height=height,
        components=components,
        precision=precision,
        orientation=orientation if orientation is not None and 1 <= orientation <= 8 else 1,
        # In coded data FF is always followed by 00 or a marker, so this counts at least every scan.
        scans=data.count(_SOS, position) if several else 1,
        is_plain=is_plain,
    )


def _exif_orientation(data: bytes, start: int, end: int) -> int | None:
    """Orientation in the first directory of an EXIF block; ValueError where decoders might read it differently."""
    order = _BYTE_ORDERS.get(data[start : start + 4])
    if order is None:
        raise ValueError("neither II nor MM")
    (offset,) = struct.unpack_from(order + "I", data, start + 4)
    (count,) = struct.unpack_from(order + "H", data, start + offset)
    first = start + offset + 2
    last = first + 12 * count
    if offset < 8 or last > end:
        raise ValueError("the directory lies outside of its block")
    orientation: int | None = None
    spare = end - start
    for tag, kind, length, value, rest in struct.iter_unpack(order + "HHIHH", data[first:last]):
        size = length * _TYPE_SIZES.get(kind, 0)
        if size > 4:
            spare -= size
            position = value << 16 | rest if order == ">" else rest << 16 | value
            if position + size > end - start or spare < 0:
                raise ValueError("an entry lies outside of its block")  # Pillow reads none of those after it
        if tag == _ORIENTATION_TAG:
            if kind != _SHORT or length != 1 or orientation is not None:
                raise ValueError("no plain number, or several")
            orientation = value
    return orientation


#: Formats that are named but not decoded.
UNSUPPORTED = frozenset({"eps", "heic", "jxl", "pdf", "svg", "wmf"})
#: First bytes of the formats that are worth naming.
_MAGIC = (
    (_SOI + b"\xff", "jpeg"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"BM", "bmp"),
    (b"II*\0", "tiff"),
    (b"MM\0*", "tiff"),
    (b"II+\0", "tiff"),
    (b"MM\0+", "tiff"),
    (b"\0\0\x01\0", "ico"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "jpeg2000"),
    (b"\xff\x4f\xff\x51", "jpeg2000"),
    (b"8BPS", "psd"),
    (b"qoif", "qoi"),
    (b"%PDF", "pdf"),
    (b"%!PS", "eps"),
    (b"\xff\x0a", "jxl"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "jxl"),
    (b"\xd7\xcd\xc6\x9a", "wmf"),
)
_BRANDS = {b"avif": "avif", b"avis": "avif", b"heic": "heic", b"heix": "heic", b"hevc": "heic", b"mif1": "heic"}


def format_of(data: bytes) -> str | None:
    """Name the format that a file claims by its first bytes; None where they say nothing.

    >>> format_of(b"GIF89a..."), format_of(b"<html>")
    ('gif', None)
    """
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "webp"
    if data[4:8] == b"ftyp":
        return _BRANDS.get(data[8:12])
    known = next((name for magic, name in _MAGIC if data.startswith(magic)), None)
    return "svg" if known is None and b"<svg" in data[:512] else known


def ends_early(data: bytes) -> bool:
    """Whether the container of a file promises more bytes than there are; False where its format does not tell."""
    kind = format_of(data)
    if kind == "jpeg":
        return data.rfind(_EOI) < max(data.rfind(_SOS), 2)
    if kind == "png":
        return b"IEND" not in data
    if kind == "gif":
        return not data.rstrip(b"\0").endswith(b";")
    if kind == "webp":
        return int.from_bytes(data[4:8], "little") + 8 > len(data)
    if kind in ("avif", "heic") or data.startswith(b"\0\0\0\x0cjP"):
        return _boxes_end_early(data)
    return False


def _boxes_end_early(data: bytes) -> bool:
    """Walk the outermost boxes of an ISO base media file (ISO/IEC 14496-12, 4.2)."""
    position = 0
    while position < len(data):
        size = int.from_bytes(data[position : position + 4], "big")
        if size == 1:
            size = int.from_bytes(data[position + 8 : position + 16], "big")
        if size == 0:  # to the end of the file
            return False
        if size < 8:
            return len(data) - position < 8
        position += size
    return position > len(data)
