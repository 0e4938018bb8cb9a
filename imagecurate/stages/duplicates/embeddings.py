"""The embeddings of the rows that reach a stage, as the search for neighbours reads them."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from imagecurate.columns import matrix, regular
from imagecurate.plan.alive_rows import AliveRows

__all__ = ["Embeddings"]


@dataclass(frozen=True)
class Embeddings:
    """A vector column, a part a shard; small and picklable, for tasks to read on their worker.

    Parameters
    ----------
    rows : AliveRows
    column : str
    sizes : tuple of int
        Rows of each shard.
    left_out : tuple of bytes, optional
        For each shard a bit a row, packed: those without a vector by decree.
    """

    rows: AliveRows
    column: str
    sizes: tuple[int, ...]
    left_out: tuple[bytes, ...] = ()

    def read(self, part: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Vectors of a shard, shape (rows, d), and where there is one; the others are zero."""
        values, valid = self._vectors(part)
        if self.left_out:
            bits = np.frombuffer(self.left_out[part], np.uint8)
            valid = valid & ~np.unpackbits(bits, count=len(valid)).astype(np.bool_)
        return values, valid

    @functools.cached_property
    def width(self) -> int:
        """Numbers in a vector, 1 where there is none at all."""
        found = (self._column(part) for part in range(len(self.sizes)))
        return next((values.shape[1] for values, valid in found if valid.any()), 1)

    def without(self, rows: NDArray[np.bool_]) -> Embeddings:
        """The same, without the vectors of some rows; shape (n,)."""
        ends = np.cumsum(self.sizes)[:-1]
        packed = tuple(np.packbits(part).tobytes() for part in np.split(rows, ends))
        return Embeddings(self.rows, self.column, self.sizes, packed)

    def _vectors(self, part: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        values, valid = self._column(part)
        dense = np.zeros((len(valid), self.width), np.float32)
        valid = valid & (values.shape[1] == self.width)
        if valid.any():
            dense[valid] = values
        return dense, valid

    def _column(self, part: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        column = self.rows.columns(part, (self.column,))[self.column]
        fine = regular(column)
        if not fine.all():
            column = pa.compute.if_else(pa.array(fine), column, None)
        return matrix(column)
