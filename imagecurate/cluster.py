"""Connecting to a Dask cluster, or starting one on this machine."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask
from distributed import Client, LocalCluster
from distributed.diagnostics.plugin import WorkerPlugin

from imagecurate._version import __version__
from imagecurate.backend.gpu_workers import count_gpus, local_cuda_cluster
from imagecurate.errors import ClusterError, ParameterError, near_miss
from imagecurate.plan.threads import cores

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["get_client"]

#: Threads of a worker.  A process more costs a copy of each model; decoding and models leave the interpreter's lock, so
#: threads do as well as processes until there are many.
_THREADS = 8

_KINDS = ("auto", "cpu", "cuda")
_PROTOCOLS = ("tcp", "tls", "ucx", "ucxx", "ws", "wss", "inproc")
#: Seconds to wait for a scheduler.
_TIMEOUT_S = 30


def get_client(cluster: str | os.PathLike[str] = "auto", **options: Any) -> Client:
    """Connect this process to a Dask cluster: all that a dataset computes from now on runs on its workers.

    Use it as a context manager, or close it: that ends a cluster that was started here.  A script that starts workers
    must do so below ``if __name__ == "__main__":``, for they import it.

    Parameters
    ----------
    cluster : str or path, default="auto"
        ``"cuda"`` starts a worker on each GPU of this machine, ``"cpu"`` workers on its processors, and ``"auto"`` the
        first where there are GPUs, else the second.  An address (``"tcp://host:8786"``) or the path of a scheduler file
        connects to a scheduler that runs already.
    **options
        For ``dask_cuda.LocalCUDACluster`` (``protocol="ucx"``, ``CUDA_VISIBLE_DEVICES="0,1"``),
        ``distributed.LocalCluster`` (``n_workers``, ``threads_per_worker``, ``memory_limit``) or, with an address or a
        file, ``distributed.Client`` (``timeout``, ``security``).

    Returns
    -------
    distributed.Client

    Raises
    ------
    ParameterError
        ``cluster`` is none of these.
    ClusterError
        No scheduler answers, there is no GPU, or the workers have not the imagecurate of this process.
    MissingDependencyError
        There are GPUs, but dask-cuda is not installed.

    Examples
    --------
    >>> with get_client("cpu", n_workers=1, threads_per_worker=2) as client:  # doctest: +SKIP
    ...     ds.compute()
    """
    if isinstance(cluster, str) and cluster in _KINDS:
        cuda = cluster == "cuda" or (cluster == "auto" and count_gpus() > 0)
        return _local_cuda(options) if cuda else _local(options)
    if isinstance(cluster, str) and "://" in cluster:
        protocol = cluster.partition("://")[0]
        if protocol not in _PROTOCOLS:
            raise ParameterError.because(
                f"cluster={cluster!r} is no address of a Dask scheduler", 'cluster="tcp://host:8786"'
            )
        return _connected(f"at {cluster}", {"address": cluster} | options)
    path = Path(cluster).expanduser()
    if not path.is_file():
        guess = "cuda" if str(cluster).startswith("gpu") else near_miss(str(cluster), _KINDS)
        raise ParameterError.because(
            "cluster must be 'auto', 'cpu', 'cuda', the address of a scheduler or the path of a scheduler file, but is "
            f"{str(cluster)!r}, which is no file",
            f"did you mean {guess!r}?" if guess else "dask scheduler --scheduler-file PATH writes one as it starts",
        )
    return _connected(f"by the file {str(path)!r}", {"scheduler_file": str(path)} | options)


def _local(options: Mapping[str, Any]) -> Client:
    """Workers on the processors of this machine."""
    threads = cores()
    workers = options.get("n_workers") or -(-threads // int(options.get("threads_per_worker") or _THREADS))
    defaults = {
        "n_workers": workers,
        "threads_per_worker": max(threads // workers, 1),
        "dashboard_address": "127.0.0.1:0",  # any port: two runs on one machine do not quarrel over one
    }
    with _settings_of_workers():
        return _owned(LocalCluster(**defaults | dict(options)))


def _local_cuda(options: Mapping[str, Any]) -> Client:
    """A worker on each GPU of this machine."""
    if not count_gpus():
        raise ClusterError.because(
            "cluster='cuda' needs a GPU, but NVML, which is asked for them, shows none",
            "use cluster='cpu'; where there is a GPU, pip install 'imagecurate[cuda13]' brings what asks for it",
        )
    # An allocator that shares the GPU with torch's and DALI's instead of a pool that takes what it may need one day.
    defaults: dict[str, Any] = {"rmm_async": True, "enable_cudf_spill": True, "dashboard_address": "127.0.0.1:0"}
    if "rmm_pool_size" in options:
        del defaults["rmm_async"]
    if "threads_per_worker" not in options:
        gpus = options.get("n_workers") or count_gpus()
        defaults["threads_per_worker"] = max(min(cores() // int(gpus), 2 * _THREADS), 1)
    with _settings_of_workers():
        return _owned(local_cuda_cluster(defaults | dict(options)))


def _settings_of_workers() -> Any:
    """Keep Dask from having workers give memory back at every turn, and from filling it with profiles.

    Where memory goes back at 64 kB, each picture's buffer is new to the kernel: a worker decodes 654 images a second
    instead of 942 (2 cores).  It keeps 3,600 profiles of itself, which grow by 70 kB/s where each is of a second, and
    to a gigabyte in the days that a run may take where each is of a minute.
    """
    environment = dict(dask.config.get("distributed.nanny.pre-spawn-environ"))
    environment.pop("MALLOC_TRIM_THRESHOLD_", None)
    return dask.config.set(
        {"distributed.nanny.pre-spawn-environ": environment, "distributed.worker.profile.enabled": False}
    )


def _owned(cluster: Any) -> Client:
    """A client with which the cluster ends."""
    client = Client(cluster)
    client._start_arg = None  # by this a client knows that it started its cluster; there is no public way to say so
    client.register_plugin(_Uninterrupted(), name="imagecurate-uninterrupted")
    return client


class _Uninterrupted(WorkerPlugin):  # type: ignore[misc]  # which has no types
    """Leaves Ctrl-C, which a terminal sends to all its processes, to the client: it tells the workers what to do."""

    def setup(self, worker: Any) -> None:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, signal.SIG_IGN)


def _connected(where: str, options: Mapping[str, Any]) -> Client:
    try:
        client = Client(**{"timeout": _TIMEOUT_S} | dict(options))
    except (OSError, ValueError, TypeError, AssertionError) as error:  # the latter of a file that is no scheduler's
        raise ClusterError.because(
            f"no Dask scheduler answers {where}: {error}",
            "start one by `dask scheduler`, and see that this machine can reach its port",
        ) from error
    try:
        _check_workers(client)
    except ClusterError:
        client.close()
        raise
    return client


def _check_workers(client: Client) -> None:
    """Raise unless every worker that is there has this imagecurate."""

    def installed() -> str | None:  # within a function, it is sent as it is: the worker need not have this module
        try:
            import imagecurate
        except ModuleNotFoundError:
            return None
        return imagecurate.__version__

    wrong = {worker: found for worker, found in client.run(installed).items() if found != __version__}
    if wrong:
        worker, found = next(iter(wrong.items()))
        has = "no imagecurate" if found is None else f"imagecurate {found}"
        raise ClusterError.because(
            f"{len(wrong)} workers have another imagecurate than this process ({__version__}): {worker} has {has}",
            "install the same version wherever a worker runs",
        )
