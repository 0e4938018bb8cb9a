"""A bounded sample of vectors, for k-means and the planner."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from imagecurate.neighbours.vectors import Run, Vectors, one_after_the_other, unit_rows

__all__ = ["FIT_SAMPLE", "draw_sample"]

#: Rows that k-means and the planner see.
FIT_SAMPLE = 65_536
#: Rows of the sample that follow each other: parts are read whole, so it comes from few of them.
SAMPLE_RUN = 64


def draw_sample(
    vectors: Vectors, count: int, random_state: int, run: Run = one_after_the_other
) -> NDArray[np.float32] | None:
    """Draw unit vectors from short runs of rows, the same whatever the parts; None where there are none."""
    ends = np.cumsum(vectors.sizes, dtype=np.int64)
    n = int(ends[-1]) if len(ends) else 0
    random = np.random.default_rng(random_state)
    wanted = np.sort(random.permutation(-(-n // SAMPLE_RUN))[: -(-count // SAMPLE_RUN)])
    rows = (wanted[:, None] * SAMPLE_RUN + np.arange(SAMPLE_RUN)).ravel()
    rows = rows[rows < n]
    part_of = np.searchsorted(ends, rows, side="right")
    items = [(part, rows[part_of == part] - ends[part] + vectors.sizes[part]) for part in np.unique(part_of).tolist()]
    pieces = [units for units in run(_Take(vectors), items) if len(units)]
    if pieces:
        # of two lengths the task that reads all rows will tell
        sample = np.concatenate([units for units in pieces if units.shape[1] == pieces[0].shape[1]])
        return sample[random.permutation(len(sample))]
    for part, size in enumerate(vectors.sizes):  # perhaps a few vectors among many rows without
        units = _Take(vectors)((part, np.arange(size)))
        if len(units):
            return units
    return None


@dataclass(frozen=True)
class _Take:
    """The task of a part: its valid rows among some, of unit length."""

    vectors: Vectors

    def __call__(self, item: tuple[int, NDArray[np.int64]]) -> NDArray[np.float32]:
        part, rows = item
        values, valid = self.vectors.read(part)
        units, valid = unit_rows(values[rows], valid[rows])
        return units[valid]
