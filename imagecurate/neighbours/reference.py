"""Which vectors have one near them in a reference: last month's data, or a test set."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from imagecurate.backend.cpu_clusters import one_blas_thread
from imagecurate.errors import ParameterError
from imagecurate.neighbours.cells import Centroids
from imagecurate.neighbours.files import save_array
from imagecurate.neighbours.layout import Layout
from imagecurate.neighbours.pairs import CosinePairs
from imagecurate.neighbours.request import check_eps
from imagecurate.neighbours.search import Near, Side, prefixes
from imagecurate.neighbours.vectors import Run, Vectors, cosine, farthest, one_after_the_other, unit_rows

__all__ = ["Matches", "against"]

MATCH = np.dtype([("row", "<i8"), ("place", "<i8"), ("similarity", "<f4")])


@dataclass(frozen=True)
class Matches:
    """What of a reference is near each row.

    Parameters
    ----------
    match : array of shape (n,), int64
        The best-ranked row of the reference that is near; -1 where none is.
    similarity : array of shape (n,), float32
        Their cosine; NaN where none is.
    """

    match: NDArray[np.int64]
    similarity: NDArray[np.float32]

    @property
    def found(self) -> NDArray[np.bool_]:
        """Which rows have a match."""
        return self.match >= 0


def against(
    vectors: Vectors, reference: CosinePairs, eps: float, *, folder: Path, run: Run = one_after_the_other
) -> Matches:
    """Find for each row the best-ranked row of a reference with a cosine of at least ``1 - eps``.

    Rows are put into the cells of the reference, whose centroids and prefixes are used as they are; nothing is moved.

    Parameters
    ----------
    vectors : Vectors
        n rows, as long as those of the reference.
    reference : CosinePairs
        Of any eps.  Its folder is read by the tasks.
    eps : float
        Between 0 and 1.
    folder : Path
        For the results of tasks, of this one request; what is there is not computed again.
    run : Run

    Raises
    ------
    ParameterError
        The vectors are not as long as those of the reference, or eps is out of its range.
    """
    check_eps(eps)
    n = sum(vectors.sizes)
    match, similarity = np.full(n, -1, np.int64), np.full(n, np.nan, np.float32)
    if reference.layout is None:
        return Matches(match, similarity)
    layout = reference.layout
    best = np.empty(layout.nodes, np.int64)
    rows = np.flatnonzero(layout.row_nodes >= 0)
    rows = rows[np.argsort(layout.row_ranks[rows])[::-1]]
    best[layout.row_nodes[rows]] = rows  # the best-ranked is written last
    first = 0
    task = _Against(vectors, layout, eps, folder)
    for part in run(task, range(len(vectors.sizes))):
        found = np.load(task.path(part))
        match[first + found["row"]] = best[layout.positions[found["place"]]]
        similarity[first + found["row"]] = found["similarity"]
        first += vectors.sizes[part]
    return Matches(match, similarity)


@dataclass(frozen=True)
class _Against:
    """The task of each part."""

    vectors: Vectors
    layout: Layout
    eps: float
    folder: Path

    def path(self, part: int) -> Path:
        return self.folder / f"{part:06d}.npy"

    def __call__(self, part: int) -> int:
        if not self.path(part).exists():
            with one_blas_thread():
                save_array(self.path(part), self._matches(part))
        return part

    def _matches(self, part: int) -> NDArray[np.void]:
        layout = self.layout
        values, valid = self.vectors.read(part)
        if values.shape[1] != layout.d and valid.any():
            raise ParameterError.because(
                f"vectors of length {values.shape[1]} cannot be compared with a reference of length {layout.d}",
                "embed both with the same model",
            )
        units, valid = unit_rows(values, valid)
        rows = np.flatnonzero(valid)
        units = units[rows]
        narrow = prefixes(units, np.load(layout.folder / "axes.npy")) if layout.width < layout.d else units
        place = np.full(len(rows), layout.nodes)
        for wanted, positions in self._comparisons(units):
            # every node of the reference counts as earlier than every row
            x = Side(units, narrow, wanted, np.full(len(wanted), layout.nodes))
            y = layout.side(positions)
            found = layout.earlier_neighbours(x, y, Near(1 - self.eps, layout.d), 1)
            place[wanted[found.x]] = np.minimum(place[wanted[found.x]], y.ranks[found.y])
        near = np.flatnonzero(place < layout.nodes)
        out = np.empty(len(near), MATCH)
        out["row"], out["place"] = rows[near], place[near]
        out["similarity"] = cosine(units[near], layout.vectors[layout.positions[place[near]]])
        return out

    def _comparisons(self, units: NDArray[np.float32]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Rows, and positions of the reference that they must be compared with, those in the order of their places."""
        layout = self.layout
        rows, centroid = np.arange(len(units)), np.zeros(len(units), np.int64)
        file = layout.folder / "centroids.npy"
        if file.exists():
            assigned = Centroids.load(file).assign(units, farthest(self.eps))
            rows = np.concatenate([rows, assigned.rows])
            centroid = np.concatenate([assigned.cells, assigned.beyond])
        order = np.lexsort((rows, centroid))
        rows, centroid = rows[order], centroid[order]
        for cell, number in enumerate(layout.cell_centroids):
            low, high = np.searchsorted(centroid, (number, number + 1))
            if low < high:
                yield rows[low:high], np.arange(layout.offsets[cell], layout.offsets[cell + 1])
