"""Cells of vectors around centroids, and which vectors lie so near a border that a neighbour may be beyond it.

Take two vectors at most ``w`` apart, one in cell A and one in cell B.  Their distances to the plane halfway between the
two centroids, each counted from its own side, add up to at most ``w``: they lie on either side of the plane, and a step
of length w moves no further towards it.  Neither distance is negative where rows are in the cell of their nearest
centroid, so both vectors are within ``w`` of the plane: each is a border row of its cell towards the other.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from imagecurate.neighbours.vectors import product_error

__all__ = ["Assigned", "Centroids", "automatic_cells"]

#: Rows assigned at a time.
BLOCK_ROWS = 2048
#: Cells at most that are chosen automatically: the distances between their centroids take 1 GB.
MOST_CELLS = 16_384


def automatic_cells(rows: int) -> int:
    """Choose a number of cells: with the square root of the rows, comparing and assigning cost about the same.

    >>> automatic_cells(200_000)
    447
    """
    return max(1, min(int(rows**0.5), MOST_CELLS))


@dataclass(frozen=True)
class Assigned:
    """The cells of some rows."""

    #: Cell of each row; shape (n,), int32.
    cells: NDArray[np.int32]
    #: Euclidean distance to its centroid; shape (n,), float64.
    distances: NDArray[np.float64]
    #: Border rows: a row, and the cell beyond the border.  Sorted.
    rows: NDArray[np.int32]
    beyond: NDArray[np.int32]


@dataclass(frozen=True)
class Centroids:
    """Centroids and their distances from each other.

    Parameters
    ----------
    points : array of shape (k, d), float32
    """

    points: NDArray[np.float32]
    #: Distances between the points; shape (k, k), float32.
    apart: NDArray[np.float32]

    @classmethod
    def of(cls, points: NDArray[np.float32]) -> Centroids:
        """Measure how far the points are apart."""
        apart = np.empty((len(points),) * 2, np.float32)
        squares = np.einsum("ij,ij->i", points, points)
        for start in range(0, len(points), BLOCK_ROWS):
            block = slice(start, start + BLOCK_ROWS)
            gaps = squares[block, None] + squares - 2 * (points[block] @ points.T)
            apart[block] = np.sqrt(np.maximum(gaps, 0) + product_error(points.shape[1]) * 4)
        return cls(points, apart)

    @classmethod
    def load(cls, path: Path) -> Centroids:
        """Read points; the last that were read are kept, as one task after another asks for them."""
        return _load(path, path.stat().st_mtime_ns)

    def assign(self, units: NDArray[np.float32], width: float | None) -> Assigned:
        """Find the nearest centroid of each row, and the borders within ``width`` of it.

        Parameters
        ----------
        units : array of shape (n, d), float32
            Of unit length.
        width : float or None
            None where no borders are wanted.
        """
        n, d = units.shape
        cells, distances = np.empty(n, np.int32), np.empty(n)
        # of the differences below: two products of rows with centroids, which are no longer than 1, each twice
        error = 4 * product_error(d)
        squares = np.einsum("ij,ij->i", self.points, self.points)
        rows, beyond = [np.empty(0, np.int32)], [np.empty(0, np.int32)]
        for start in range(0, n, BLOCK_ROWS):
            block = units[start : start + BLOCK_ROWS]
            scores = squares - 2 * (block @ self.points.T)  # squared distances less 1
            nearest = self._nearest(block, scores, error)
            cells[start : start + BLOCK_ROWS] = nearest
            gaps = block.astype(np.float64) - self.points[nearest]
            distances[start : start + BLOCK_ROWS] = np.sqrt((gaps * gaps).sum(axis=1))
            if width is not None:
                # distance to the plane = difference of the squared distances / twice that of the centroids
                scores -= scores[np.arange(len(block)), nearest][:, None]
                row, cell = np.nonzero(scores <= np.float32(2 * width) * self.apart[nearest] + np.float32(error))
                other = cell != nearest[row]
                rows.append((row[other] + start).astype(np.int32))
                beyond.append(cell[other].astype(np.int32))
        return Assigned(cells, distances, np.concatenate(rows), np.concatenate(beyond))

    def _nearest(self, units: NDArray[np.float32], scores: NDArray[np.float32], error: float) -> NDArray[np.intp]:
        """Give the cell of the least score, by exact distances where rounding leaves it open.

        Or it would depend on which rows share a block, and so on the parts that the rows came in.
        """
        nearest: NDArray[np.intp] = scores.argmin(axis=1)
        close = scores <= scores[np.arange(len(units)), nearest][:, None] + np.float32(error)
        for row in np.flatnonzero(np.count_nonzero(close, axis=1) > 1):
            cells = np.flatnonzero(close[row])
            gaps = units[row].astype(np.float64) - self.points[cells]
            nearest[row] = cells[(gaps * gaps).sum(axis=1).argmin()]
        return nearest


@functools.lru_cache(maxsize=1)
def _load(path: Path, changed: int) -> Centroids:
    return Centroids.of(np.load(path))
