"""The embeddings of the rows that reach a stage, as the search for neighbours reads them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
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
    width : int
        Numbers in a vector; vectors of another length do not count.
    left_out : tuple of bytes, optional
        For each shard a bit a row, packed: those without a vector by decree.
    """

    rows: AliveRows
    column: str
    width: int
    left_out: tuple[bytes, ...] = ()

    @classmethod
    def of(cls, rows: AliveRows, column: str) -> Embeddings:
        """Look for the width, once and not with every task: that of the first vector; 1 where there is none at all."""
        found = (_vectors(rows, part, column) for part in range(len(rows)))
        return cls(rows, column, next((values.shape[1] for values, valid in found if valid.any()), 1))

    @property
    def sizes(self) -> tuple[int, ...]:
        """Rows of each shard."""
        return self.rows.sizes

    def read(self, part: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Vectors of a shard, shape (rows, width), and where there is one; the others are zero."""
        values, valid = _vectors(self.rows, part, self.column)
        dense = np.zeros((len(valid), self.width), np.float32)
        valid = valid & (values.shape[1] == self.width)
        if valid.any():
            dense[valid] = values
        if self.left_out:
            bits = np.frombuffer(self.left_out[part], np.uint8)
            valid = valid & ~np.unpackbits(bits, count=len(valid)).astype(np.bool_)
        return dense, valid

    def without(self, rows: NDArray[np.bool_]) -> Embeddings:
        """The same, without the vectors of some rows; shape (n,)."""
        parts = np.split(rows, np.cumsum(self.sizes)[:-1])
        return replace(self, left_out=tuple(np.packbits(part).tobytes() for part in parts))


def _vectors(rows: AliveRows, part: int, name: str) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The vectors of a shard that are whole and as long as most of them, and where they are."""
    column = rows.columns(part, (name,))[name]
    fine = regular(column)
    return matrix(column if fine.all() else pc.if_else(pa.array(fine), column, None))
