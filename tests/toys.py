"""Small stages for tests, one of each kind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from imagecurate import ColumnStage, DatasetStage, ImageStage
from imagecurate.columns import VECTOR


class Brightness(ImageStage):
    """Mean grey level of each picture, 0 to 255."""

    column: str = "brightness"

    def adds(self) -> dict[str, pa.DataType]:
        return {self.column: pa.float64()}

    def prepare(self, pixels: np.ndarray) -> float:
        return float(pixels.mean())

    def process(self, batch: list[float]) -> dict[str, Any]:
        return {self.column: np.array(batch)}


class Corner(ImageStage):
    """The first pixel as a vector of three."""

    column: str = "corner"

    @property
    def input_shape(self) -> tuple[int, ...]:
        return (1, 1, 3)

    def adds(self) -> dict[str, pa.DataType]:
        return {self.column: VECTOR}

    def prepare(self, pixels: np.ndarray) -> np.ndarray:
        return pixels[:1, :1]

    def process(self, batch: np.ndarray) -> dict[str, Any]:
        return {self.column: batch.reshape(len(batch), 3).astype(np.float32)}


class Picky(ImageStage):
    """Fails every picture whose mean is above ``limit``, in ``prepare`` or for the whole batch in ``process``."""

    limit: float = 128.0
    late: bool = False

    def adds(self) -> dict[str, pa.DataType]:
        return {"picky": pa.float64()}

    def prepare(self, pixels: np.ndarray) -> float:
        mean = float(pixels.mean())
        if not self.late and mean > self.limit:
            raise ValueError("too bright")
        return mean

    def process(self, batch: list[float]) -> dict[str, Any]:
        if self.late and max(batch) > self.limit:
            raise ValueError("one is too bright")
        return {"picky": batch}


class Twice(ColumnStage):
    """Twice a number."""

    of: str = "brightness"
    column: str = "twice"

    def adds(self) -> dict[str, pa.DataType]:
        return {self.column: pa.float64()}

    def reads(self) -> tuple[str, ...]:
        return (self.of,)

    def process(self, columns: Any) -> dict[str, Any]:
        return {self.column: 2.0 * columns[self.of]}


#: Shards that each run of ``Rank`` saw.
RANK_CALLS: list[int] = []


class Rank(DatasetStage):
    """Place of each row among all, by a column, smallest first."""

    by: str = "brightness"

    def adds(self) -> dict[str, pa.DataType]:
        return {"rank": pa.int64()}

    def reads(self) -> tuple[str, ...]:
        return (self.by,)

    def process(self, shards: Any) -> Iterator[dict[str, Any]]:
        RANK_CALLS.append(len(shards))
        values = [shard[self.by].to_numpy(zero_copy_only=False) for shard in shards]
        order = np.argsort(np.argsort(np.concatenate(values), kind="stable"), kind="stable")
        start = 0
        for part in values:
            yield {"rank": order[start : start + len(part)]}
            start += len(part)
