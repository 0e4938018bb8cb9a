"""Whether the first bytes of a member are an image's, for members whose names do not say what they are."""

from __future__ import annotations

__all__ = ["SIGNATURE_BYTES", "is_image"]

#: First bytes that decide.
SIGNATURE_BYTES = 18

_MAGIC = (
    b"\xff\xd8\xff",  # JPEG: ITU T.81, B.1.1.3
    b"\x89PNG\r\n\x1a\n",
    b"GIF87a",
    b"GIF89a",
    b"II*\0",  # TIFF 6.0, section 2, and BigTIFF
    b"MM\0*",
    b"II+\0",
    b"MM\0+",
    b"\0\0\0\x0cjP  \r\n\x87\n",  # JPEG 2000: ISO/IEC 15444-1, annexes A and I
    b"\xff\x4f\xff\x51",
    b"\0\0\0\x0cJXL \r\n\x87\n",  # JPEG XL: ISO/IEC 18181-2
    b"\xff\x0a",
)
#: Major brands of AVIF and HEIC: ISO/IEC 23008-12, annex B, and the AVIF specification.
_BRANDS = frozenset((b"avif", b"avis", b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"))
#: Bytes of the second header of a BMP, by version.  Two letters alone would make an image of a text about a BMW.
_BMP_HEADERS = frozenset((12, 40, 52, 56, 64, 108, 124))


def is_image(data: bytes) -> bool:
    """Tell whether a file that begins with these bytes is a JPEG, PNG, GIF, WebP, BMP, TIFF, AVIF, HEIC, JXL or JP2.

    >>> is_image(b"GIF89a..."), is_image(b"BMW: a car, red")
    (True, False)
    """
    if data.startswith(_MAGIC):
        return True
    if data.startswith(b"RIFF"):
        return data[8:12] == b"WEBP"
    if data.startswith(b"BM"):
        return data[6:10] == bytes(4) and int.from_bytes(data[14:18], "little") in _BMP_HEADERS
    return data[4:8] == b"ftyp" and data[8:12] in _BRANDS
