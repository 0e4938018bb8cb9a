"""Connecting to clusters: what is started, what is found, and what is said where nothing is."""

from __future__ import annotations

import importlib
import os
import sys
import types
from pathlib import Path

import pytest
from distributed import LocalCluster, default_client
from opening import opened
from toys import Brightness

import imagecurate.cluster
from imagecurate.backend.gpu_workers import count_gpus
from imagecurate.cluster import get_client
from imagecurate.errors import ClusterError, ParameterError
from imagecurate.plan.threads import cores


def test_a_cluster_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """All processors, the environment without what slows decoding down, and it ends with its client."""
    monkeypatch.delenv("MALLOC_TRIM_THRESHOLD_", raising=False)
    monkeypatch.setattr(imagecurate.cluster, "count_gpus", lambda: 0)
    with get_client() as client:
        assert sum(client.nthreads().values()) == cores()
        assert set(client.run(os.environ.get, "MALLOC_TRIM_THRESHOLD_").values()) == {None}
        assert default_client() is client
        cluster = client.cluster
    assert cluster.status.name == "closed"


def test_a_scheduler_that_runs(tmp_path: Path) -> None:
    """By its address and by its file; it goes on when the client leaves."""
    with LocalCluster(n_workers=1, processes=False, dashboard_address="127.0.0.1:0", host="tcp://127.0.0.1") as cluster:
        with get_client(cluster.scheduler_address) as client:
            assert len(client.nthreads()) == 1
            client.write_scheduler_file(str(tmp_path / "scheduler.json"))
        with get_client(tmp_path / "scheduler.json") as client:
            assert client.submit(sum, [1, 2]).result() == 3


def test_workers_with_another_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """Told at once, and not by the first task that cannot be unpacked."""
    with LocalCluster(n_workers=1, processes=False, dashboard_address="127.0.0.1:0", host="tcp://127.0.0.1") as cluster:
        monkeypatch.setattr(imagecurate.cluster, "__version__", "0.0.0")
        with pytest.raises(ClusterError, match=r"1 workers have another imagecurate than this process \(0\.0\.0\)"):
            get_client(cluster.scheduler_address)


@pytest.mark.parametrize(
    ("cluster", "told"),
    [
        ("gpu", "is no file\n\nHint: did you mean 'cuda'"),
        ("cpus", "did you mean 'cpu'"),
        ("http://host", 'no address of a Dask scheduler\n\nHint: cluster="tcp://host:8786"'),
        ("scheduler.json", "'scheduler.json', which is no file\n\nHint: dask scheduler --scheduler-file PATH"),
    ],
)
def test_what_is_no_cluster(cluster: str, told: str) -> None:
    """The message says what could be meant."""
    with pytest.raises(ParameterError) as caught:
        get_client(cluster)
    assert told in str(caught.value)


def test_nobody_answers() -> None:
    """A port where no scheduler listens."""
    with pytest.raises(
        ClusterError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9: (?s:.*)Hint: start one"
    ):
        get_client("tcp://127.0.0.1:9", timeout=0.5)


def test_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster of GPUs needs one."""
    monkeypatch.setattr(imagecurate.cluster, "count_gpus", lambda: 0)
    with pytest.raises(ClusterError, match="cluster='cuda' needs a GPU"):
        get_client("cuda")


@pytest.mark.parametrize(("visible", "count"), [(None, 4), ("0", 1), ("2,3", 2), ("", 0), ("-1", 0), ("0,1,2,3,4", 4)])
def test_gpus_that_may_be_used(visible: str | None, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """NVML shows all of a machine; ``CUDA_VISIBLE_DEVICES`` says which are ours."""
    nvml = types.SimpleNamespace(
        NVMLError=OSError, nvmlInit=lambda: None, nvmlDeviceGetCount=lambda: 4, nvmlShutdown=lambda: None
    )
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert count_gpus() == count


def test_a_worker_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """What dask-cuda is asked for: an allocator that shares, spilling, and the caller's options over ours."""
    asked: list[dict[str, object]] = []

    class AskedError(Exception):
        pass

    def cluster(options: dict[str, object]) -> None:
        asked.append(options)
        raise AskedError

    monkeypatch.setattr(imagecurate.cluster, "count_gpus", lambda: 2)
    monkeypatch.setattr(imagecurate.cluster, "local_cuda_cluster", cluster)
    for which, options in (("auto", {}), ("cuda", {"protocol": "ucx", "rmm_pool_size": "10GB"})):
        with pytest.raises(AskedError):
            get_client(which, **options)
    assert asked[0]["rmm_async"] is True and asked[0]["enable_cudf_spill"] is True
    assert "protocol" not in asked[0] and asked[1]["protocol"] == "ucx"
    assert "rmm_async" not in asked[1]


def test_stages_that_workers_lack(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Told as such, and the scheduler forgets them."""
    (tmp_path / "of_the_client.py").write_text("from toys import Brightness\nclass Here(Brightness): pass\n")
    with get_client("cpu", n_workers=1, threads_per_worker=1, silence_logs=50):
        monkeypatch.syspath_prepend(tmp_path)
        stage = importlib.import_module("of_the_client").Here()
        with pytest.raises(ClusterError, match=r"cannot load the stages of this dataset: .*of_the_client"):
            opened(folder).pipe(stage).compute()
        assert opened(folder).pipe(Brightness()).compute().counts().left.iloc[-1] == 8
