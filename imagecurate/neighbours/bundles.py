"""The one reading of the vectors: to unit length, with their cells, borders and hashes, in bundles of parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_128_digest

from imagecurate.backend.cpu_clusters import one_blas_thread
from imagecurate.errors import ParameterError
from imagecurate.neighbours.cells import Assigned, Centroids
from imagecurate.neighbours.files import save_array, save_arrays
from imagecurate.neighbours.vectors import Vectors, unit_rows

__all__ = ["Bundle", "ReadBundle", "bundles_of"]

#: Rows of a bundle: so many that those of a cell in it are read at once, though it has one in thousands.
BUNDLE_ROWS = 65_536
#: Bundles at least, where there are parts for them: all threads have some.
BUNDLES = 64


@dataclass(frozen=True)
class Bundle:
    """Parts that follow each other, and the rows that they have."""

    number: int
    parts: range
    rows: range


def bundles_of(sizes: Sequence[int]) -> list[Bundle]:
    """Divide parts into bundles, the same whatever runs them.

    >>> [(list(bundle.parts), bundle.rows) for bundle in bundles_of([70000, 5, 0, 70000])]
    [([0], range(0, 70000)), ([1, 2, 3], range(70000, 140005))]
    """
    wanted = min(sum(sizes) // BUNDLES, BUNDLE_ROWS)
    bundles: list[Bundle] = []
    first = start = end = 0
    for part, size in enumerate(sizes):
        end += size
        if end - start > wanted or part == len(sizes) - 1:
            bundles.append(Bundle(len(bundles), range(first, part + 1), range(start, end)))
            first, start = part + 1, end
    return bundles


@dataclass(frozen=True)
class ReadBundle:
    """The task of a bundle: leaves a file of unit vectors, sorted by cell, and one of what is known of them."""

    vectors: Vectors
    folder: Path
    #: Length of the vectors.
    d: int
    #: File of the centroids, or None for a single cell.
    centroids: Path | None
    #: Distance within which borders matter, or None.
    border: float | None

    def units(self, number: int) -> Path:
        """File of the vectors."""
        return self.folder / f"{number:06d}.npy"

    def known(self, number: int) -> Path:
        """File of what is known of them: of each its row in the bundle, its hash and its cell, and the border rows."""
        return self.folder / f"{number:06d}.npz"

    def __call__(self, bundle: Bundle) -> None:
        if self.known(bundle.number).exists():
            return
        rows, units = self._read(bundle)
        assigned = self._assigned(units)
        order = np.argsort(assigned.cells, kind="stable")
        units = units[order]
        save_array(self.units(bundle.number), units)
        known = {
            "rows": rows[order],
            "hashes": np.frombuffer(b"".join(map(xxh3_128_digest, units)), "<u8").reshape(-1, 2),
            "cells": assigned.cells[order],
            "distances": assigned.distances[order],
            "border_rows": rows[assigned.rows],
            "beyond": assigned.beyond,
        }
        save_arrays(self.known(bundle.number), known)

    def _read(self, bundle: Bundle) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        rows, pieces, first = [np.empty(0, np.int64)], [np.empty((0, self.d), np.float32)], 0
        for part in bundle.parts:
            units, valid = unit_rows(*self.vectors.read(part))
            if valid.any():  # a part without vectors does not say how long they are
                if units.shape[1] != self.d:
                    raise ParameterError.because(
                        f"vectors of length {units.shape[1]} in part {part} cannot be compared with others of "
                        f"length {self.d}",
                        "embed all with the same model",
                    )
                rows.append(first + np.flatnonzero(valid))
                pieces.append(units[valid])
            first += len(valid)
        return np.concatenate(rows), np.concatenate(pieces)

    def _assigned(self, units: NDArray[np.float32]) -> Assigned:
        if self.centroids is None:
            nothing = np.empty(0, np.int32)
            return Assigned(np.zeros(len(units), np.int32), np.full(len(units), np.nan), nothing, nothing)
        with one_blas_thread():
            return Centroids.load(self.centroids).assign(units, self.border)
