"""The pixel policy, expressed on Pillow; runs in the decoder's own process.

Strips, not whole pictures, are converted: beside Pillow's own picture nothing of its size is ever held.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from PIL import AvifImagePlugin, Image, ImageFile

from imagecurate.images.convert import rgb_conversion
from imagecurate.images.header import UNSUPPORTED, ends_early, format_of

__all__ = ["PictureError", "decode", "set_up"]

#: Everything that Pillow reads by itself.  Left out: what runs another program or is no raster picture (EPS, WMF), what
#: only a third package could decode (BUFR, GRIB, HDF5, MPEG), and what has no signature (SPIDER, IMT, IPTC): those
#: would find pictures in files that are none.  TGA, which has none either, is tried last.
FORMATS = (
    "JPEG", "PNG", "GIF", "BMP", "WEBP", "AVIF", "TIFF", "JPEG2000", "ICO", "PPM", "DIB", "CUR", "ICNS", "PSD", "QOI",
    "DDS", "SGI", "PCX", "DCX", "FLI", "SUN", "XBM", "XPM", "MSP", "PIXAR", "PCD", "GBR", "FTEX", "BLP", "IM", "FITS",
    "MCIDAS", "XVTHUMB", "TGA",
)  # fmt: skip

#: Pixels of a strip: 4 MB of Pillow's RGB.
STRIP_PIXELS = 1 << 20

_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
#: Orientations whose upright rows are stored columns, and those that begin with the last of them.
_LYING = frozenset({5, 6, 7, 8})
_FROM_THE_END = frozenset({3, 4, 7, 8})
_ORIENTATION_TAG = 0x0112
_BITS_PER_SAMPLE_TAG = 258

#: How Pillow's sentences begin about files that are sound but of a kind that it does not read.
_UNSUPPORTED_SENTENCE = re.compile("(?i)cannot handle|unsupported|unknown (pixel mode|data organization)")


class PictureError(Exception):
    """There are no pixels: the first argument is the reason, the second holds other fields of ImageInfo."""

    @property
    def info(self) -> dict[str, Any]:
        """Fields of ImageInfo, with ``error``."""
        known: dict[str, Any] = self.args[1]
        return known | {"error": self.args[0]}


def set_up(max_pixels: int) -> None:
    """Make this process's Pillow bound pixels by our limit, quietly and wherever Pillow itself would check."""

    def check(size: tuple[int, int], **_: Any) -> None:
        width, height = size
        if max(1, width) * max(1, height) > max_pixels:
            reason = f"too many pixels: {width}x{height} = {width * height} > {max_pixels}"
            raise PictureError(reason, {"width": width, "height": height})

    # Private, but the one place that also bounds pictures inside of pictures (ICO, ICNS, GIF frames beyond the canvas)
    # and before a decoder reserves memory; the public limit only warns.
    Image._decompression_bomb_check = check
    Image.WARN_POSSIBLE_FORMATS = True  # an unidentified file then says what was wrong with it
    Image.init()
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # the caller already runs as many decoders as there are cores


def decode(
    data: bytes, accept_truncated: bool, opened: Callable[[dict[str, Any]], None]
) -> tuple[dict[str, Any], Iterator[bytes]]:
    """Decode one file.

    Parameters
    ----------
    data : bytes
    accept_truncated : bool
    opened : callable
        Called with the fields of ImageInfo that the header gives, before anything is decoded.

    Returns
    -------
    info : dict
        Fields of ImageInfo.
    strips : iterator of bytes
        The rows of the upright RGB picture from top to bottom, some at a time.

    Raises
    ------
    PictureError
        Not a picture, too large, damaged or, unless accepted, truncated.
    """
    try:
        return _attempt(data, opened)
    except PictureError as error:
        if not (accept_truncated and error.info.get("is_truncated")):
            raise
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    try:
        info, strips = _attempt(data, opened)
        return info | {"is_truncated": True}, strips
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = False


def _attempt(data: bytes, opened: Callable[[dict[str, Any]], None]) -> tuple[dict[str, Any], Iterator[bytes]]:
    info: dict[str, Any] = {"format": format_of(data)}
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            image = Image.open(io.BytesIO(data), formats=[name for name in FORMATS if name in Image.OPEN])
            info = _outline(image)
            opened(info)
            image.load()
            info["mode"] = image.mode
            info["bit_depth"] = _bit_depth(image, data)
            info["has_alpha"] = image.has_transparency_data
            info["is_animated"] = _is_animated(image, data)
            info["is_truncated"] = False
            turn = _orientation(image)
            if image.format != "TIFF":  # which Pillow turns while it loads, and forgets that it had to
                info["orientation"] = turn
            (info["width"], info["height"]), strips = _upright_strips(image, turn, info["bit_depth"])
            return info, strips
        except MemoryError:
            raise
        except PictureError as error:
            raise PictureError(error.args[0], info | error.args[1]) from None
        except Exception as error:  # whatever a plugin raises about bytes that it does not like
            reason, is_truncated = _reason(data, info["format"], error, [str(warning.message) for warning in said])
            raise PictureError(reason, info | {"is_truncated": is_truncated}) from None


def _reason(data: bytes, kind: str | None, error: Exception, said: list[str]) -> tuple[str, bool | None]:
    """Turn what Pillow raised into a short reason, the same in every run, and whether the file was cut short."""
    text = str(error)
    if isinstance(error, Image.UnidentifiedImageError):
        if kind is None:
            return "not an image", None
        if kind in UNSUPPORTED:
            return f"unsupported format: {kind}", None
        # The plugin of that format said why it declined.
        prefix = f"{kind} opening failed. "
        text = next((line[len(prefix) :] for line in said if line.lower().startswith(prefix)), "")
    if "truncated" in text.lower() or ends_early(data):
        return "truncated: the file ends before its picture does", True
    text = re.sub(r"\s+", " ", text).strip()
    if not re.search("[a-z]", text):
        text = "unreadable header"
    blame = "unsupported" if _UNSUPPORTED_SENTENCE.match(text) else "corrupt"
    return f"{blame} {kind or 'image'}: {text if len(text) <= 100 else text[:99] + '…'}", False


def _outline(image: Any) -> dict[str, Any]:
    """Fields of ImageInfo that are known before a picture is decoded."""
    turn = 1 if image.format == "PNG" and "exif" not in image.info else _orientation(image)  # PNG would load to tell
    width, height = image.size
    if turn in _LYING and image.format != "TIFF":  # whose size is that of the upright picture
        width, height = height, width
    return {
        "width": width,
        "height": height,
        "format": image.format.lower(),
        "mode": image.mode,
        "orientation": turn,
    }


def _orientation(image: Any) -> int:
    """EXIF (or XMP) orientation that is still to be applied, 1 to 8."""
    try:
        value = image.getexif().get(_ORIENTATION_TAG)
        return int(value) if value in _TRANSPOSE else 1
    except MemoryError:
        raise
    except Exception:  # damaged EXIF does not spoil a picture
        return 1


def _bit_depth(image: Any, data: bytes) -> int:
    """Bits a channel, where the format stores other depths than Pillow's mode shows."""
    if image.format == "PNG":
        return data[24]  # in IHDR, which comes first: PNG specification, 11.2.2
    if image.format == "TIFF":
        return int(max(image.tag_v2.get(_BITS_PER_SAMPLE_TAG, (1,))))
    if image.format == "AVIF" and (position := data.find(b"av1C")) > 0:
        flags = data[position + 6]  # AV1 in ISO base media files, 2.3.3: high_bitdepth and twelve_bit
        return 8 if not flags & 0x40 else 12 if flags & 0x20 else 10
    if image.format == "JPEG2000" and (position := data.find(b"\xff\x4f\xff\x51")) >= 0:
        return (data[position + 42] & 0x7F) + 1  # Ssiz of the first component: ITU T.800, A.5.1
    return 1 if image.mode == "1" else 16 if image.mode.startswith("I;16") else 32 if image.mode in ("I", "F") else 8


def _is_animated(image: Any, data: bytes) -> bool | None:
    known = vars(image).get("is_animated")
    if known is not None:
        return bool(known)
    if not hasattr(type(image), "is_animated"):
        return False
    try:  # GIF looks for a second frame, which disturbs the first, so another reader looks
        return bool(Image.open(io.BytesIO(data), formats=(image.format,)).is_animated)
    except MemoryError:
        raise
    except Exception:  # damaged after the first frame
        return None


def _upright_strips(image: Any, turn: int, bit_depth: int) -> tuple[tuple[int, int], Iterator[bytes]]:
    """Turn and convert a loaded picture: its upright width and height, and its rows."""
    stored_width, stored_height = image.size
    width, height = (stored_height, stored_width) if turn in _LYING else (stored_width, stored_height)
    step = max(1, STRIP_PIXELS // width)
    starts = range(0, height, step)
    to_rgb = rgb_conversion(image, bit_depth, STRIP_PIXELS)

    def strips() -> Iterator[bytes]:
        for start in reversed(starts) if turn in _FROM_THE_END else starts:
            stop = min(start + step, height)
            box = (start, 0, stop, stored_height) if turn in _LYING else (0, start, stored_width, stop)
            part = to_rgb(image if len(starts) == 1 else image.crop(box))
            yield (part.transpose(_TRANSPOSE[turn]) if turn in _TRANSPOSE else part).tobytes()

    return (width, height), strips()
