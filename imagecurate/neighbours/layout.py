"""Vectors moved once, into a file in which each cell is a stretch of rows in the order of their ranks.

Each part is read once: its rows are scaled to unit length, given cells and hashed (equal vectors become one *node*),
and kept as they came.  When all are known, stretches of the sorted file are gathered from them.  Every task leaves a
file and is not done again when that is there; stretches begin at page boundaries, so that tasks on several machines
can write the one file.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imagecurate.backend.clusters import Device
from imagecurate.backend.cpu_clusters import one_blas_thread
from imagecurate.neighbours import device
from imagecurate.neighbours.arrange import Order, arrange
from imagecurate.neighbours.bundles import ReadBundle, bundles_of
from imagecurate.neighbours.search import Found, Near, Side, earlier_neighbours, prefixes
from imagecurate.neighbours.vectors import Run, Vectors
from imagecurate.store import write_atomically

__all__ = ["Layout", "build_layout"]

#: Bytes of a stretch of vectors; and rows, of which whole pages hold a multiple whatever the width.
STRETCH_BYTES = 32 << 20
PAGE_ROWS = 1024


@dataclass(frozen=True)
class Layout:
    """The sorted file and what is known of its rows.

    A *node* stands for all rows with equal vectors (of one group).  It is named by its position in the file, or by its
    place in the order of ranks, where that of the best-ranked of its rows counts.
    """

    folder: Path
    d: int
    #: Axes that prefixes are made with; ``d`` where whole vectors are compared.
    width: int
    #: Where sides are compared.
    device: Device = "cpu"

    def __reduce__(self) -> Any:
        return Layout, (self.folder, self.d, self.width, self.device)  # not the files it has mapped

    def _array(self, name: str) -> NDArray[Any]:
        array: NDArray[Any] = np.load(self.folder / f"{name}.npy", mmap_mode="r")
        return array

    def _rows(self, name: str, width: int) -> NDArray[np.float32]:
        if not self.nodes:  # an empty file cannot be mapped
            return np.empty((0, width), np.float32)
        return np.memmap(self.folder / name, np.float32, "r", shape=(self.nodes, width))

    @cached_property
    def vectors(self) -> NDArray[np.float32]:
        """Unit vectors of the nodes, shape (nodes, d)."""
        return self._rows("vectors.f32", self.d)

    @cached_property
    def prefixes(self) -> NDArray[np.float32]:
        """Prefixes of the nodes, shape (nodes, width + 1); or the vectors."""
        if self.width == self.d:
            return self.vectors
        return self._rows("prefixes.f32", self.width + 1)

    @property
    def nodes(self) -> int:
        """Number of different vectors."""
        return len(self.places)

    @cached_property
    def places(self) -> NDArray[np.int64]:
        """Place in the order of ranks of the node at each position."""
        return self._array("places")

    @cached_property
    def positions(self) -> NDArray[np.int64]:
        """Position of the node at each place."""
        return self._array("positions")

    @cached_property
    def sources(self) -> NDArray[np.int64]:
        """Where each vector was among those of all bundles."""
        return self._array("sources")

    @cached_property
    def row_nodes(self) -> NDArray[np.int64]:
        """Position of each row's node; -1 for rows without a vector."""
        return self._array("row_nodes")

    @cached_property
    def row_ranks(self) -> NDArray[np.int64]:
        """Ranks of the rows that places follow."""
        return self._array("row_ranks")

    @cached_property
    def row_cells(self) -> NDArray[np.int32]:
        """Centroid of each row; -1 for rows without a vector."""
        return self._array("row_cells")

    @cached_property
    def row_distances(self) -> NDArray[np.float64]:
        """Distance of each row to its centroid; NaN for rows without a vector."""
        return self._array("row_distances")

    @cached_property
    def offsets(self) -> NDArray[np.int64]:
        """Position where each cell begins, and the end of the last."""
        return self._array("offsets")

    @cached_property
    def cell_centroids(self) -> NDArray[np.int64]:
        """Centroid of each cell: several cells have the same where there are groups."""
        return self._array("cell_centroids")

    @cached_property
    def cell_groups(self) -> NDArray[np.int64]:
        """Group of each cell."""
        return self._array("cell_groups")

    @cached_property
    def incoming(self) -> NDArray[np.int64]:
        """Positions of border nodes of other cells, by the cell that they must be compared with and then by place."""
        return self._array("incoming")

    @cached_property
    def incoming_offsets(self) -> NDArray[np.int64]:
        """Where the border nodes for each cell begin in ``incoming``, and the end of the last."""
        return self._array("incoming_offsets")

    def side(self, positions: NDArray[np.int64]) -> Side:
        """Give nodes, in the order of their places, as a side of a comparison."""
        return Side(self.vectors, self.prefixes, positions, self.places[positions])

    def earlier_neighbours(self, x: Side, y: Side, near: Near, most: int) -> Found:
        """Compare two sides, where the plan is to do that; the pairs are the same."""
        compare = device.earlier_neighbours if self.device == "cuda" else earlier_neighbours
        return compare(x, y, near, most)


def build_layout(
    vectors: Vectors,
    folder: Path,
    run: Run,
    *,
    d: int,
    order: Order,
    groups: NDArray[np.int64] | None = None,
    axes: NDArray[np.float64] | None = None,
    centroids: Path | None = None,
    border: float | None = None,
    collapse: bool = True,
    on: Device = "cpu",
) -> Layout:
    """Move vectors into the sorted file.

    Parameters
    ----------
    vectors : Vectors
        n rows in all, of length ``d``.
    folder : Path
        Where the files are; what is there of an earlier run with the same arguments is not done again.
    run : Run
    order : array of shape (n,), int64, or "hard" or "easy"
    groups : array of shape (n,), int64, optional
        Rows of different groups are never in one cell; those with -1 are in none, as if without a vector.
    axes : array of shape (d, p), float64, optional
        Of the prefixes, which are the whole vectors by default.
    centroids : Path, optional
        File of the centroids; one cell holds all by default.
    border : float, optional
        Distance within which nodes on both sides of a border must be compared.
    collapse : bool, default=True
        Whether rows with equal vectors become one node.
    on : "cpu" or "cuda"
        Where nodes will be compared.
    """
    layout = Layout(folder, d, d if axes is None else axes.shape[1], on)
    moved = folder / "moved"
    if moved.exists():
        return layout
    bundles = bundles_of(vectors.sizes)
    read = ReadBundle(vectors, folder / "bundles", d, centroids, border)
    if not (folder / "offsets.npy").exists():
        for _ in run(read, bundles):
            pass
        arrange(folder, read, bundles, order, groups, collapse)
    files = {"vectors.f32": d} | ({} if axes is None else {"prefixes.f32": axes.shape[1] + 1})
    for name, width in files.items():
        with (folder / name).open("ab") as file:
            file.truncate(layout.nodes * width * 4)
    step = max(STRETCH_BYTES // (4 * d) // PAGE_ROWS, 1) * PAGE_ROWS
    starts = np.array([bundle.rows.start for bundle in bundles])
    for _ in run(_Move(layout, axes, step, folder / "bundles", starts), range(0, layout.nodes, step)):
        pass
    write_atomically(moved, lambda temporary: temporary.touch())
    shutil.rmtree(folder / "bundles", ignore_errors=True)
    return layout


@dataclass(frozen=True)
class _Move:
    """The task of a stretch of the sorted file: gathers it from the bundles."""

    layout: Layout
    axes: NDArray[np.float64] | None
    #: Rows of a stretch.
    step: int
    bundles: Path
    #: First row of each bundle, from which on its vectors are counted in ``sources``.
    starts: NDArray[np.int64]

    def __call__(self, start: int) -> None:
        layout = self.layout
        done = layout.folder / "stretches" / f"{start:012d}"
        if done.exists():
            return
        sources = layout.sources[start : start + self.step]
        units = np.empty((len(sources), layout.d), np.float32)
        order = np.argsort(sources)
        cuts = np.append(np.searchsorted(sources[order], self.starts), len(sources))
        for number in np.flatnonzero(np.diff(cuts)):
            into = order[cuts[number] : cuts[number + 1]]
            file = np.load(self.bundles / f"{number:06d}.npy", mmap_mode="r")
            units[into] = file[sources[into] - self.starts[number]]
        _write_at(layout.folder / "vectors.f32", start, units)
        if self.axes is not None:
            with one_blas_thread():
                _write_at(layout.folder / "prefixes.f32", start, prefixes(units, self.axes))
        write_atomically(done, lambda temporary: temporary.touch())


def _write_at(path: Path, row: int, rows: NDArray[np.float32]) -> None:
    with path.open("r+b") as file:
        file.seek(row * rows.shape[1] * rows.itemsize)
        file.write(rows.data.cast("B"))
        file.flush()
        os.fsync(file.fileno())  # a page lost with the power would be vectors of zeros, and the mark says it is there
