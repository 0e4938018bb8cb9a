"""Centroids and principal axes of unit vectors on the CPU, and the threads of the matrix products.

Both are fitted on one thread: sums in another order are other centroids.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["k_means", "one_blas_thread", "principal_axes"]

#: Rows that a step of k-means looks at.
BATCH_ROWS = 4096

_lock = threading.Lock()
_users = 0
_limit: Any = None


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Keep matrix products to the thread that asks for them, while any thread of the process is in here.

    Tasks run side by side, one a core; threads of the products on top of that only wait for each other.
    """
    global _users, _limit
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # comes with scikit-learn

    with _lock:  # the limit is the process's: the first sets it, the last takes it back
        _users += 1
        if _users == 1:
            _limit = _aside(lambda: threadpool_limits(1))
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                _aside(_limit.restore_original_limits)


def _aside(function: Callable[[], Any]) -> Any:
    """Call a function in a thread that ends with it.

    threadpoolctl 3.8 lets only the thread that set a limit change it, for as long as that lives; here the first thread
    to come need not be the last to go.
    """
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(function()))
    thread.start()
    thread.join()
    return results[0]


def k_means(rows: NDArray[np.float32], n_clusters: int, *, max_iter: int, random_state: int) -> NDArray[np.float32]:
    """Fit centroids by mini-batch k-means (Sculley 2010, "Web-scale k-means clustering").

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
    from sklearn.cluster import MiniBatchKMeans
    from sklearn.exceptions import ConvergenceWarning

    if len(rows) <= 4 * n_clusters:  # few enough that copies matter, of which each would want a centroid
        rows = np.unique(rows, axis=0)
    if len(rows) <= n_clusters:
        return rows
    model = MiniBatchKMeans(
        n_clusters,
        batch_size=BATCH_ROWS,
        init_size=4 * n_clusters,  # of scikit-learn's three batches k-means++ alone would take as long as all the steps
        max_no_improvement=3,
        n_init=1,
        max_iter=max_iter,
        random_state=random_state,
        compute_labels=False,
    )
    with one_blas_thread(), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # two centroids coincide, which is mended below
        centroids = model.fit(rows).cluster_centers_.astype(np.float32)
    different: NDArray[np.float32] = np.unique(centroids, axis=0)
    return different


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
    moments = np.zeros((rows.shape[1],) * 2)
    with one_blas_thread():
        for start in range(0, len(rows), BATCH_ROWS):
            block = rows[start : start + BATCH_ROWS].astype(np.float64)
            moments += block.T @ block
        return np.ascontiguousarray(np.linalg.eigh(moments)[1][:, ::-1])
