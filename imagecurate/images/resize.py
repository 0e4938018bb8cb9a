"""Resizing that computes little more than what is kept: torch for the usual case, Pillow for the others."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from imagecurate.images.geometry import Placement, Span

__all__ = ["FILTERS", "SMOOTH", "resize"]

#: Filters and their half-widths in target pixels (Pillow, src/libImaging/Resample.c).
FILTERS = {"bicubic": 2.0, "bilinear": 1.0, "lanczos": 3.0, "hamming": 1.0, "box": 0.5, "nearest": 0.5}

#: Filters that torch has, and in which a rounding error of a position is no more than one of a value.
SMOOTH = ("bicubic", "bilinear")

#: Torch computes all from the picture's first corner to the kept part's last; where that is this many times the kept
#: part (panoramas), Pillow, which computes the kept part alone, is faster.
_MOST_WASTE = 4

#: Pixels up to which a picture is resized whole for the other filters, as timm does, so that every edge falls alike.
_MOST_RESIZED = 1 << 24


def resize(pixels: NDArray[np.uint8], placement: Placement, interpolation: str) -> NDArray[np.uint8]:
    """Resize a picture and cut out what is kept.

    Parameters
    ----------
    pixels : array of shape (placement.rows.decoded, placement.columns.decoded, 3), uint8
    placement : Placement
    interpolation : str
        One of ``FILTERS``.

    Returns
    -------
    array of shape (placement.rows.count, placement.columns.count, 3), uint8
        C-contiguous.
    """
    rows, columns = placement.rows, placement.columns
    if interpolation in SMOOTH:
        reached = (rows.start + rows.count) * (columns.start + columns.count)
        if reached <= _MOST_WASTE * rows.count * columns.count:
            return _with_torch(pixels, placement, interpolation)
    elif rows.resized * columns.resized <= _MOST_RESIZED:
        return _whole_with_pillow(pixels, placement, interpolation)
    return _part_with_pillow(pixels, placement, interpolation)


def _with_torch(pixels: NDArray[np.uint8], placement: Placement, interpolation: str) -> NDArray[np.uint8]:
    import torch

    operators = torch.ops.aten
    operator = operators._upsample_bicubic2d_aa if interpolation == "bicubic" else operators._upsample_bilinear2d_aa
    resized = operator.default  # which of its signatures is meant takes as long to find out as a small picture
    rows, columns = placement.rows, placement.columns
    if not pixels.flags.writeable:  # torch warns of it
        pixels = pixels.copy()
    # Rows below the last that is needed are left out, and columns right of the last that is kept are not computed; the
    # explicit scale keeps the others where they were.  (An offset of the first pixel cannot be expressed.)
    height, last = _apart(rows, rows.needed(FILTERS[interpolation])[1])
    width, _ = _apart(columns, columns.decoded)
    # The batch axis goes in front before the axes are swapped: the other way round torch takes the strides for those
    # of planes and lays out its result so, which costs 40 %.
    picture = torch.from_numpy(pixels[:last])[None].permute(0, 3, 1, 2)  # (1, 3, last, columns.decoded)
    if placement.vertical_first:
        picture = resized(picture, (height, columns.decoded), False, 1 / rows.scale, None)
    picture = resized(picture, (height, width), False, 1 / rows.scale, 1 / columns.scale)
    return _cut(picture[0].permute(1, 2, 0).numpy(), rows, columns)


def _apart(span: Span, last: int) -> tuple[int, int]:
    """Resized and decoded pixels to ask torch for, which takes equal numbers for nothing to do."""
    if span.scale == 1:
        return span.decoded, span.decoded
    end = span.start + span.count
    if end != last:
        return end, last
    return (end, last + 1) if last < span.decoded else (end + 1, last)


def _whole_with_pillow(pixels: NDArray[np.uint8], placement: Placement, interpolation: str) -> NDArray[np.uint8]:
    from PIL import Image

    rows, columns = placement.rows, placement.columns
    method = Image.Resampling[interpolation.upper()]
    picture = Image.fromarray(pixels).resize((columns.resized, rows.resized), method)
    return _cut(np.asarray(picture), rows, columns)


def _part_with_pillow(pixels: NDArray[np.uint8], placement: Placement, interpolation: str) -> NDArray[np.uint8]:
    from PIL import Image

    rows, columns = placement.rows, placement.columns
    method, support = Image.Resampling[interpolation.upper()], FILTERS[interpolation]
    # Pillow takes positions in single precision, so it gets a picture cut to what the filter can reach.
    (top, bottom), (left, right) = rows.needed(support), columns.needed(support)
    first_row, last_row = _inside(rows, top, bottom)
    first_column, last_column = _inside(columns, left, right)
    picture = Image.fromarray(np.ascontiguousarray(pixels[top:bottom, left:right]))
    for vertical in (placement.vertical_first, not placement.vertical_first):
        size = (picture.width, rows.count) if vertical else (columns.count, picture.height)
        over = (0, first_row, picture.width, last_row) if vertical else (first_column, 0, last_column, picture.height)
        picture = picture.resize(size, method, box=over)
    return np.array(picture)


def _inside(span: Span, first: int, last: int) -> tuple[float, float]:
    """Where the kept pixels begin and end in a picture cut to ``first`` and ``last``."""
    begin, end = span.start * span.scale, (span.start + span.count) * span.scale
    return max(0.0, begin - first), min(float(last - first), end - first)


def _cut(resized: NDArray[np.uint8], rows: Span, columns: Span) -> NDArray[np.uint8]:
    kept = resized[rows.start : rows.start + rows.count, columns.start : columns.start + columns.count]
    return np.ascontiguousarray(kept)
