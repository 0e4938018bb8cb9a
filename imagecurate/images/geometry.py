"""Sizes and positions of timm's evaluation transform, in plain arithmetic.

Every rounding is that of timm and torchvision: one pixel more of a resized picture shifts all of it.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

__all__ = ["Placement", "Span", "place"]


@dataclass(frozen=True, slots=True)
class Span:
    """One axis of a transform.

    Parameters
    ----------
    stored : int
        Pixels of the picture.
    resized : int
        Pixels after resizing.
    start, count : int
        The resized pixels that are kept.
    pad : int
        Pixels of border before them.
    reduction : int, default=1
        Of the pixels that were stored, how many were decoded to one.
    """

    stored: int
    resized: int
    start: int
    count: int
    pad: int
    reduction: int = 1

    @property
    def decoded(self) -> int:
        """Pixels there are; the last one may stand for fewer stored ones than the others."""
        return -(-self.stored // self.reduction)

    @property
    def scale(self) -> float:
        """Decoded pixels a resized pixel."""
        return self.stored / self.reduction / self.resized

    def needed(self, support: float) -> tuple[int, int]:
        """First and last + 1 decoded pixel that a filter of this half-width looks at for the kept ones."""
        reach = support * max(self.scale, 1.0) + 1
        first = int((self.start + 0.5) * self.scale - reach)
        last = int((self.start + self.count - 0.5) * self.scale + reach) + 1
        return max(first, 0), min(last, self.decoded)


@dataclass(frozen=True, slots=True)
class Placement:
    """How a picture is resized, which part is kept and where it lies in the model's input."""

    rows: Span
    columns: Span

    @property
    def vertical_first(self) -> bool:
        """Whether rows are resized before columns, which counts since pixels are rounded in between.

        As Pillow 13 decides (python-pillow/Pillow#9549); before, columns always came first, and tall pictures differ by
        0.2 grey levels on average.
        """
        shrunk = self.rows.decoded - self.rows.resized
        return shrunk > max(0, 2 * (self.columns.decoded - self.columns.resized))

    def reduced(self, reduction: int) -> Placement:
        """The same for a picture of which so many pixels, along each edge, were decoded to one."""
        return Placement(replace(self.rows, reduction=reduction), replace(self.columns, reduction=reduction))


@functools.lru_cache(maxsize=4096)
def place(size: tuple[int, int], input_size: tuple[int, int], scale_size: tuple[int, int], crop_mode: str) -> Placement:
    """Work out how one picture is resized, cropped and padded.

    Parameters
    ----------
    size : (int, int)
        Height and width of the picture.
    input_size : (int, int)
        Height and width that the model takes.
    scale_size : (int, int)
        Height and width to resize to, ``floor(input / crop_pct)``.
    crop_mode : {"center", "squash", "border"}

    Examples
    --------
    >>> place((375, 500), (224, 224), (224, 224), "center").columns
    Span(stored=500, resized=298, start=37, count=224, pad=0, reduction=1)
    """
    resized = _resized(size, scale_size, crop_mode)
    rows, columns = (
        Span(stored, scaled, *_centred(scaled, wanted))
        for stored, scaled, wanted in zip(size, resized, input_size, strict=True)
    )
    return Placement(rows, columns)


def _resized(size: tuple[int, int], scale_size: tuple[int, int], crop_mode: str) -> tuple[int, int]:
    if crop_mode == "squash":
        return scale_size
    height, width = size
    if crop_mode == "center" and scale_size[0] == scale_size[1]:
        # torchvision.transforms.Resize with one number: the longer edge is cut, not rounded.
        short, target = min(size), scale_size[0]
        return (target, int(target * width / height)) if height == short else (int(target * height / width), target)
    # timm.data.transforms.ResizeKeepRatio: the longest edge fits, or the shortest; both edges are rounded.
    ratios = (height / scale_size[0], width / scale_size[1])
    ratio = max(ratios) if crop_mode == "border" else min(ratios)
    # Where an edge would vanish, timm raises; here it keeps one pixel.
    return max(1, round(height / ratio)), max(1, round(width / ratio))


def _centred(scaled: int, wanted: int) -> tuple[int, int, int]:
    """Start, count and border of the middle: torchvision's CenterCrop, timm's CenterCropOrPad."""
    if wanted > scaled:
        return 0, scaled, (wanted - scaled) // 2
    return round((scaled - wanted) / 2), wanted, 0
