"""What a cluster of GPUs is started with is known to dask-cuda."""

from __future__ import annotations

import inspect

import pytest

pytestmark = [pytest.mark.contract, pytest.mark.filterwarnings("ignore")]


def test_local_cuda_cluster() -> None:
    """The parameters that ``get_client(cluster="cuda")`` gives, and those its users may."""
    from dask_cuda import LocalCUDACluster

    parameters = inspect.signature(LocalCUDACluster.__init__).parameters
    assert set(parameters) >= {
        "CUDA_VISIBLE_DEVICES",
        "device_memory_limit",
        "enable_cudf_spill",
        "kwargs",
        "local_directory",
        "memory_limit",
        "n_workers",
        "protocol",
        "rmm_async",
        "rmm_pool_size",
        "rmm_release_threshold",
        "threads_per_worker",
    }
    assert parameters["kwargs"].kind is inspect.Parameter.VAR_KEYWORD  # of LocalCluster: dashboard_address and the rest


def test_clusters_of_gpus_are_told_by_their_module() -> None:
    """``backend="auto"`` looks at where the cluster's class comes from."""
    from dask_cuda import LocalCUDACluster

    assert LocalCUDACluster.__module__.partition(".")[0] == "dask_cuda"
