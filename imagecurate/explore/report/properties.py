"""What kinds of image files there are: sizes, formats, modes, oddities."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from imagecurate.columns import IMAGE_FORMAT, IMAGE_HEIGHT, IMAGE_WIDTH

__all__ = ["CELLS", "ODDITIES", "Properties", "columns_in", "properties_of", "sizes_in"]

_MODE = "image_mode"
_COUNTED = {IMAGE_FORMAT: "formats", _MODE: "modes"}
#: Values of formats and modes that are counted; there are some dozens of either.
_MOST = 200
#: Columns of what is odd, and the value that is not.
ODDITIES = {
    "image_orientation": ("turned by EXIF", 1),
    "image_has_alpha": ("with transparency", False),
    "image_is_animated": ("animated, or of several pages", False),
    "image_is_truncated": ("truncated", False),
    "image_bit_depth": ("not 8 bits a channel", 8),
}
#: Cells of an octave, in each direction, of the map of sizes.
CELLS = 2


@dataclass
class Properties:
    """Counts over all samples whose picture was looked at.

    Parameters
    ----------
    formats, modes : Counter
        As the decoder calls them.
    oddities : Counter
        By name of the column.
    sizes : Counter of (int, int)
        How many pictures are ``2 ** (w / CELLS)`` to ``2 ** ((w + 1) / CELLS)`` pixels wide, and likewise high.
    looked_at : int
        Pictures with a size.
    """

    formats: Counter[str] = field(default_factory=Counter)
    modes: Counter[str] = field(default_factory=Counter)
    oddities: Counter[str] = field(default_factory=Counter)
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    looked_at: int = 0

    def plus(self, other: Properties) -> Properties:
        """Count other shards in."""
        return Properties(
            Counter(dict((self.formats + other.formats).most_common(_MOST))),
            Counter(dict((self.modes + other.modes).most_common(_MOST))),
            self.oddities + other.oddities,
            self.sizes + other.sizes,
            self.looked_at + other.looked_at,
        )


def sizes_in(schema: Mapping[str, pa.DataType]) -> tuple[str, str] | None:
    """Columns with width and height: what was decoded, or else what the data says of itself."""
    for names in ((IMAGE_WIDTH, IMAGE_HEIGHT), ("width", "height")):
        if all(pa.types.is_integer(schema.get(name, pa.null())) for name in names):
            return names
    return None


def columns_in(schema: Mapping[str, pa.DataType]) -> list[str]:
    """What `properties_of` reads."""
    kinds = dict.fromkeys(_COUNTED, pa.types.is_string) | {
        name: pa.types.is_boolean if isinstance(usual, bool) else pa.types.is_integer
        for name, (_, usual) in ODDITIES.items()
    }
    return [*(sizes_in(schema) or ()), *(name for name, fits in kinds.items() if name in schema and fits(schema[name]))]


def properties_of(columns: Mapping[str, pa.Array], sizes: tuple[str, str] | None) -> Properties:
    """Count the rows of one shard."""
    found = Properties()
    for name, attribute in _COUNTED.items():
        if name in columns:
            counted = columns[name].drop_null().value_counts()
            values, counts = counted.field("values").to_pylist(), counted.field("counts").to_pylist()
            getattr(found, attribute).update(dict(zip(values, counts, strict=True)))
    for name, (_, usual) in ODDITIES.items():
        if name in columns:
            found.oddities[name] = pc.sum(pc.not_equal(columns[name], usual)).as_py() or 0
    if sizes is not None:
        width, height = (pc.fill_null(columns[name], 0).to_numpy(zero_copy_only=False) for name in sizes)
        real = (width > 0) & (height > 0)
        cells = np.stack([_cell(width[real]), _cell(height[real])], axis=1)
        places, counts = np.unique(cells, axis=0, return_counts=True)
        found.sizes.update({(w, h): n for (w, h), n in zip(places.tolist(), counts.tolist(), strict=True)})
        found.looked_at = int(real.sum())
    return found


def _cell(length: NDArray[Any]) -> NDArray[np.int64]:
    cells: NDArray[np.int64] = np.floor(CELLS * np.log2(length) + 1e-9).astype(np.int64)  # 512 is where a cell begins
    return cells
