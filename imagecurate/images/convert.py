"""How each of Pillow's modes becomes RGB."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PIL import Image

__all__ = ["rgb_conversion"]

#: Floats of at most this are meant as 0 to 1: sharpening and bicubic resizing overshoot by less than the range itself.
_MOST_OVERSHOT = 2.0


def rgb_conversion(image: Any, bit_depth: int, strip_pixels: int) -> Callable[[Any], Any]:
    """Choose how parts of a picture become RGB.

    Parameters
    ----------
    image : PIL.Image.Image
        Loaded.  The value that its ``info`` calls transparent is brought to the scale of its pixels.
    bit_depth : int
        Bits a channel in its file.
    strip_pixels : int
        Pixels to look at in one go where the whole picture decides the scale.

    Returns
    -------
    callable
        Takes the picture or a crop of it and gives a PIL.Image.Image of mode RGB.
    """
    if image.mode.startswith("I;16"):
        # TIFF alone keeps 12 bits in the lower end of 16; other formats spread them.
        most = (1 << bit_depth) - 1 if image.format == "TIFF" else 65535
        return lambda part: _from_wide(part, 0, most)
    if image.mode == "I" and image.format == "PPM":  # Pillow spreads any range over 16 bits
        return lambda part: _from_wide(part, 0, 65535)
    if image.mode in ("I", "F"):
        low, high = _range_of(image, strip_pixels)
        return lambda part: _from_wide(part, low, high)
    if image.has_transparency_data:
        key = image.info.get("transparency")
        if image.mode == "RGB" and bit_depth == 16 and isinstance(key, tuple):
            image.info["transparency"] = tuple(value >> 8 for value in key)  # Pillow keeps the high bytes of pixels
        elif image.mode == "L" and bit_depth < 8 and isinstance(key, int):
            image.info["transparency"] = key * 255 // ((1 << bit_depth) - 1)  # Pillow spreads pixels over 0 to 255
        return _over_white
    return lambda part: part.convert("RGB")


def _over_white(part: Any) -> Any:
    if part.mode == "La":
        part = part.convert("LA")
    part = part.convert("RGBA")
    white = Image.new("RGB", part.size, "white")
    white.paste(part, mask=part.getchannel("A"))
    return white


def _range_of(image: Any, strip_pixels: int) -> tuple[float, float]:
    """The values of an I or F picture that become black and white.

    Neither mode has a range of its own, so the values decide: 0 to 1 (floats only), to 255 or to 65535, whichever
    holds them first; else their own least and greatest.  Floats a little over 1 are 0 to 1 that a filter has
    overshot, so that their greatest is white.
    """
    import numpy as np

    low, high = np.inf, -np.inf
    rows = max(1, strip_pixels // image.width)
    for top in range(0, image.height, rows):
        values = np.asarray(image.crop((0, top, image.width, min(top + rows, image.height))))
        values = values[np.isfinite(values)]
        if values.size:
            low, high = min(low, float(values.min())), max(high, float(values.max()))
    if low > high:  # no finite value at all
        return 0.0, 1.0
    if low < 0:
        return low, high
    if image.mode == "F" and 1 < high <= _MOST_OVERSHOT:
        return 0.0, high
    bounds = (1.0, 255.0, 65535.0) if image.mode == "F" else (255.0, 65535.0)
    return next(((0.0, bound) for bound in bounds if high <= bound), (low, high))


def _from_wide(part: Any, low: float, high: float) -> Any:
    """Scale values between ``low`` and ``high`` to 0 to 255; the transparent one, if any, becomes white."""
    import numpy as np

    values = np.asarray(part)
    if values.dtype.kind in "ui" and low == 0 and high in (255, 4095, 65535):
        # The high byte, as Pillow itself takes of 16-bit RGB: a picture is the same stored as grey or as colour.
        grey = (values >> int(high).bit_length() - 8).astype(np.uint8)
    else:
        finite = np.nan_to_num(values.astype(np.float64), nan=low, posinf=high, neginf=low)
        grey = ((finite - low) * 255 / ((high - low) or 1.0) + 0.5).astype(np.uint8)
    key = part.info.get("transparency")
    if isinstance(key, int):
        grey[values == key] = 255
    return Image.fromarray(grey).convert("RGB")
