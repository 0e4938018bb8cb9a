"""Centroids and axes on a CUDA device: as good as those of the CPU."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

from imagecurate.backend import clusters, cpu_clusters
from imagecurate.backend.clusters import clusters_on

gpu_clusters = pytest.importorskip("imagecurate.backend.gpu_clusters", reason="torch is not installed")


def sample(n: int = 6000, d: int = 32) -> np.ndarray:
    """Unit vectors around 50 centres."""
    random = np.random.default_rng(0)
    centres = random.standard_normal((50, d))
    rows = centres[random.integers(0, 50, n)] + random.standard_normal((n, d))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def inertia(rows: np.ndarray, centroids: np.ndarray) -> float:
    """Mean squared distance to the nearest centroid."""
    return float(((rows[:, None] - centroids) ** 2).sum(axis=2).min(axis=1).mean())


def test_the_same_names_and_signatures() -> None:
    """In the same order: either may be asked."""
    assert gpu_clusters.__all__ == cpu_clusters.__all__
    for name in cpu_clusters.__all__:
        one, other = (inspect.signature(getattr(module, name)) for module in (cpu_clusters, gpu_clusters))
        assert one == other
    assert clusters_on("cpu") is cpu_clusters
    assert clusters_on("cuda") is gpu_clusters
    assert clusters.best_device() in ("cpu", "cuda")


def test_steps_in_torch_fit_like_scikit_learn() -> None:
    """Where cuML is missing, on whichever device torch has."""
    rows = sample()
    ours = gpu_clusters._lloyd(rows, 60, 20, 0)
    theirs = cpu_clusters.k_means(rows, 60, max_iter=20, random_state=0)
    assert inertia(rows, ours) < 1.3 * inertia(rows, theirs)


@pytest.mark.gpu
def test_k_means_fits_like_scikit_learn() -> None:
    """Whoever fits it; and never more centroids than different rows."""
    rows = sample()
    centroids = gpu_clusters.k_means(rows, 60, max_iter=20, random_state=0)
    assert centroids.dtype == np.float32
    assert len(centroids) <= 60
    assert inertia(rows, centroids) < 1.3 * inertia(rows, cpu_clusters.k_means(rows, 60, max_iter=20, random_state=0))
    few = np.repeat(np.eye(5, dtype="f4"), 9, axis=0)
    assert len(gpu_clusters.k_means(few, 20, max_iter=5, random_state=1)) == 5
    assert gpu_clusters.k_means(rows[:0], 20, max_iter=5, random_state=1).shape == (0, 32)


@pytest.mark.parametrize("d", [1, 3, 32])
def test_axes_are_those_of_the_cpu(d: int) -> None:
    """Up to their direction."""
    rows = sample(d=d) * np.linspace(1, 0.1, d, dtype="f4")
    ours, theirs = gpu_clusters.principal_axes(rows), cpu_clusters.principal_axes(rows)
    np.testing.assert_allclose(ours.T @ ours, np.eye(d), atol=1e-12)
    np.testing.assert_allclose(np.abs((ours * theirs).sum(axis=0)), 1, atol=1e-6)
