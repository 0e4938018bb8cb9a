"""The one place that chooses who computes: the CPU, or a CUDA device."""

from __future__ import annotations

from typing import Any, Literal

from imagecurate.backend import cpu_clusters

__all__ = ["Device", "best_device", "clusters_on"]

Device = Literal["cpu", "cuda"]


def best_device() -> Device:
    """Say where models and large products run fastest: on a CUDA device, where torch finds one."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def clusters_on(device: Device) -> Any:
    """Give the module with ``k_means``, ``principal_axes`` and ``one_blas_thread`` for a device."""
    if device == "cpu":
        return cpu_clusters
    from imagecurate.backend import gpu_clusters

    return gpu_clusters
