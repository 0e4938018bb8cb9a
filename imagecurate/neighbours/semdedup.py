"""The SemDeDup rule, for comparison: within a cell, drop what is near any row before it, kept or not.

Abbas et al. 2023, "SemDeDup: data-efficient learning at web-scale through semantic deduplication", section 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from imagecurate.backend.clusters import best_device, clusters_on
from imagecurate.backend.cpu_clusters import one_blas_thread
from imagecurate.neighbours.arrange import Order
from imagecurate.neighbours.cells import Centroids, automatic_cells
from imagecurate.neighbours.files import save_array
from imagecurate.neighbours.layout import Layout, build_layout
from imagecurate.neighbours.request import check_request, claim
from imagecurate.neighbours.resolve import Outcome
from imagecurate.neighbours.sample import FIT_SAMPLE, draw_sample
from imagecurate.neighbours.vectors import Run, Vectors, cosine, one_after_the_other, unit_rows

__all__ = ["SemDeDup", "max_similarity_to_earlier", "semdedup"]

#: Products of float64 are this close to `cosine`; far closer indeed.
CLOSE = 1e-9
#: Earlier rows that are compared at a time.
BLOCK_COLUMNS = 1024


def max_similarity_to_earlier(
    vectors: NDArray[np.float32], *, block_rows: int = 1024
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Find, for each row, its closest match among the rows above it.

    Parameters
    ----------
    vectors : array of shape (n, d), float32
        None of them zero; scaled to unit length here.
    block_rows : int, default=1024
        Rows compared at a time; the answer does not depend on it.

    Returns
    -------
    similarity : array of shape (n,), float64
        Greatest cosine to an earlier row; 0 for the first.
    match : array of shape (n,), int64
        The first row that reaches it; 0 for the first.

    Examples
    --------
    >>> rows = np.array([[1, 2, 3], [4, 5, 6], [7, 8, 9], [10, 11, 12], [1, 2, 3], [1, 2, 3]], "f4")
    >>> similarity, match = max_similarity_to_earlier(rows)
    >>> similarity.round(6).tolist(), match.tolist()
    ([0.0, 0.974632, 0.998191, 0.999619, 1.0, 1.0], [0, 0, 1, 2, 0, 0])
    """
    units, _ = unit_rows(np.asarray(vectors, np.float32), np.ones(len(vectors), bool))
    n = len(units)
    similarity, match = np.full(n, -np.inf), np.zeros(n, np.int64)
    similarity[:1] = 0
    # of equal rows the first is the match, so the others need not be looked at
    _, first, inverse = np.unique(units, axis=0, return_index=True, return_inverse=True)
    columns = np.sort(first)
    for start in range(0, n, block_rows):
        rows = np.arange(start, min(start + block_rows, n))
        wide = units[rows].astype(np.float64)
        for low in range(0, int(np.searchsorted(columns, rows[-1])), BLOCK_COLUMNS):
            earlier = columns[low : low + BLOCK_COLUMNS]
            products = wide @ units[earlier].astype(np.float64).T
            products[earlier >= rows[:, None]] = -np.inf
            best = np.maximum(products.max(axis=1), similarity[rows])
            row, col = np.nonzero((products >= best[:, None] - CLOSE) & (products > -np.inf))
            exact = cosine(units[rows[row]], units[earlier[col]])
            order = np.lexsort((col, -exact, row))
            found, at = np.unique(row[order], return_index=True)
            exact, col, found = exact[order[at]], col[order[at]], rows[found]
            higher = exact > similarity[found]
            similarity[found[higher]], match[found[higher]] = exact[higher], earlier[col[higher]]
    copies = first[inverse] < np.arange(n)
    match[copies] = first[inverse][copies]
    return similarity, match


@dataclass(frozen=True)
class SemDeDup(Outcome):
    """What the SemDeDup rule makes of each row; its score, from which any other eps follows.

    Parameters
    ----------
    score : array of shape (n,), float32
        Greatest cosine to an earlier row of the cell; 0 for the first of a cell and for rows without a vector.
    match : array of shape (n,), int64
        The first row that reaches it; the row itself where there is none.
    cells : array of shape (n,), int32
        Cell of each row; -1 for rows without a vector.
    """

    score: NDArray[np.float32]
    match: NDArray[np.int64]
    cells: NDArray[np.int32]


def semdedup(
    vectors: Vectors,
    *,
    eps: float,
    folder: Path,
    ranks: Order,
    run: Run = one_after_the_other,
    within: NDArray[np.int64] | None = None,
    n_clusters: int | Literal["auto"] = "auto",
    max_iter: int = 10,
    random_state: int = 0,
    fit_sample: int = FIT_SAMPLE,
) -> SemDeDup:
    """Drop each row that has a cosine above ``1 - eps`` to any better-ranked row of its cell, kept or not.

    Misses pairs that are in two cells, and drops rows of chains that are near nothing that is kept.  Parameters are
    those of `CosinePairs.find`; cells are compared in whole vectors.
    """
    n = sum(vectors.sizes)
    check_request(n, eps, ranks, within, n_clusters, fit_sample=fit_sample)
    fit: dict[str, int] = {"max_iter": max_iter, "random_state": random_state}
    claim(folder, ranks, within, rule="semdedup", n=n, n_clusters=n_clusters, fit_sample=fit_sample, **fit)
    score, match = np.zeros(n, np.float32), np.arange(n)
    keeper, similarity = np.full(n, -1, np.int64), np.full(n, np.nan, np.float32)
    centroids = folder / "centroids.npy"
    if not centroids.exists():
        sample = draw_sample(vectors, fit_sample, random_state, run)
        if sample is None:
            return SemDeDup(keeper, similarity, score, match, np.full(n, -1, np.int32))
        k_means = clusters_on(best_device()).k_means
        save_array(centroids, k_means(sample, automatic_cells(n) if n_clusters == "auto" else n_clusters, **fit))
    d = Centroids.load(centroids).points.shape[1]
    layout = build_layout(vectors, folder, run, d=d, order=ranks, groups=within, centroids=centroids, collapse=False)
    rows = np.flatnonzero(layout.row_nodes >= 0)
    row_at = np.empty(layout.nodes, np.int64)
    row_at[layout.row_nodes[rows]] = rows
    task = _Score(layout)
    for cell in run(task, range(len(layout.offsets) - 1)):
        start = int(layout.offsets[cell])
        found = np.load(task.path(cell))
        mine = row_at[start : start + len(found)]
        score[mine], match[mine] = found["score"], mine[found["match"]]
        over = mine[found["score"] > 1 - eps]
        keeper[over], similarity[over] = match[over], score[over]
    return SemDeDup(keeper, similarity, score, match, np.asarray(layout.row_cells))


@dataclass(frozen=True)
class _Score:
    """The task of a cell."""

    layout: Layout

    def path(self, cell: int) -> Path:
        return self.layout.folder / "scores" / f"{cell:06d}.npy"

    def __call__(self, cell: int) -> int:
        if not self.path(cell).exists():
            with one_blas_thread():
                rows = self.layout.vectors[self.layout.offsets[cell] : self.layout.offsets[cell + 1]]
                score, match = max_similarity_to_earlier(rows)
            found = np.empty(len(score), [("score", "<f8"), ("match", "<i8")])
            found["score"], found["match"] = score, match
            save_array(self.path(cell), found)
        return cell
