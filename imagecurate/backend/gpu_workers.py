"""Dask workers on the GPUs of this machine."""

from __future__ import annotations

import os
from typing import Any

from imagecurate.errors import MissingDependencyError

__all__ = ["count_gpus", "local_cuda_cluster"]


def count_gpus() -> int:
    """Count the GPUs that this process may use, by NVML: it gets no CUDA context, which would live on the first one."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    try:
        import pynvml
    except ImportError:
        return 0
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:  # no driver
        return 0
    try:
        there = int(pynvml.nvmlDeviceGetCount())
    finally:
        pynvml.nvmlShutdown()
    if visible is None:
        return there
    return min(there, sum(each.strip() not in ("", "-1") for each in visible.split(",")))


def local_cuda_cluster(options: dict[str, Any]) -> Any:
    """Start a worker on each GPU of this machine, or on those of ``CUDA_VISIBLE_DEVICES``.

    Raises
    ------
    MissingDependencyError
        dask-cuda is not installed.
    """
    try:
        from dask_cuda import LocalCUDACluster
    except ImportError:
        raise MissingDependencyError.for_feature("a cluster of GPU workers", "dask-cuda", "cuda13") from None
    return LocalCUDACluster(**options)
