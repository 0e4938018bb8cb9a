"""What every sample has once its pixels have been looked at."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from imagecurate.images import INFO_COLUMNS, DecodePolicy, ImageInfo
from imagecurate.plan.stage import Computed, ImageStage

__all__ = ["PixelFacts"]


class PixelFacts(ImageStage):
    """Size, format, oddities and decode error of each image.

    A plan puts it in front of its first image stage, and in front of a filter on ``width`` or ``height`` where the
    data brought none.  It costs nothing beside the decode.

    Adds
    ----
    image_width, image_height, image_format, image_error and a column for each oddity; see ``docs/pixels.md``.
    """

    policy: DecodePolicy = DecodePolicy()

    def adds(self) -> dict[str, pa.DataType]:
        return dict(INFO_COLUMNS)

    def identity(self) -> dict[str, Any]:
        return {"class": "PixelFacts", "policy": self.policy.identity()}

    def out_of_time(self, errors: pa.Array) -> NDArray[np.bool_]:
        """Tell which errors are those of a time limit shorter than today's: these pictures are tried again."""
        if errors.null_count == len(errors):
            return np.zeros(len(errors), np.bool_)
        limits = pc.extract_regex(errors, r"^decoding took longer than (?P<seconds>\S+) s$")
        seconds = pc.cast(pc.struct_field(limits, "seconds"), pa.float64())
        shorter: NDArray[np.bool_] = pc.fill_null(pc.less(seconds, self.policy.timeout_s), False).to_numpy(
            zero_copy_only=False
        )
        return shorter

    def process(self, batch: list[ImageInfo]) -> Computed:
        """Turn what the decoder said of each image into columns."""
        return {
            name: pa.array([getattr(info, name.removeprefix("image_")) for info in batch], kind)
            for name, kind in INFO_COLUMNS.items()
        }
