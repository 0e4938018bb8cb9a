"""Centroids and principal axes of unit vectors on a CUDA device: the same names as in `cpu_clusters`.

Neither repeats to the last bit, with whatever seed: what follows reads the files that they are written to, once.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray

from imagecurate.backend.memory import release_caches

__all__ = ["k_means", "one_blas_thread", "principal_axes"]

#: Rows that are assigned at a time.
BATCH_ROWS = 65_536


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Do nothing: products on the device have no threads of ours."""
    yield


def k_means(rows: NDArray[np.float32], n_clusters: int, *, max_iter: int, random_state: int) -> NDArray[np.float32]:
    """Fit centroids by Lloyd's k-means: cuML's, or the same steps in torch where that is not installed.

    Parameters
    ----------
    rows : array of shape (n, d), float32
        The sample to fit on.
    n_clusters : int
        Of which there are no more than different rows.
    max_iter : int
        Passes over the sample at most; fewer where they stop to help.

    Returns
    -------
    array of shape (k, d), float32
        All different; k is ``n_clusters`` or less.
    """
    if len(rows) <= 4 * n_clusters:  # few enough that copies matter, of which each would want a centroid
        rows = np.unique(rows, axis=0)
    if len(rows) <= n_clusters:
        return rows
    try:
        from cuml.cluster import KMeans
    except ImportError:
        centroids = _lloyd(rows, n_clusters, max_iter, random_state)
    else:
        release_caches()  # what is kept of earlier work, cuML cannot use
        model = KMeans(
            n_clusters=n_clusters,
            init="random",  # its own way to begin looks at 16 candidates for each centroid
            n_init=1,
            max_iter=max_iter,
            random_state=random_state,
            output_type="numpy",
        )
        centroids = np.asarray(model.fit(rows).cluster_centers_, np.float32)
        del model
        gc.collect()  # its memory is not torch's to use
    different: NDArray[np.float32] = np.unique(centroids[np.isfinite(centroids).all(axis=1)], axis=0)
    return different


def _lloyd(rows: NDArray[np.float32], n_clusters: int, max_iter: int, random_state: int) -> NDArray[np.float32]:
    """Lloyd 1982, "Least squares quantization in PCM", from random rows; a centroid that lost its rows stays."""
    device = _device()
    points = torch.from_numpy(np.ascontiguousarray(rows)).to(device)
    first = np.random.default_rng(random_state).choice(len(rows), n_clusters, replace=False)
    centroids = points[torch.from_numpy(first).to(device)].clone()
    before = float("inf")
    for _ in range(max_iter):
        sums, counts = torch.zeros_like(centroids), torch.zeros(n_clusters, device=device)
        squares = (centroids * centroids).sum(1)
        inertia = 0.0
        for start in range(0, len(points), BATCH_ROWS):
            block = points[start : start + BATCH_ROWS]
            nearest = torch.addmm(squares, block, centroids.T, alpha=-2).min(1)
            sums.index_add_(0, nearest.indices, block)
            counts += torch.bincount(nearest.indices, minlength=n_clusters)
            inertia += float((nearest.values + 1).sum())  # of unit vectors
        centroids = torch.where(counts[:, None] > 0, sums / counts.clamp(min=1)[:, None], centroids)
        if before - inertia <= 1e-4 * inertia:  # as cuML's and scikit-learn's tolerance
            break
        before = inertia
    return centroids.cpu().numpy()


def principal_axes(rows: NDArray[np.float32]) -> NDArray[np.float64]:
    """Give the axes along which rows extend most, from the origin and not from their mean.

    Parameters
    ----------
    rows : array of shape (n, d), float32

    Returns
    -------
    array of shape (d, d), float64
        An axis a column, orthonormal, the longest first.
    """
    device = _device()
    moments = torch.zeros((rows.shape[1],) * 2, dtype=torch.float64, device=device)
    for start in range(0, len(rows), BATCH_ROWS):
        block = torch.from_numpy(np.ascontiguousarray(rows[start : start + BATCH_ROWS])).to(device).double()
        moments += block.T @ block
    return np.ascontiguousarray(torch.linalg.eigh(moments)[1].cpu().numpy()[:, ::-1])


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
