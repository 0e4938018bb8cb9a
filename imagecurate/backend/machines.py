"""What stages run on: the hardware of this process, or that of the workers of the Dask cluster that it is connected to.

What results depend on is asked of all of them once, before anything runs, and then holds for all.
"""

from __future__ import annotations

import functools
import logging
import sys
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from imagecurate.backend.clusters import Device, best_device
from imagecurate.errors import ClusterError

__all__ = [
    "POSSIBLE",
    "Hardware",
    "Machine",
    "assuming",
    "connected_client",
    "everywhere",
    "fastest",
    "jpeg_trouble",
    "machine_of_run",
    "this_machine",
]

_log = logging.getLogger(__name__)

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Machine:
    """Hardware, as far as results depend on it."""

    device: Device
    #: Whether the device multiplies in bfloat16; elsewhere that is emulated, and slower than float32.
    bfloat16: bool


def this_machine() -> Machine:
    """Say what this process computes on."""
    device = best_device()
    return Machine(device, _multiplies_bfloat16(device))


def fastest(machines: Sequence[Machine]) -> Machine:
    """Give the machine that others follow: one with a GPU where there is any, with what all such machines can do."""
    chosen = [machine for machine in machines if machine.device == "cuda"] or machines
    return Machine(chosen[0].device, all(machine.bfloat16 for machine in chosen))


def machine_of_run() -> Machine:
    """Say what stages run on: one answer for all workers, or this process."""
    return fastest(everywhere(this_machine))


@functools.cache
def jpeg_trouble() -> str | None:
    """Say why this process cannot decode JPEG files on its GPU; None where it can."""
    import torch

    from imagecurate.backend.gpu_pixels import JpegResizer

    if best_device() == "cpu":
        return "there is no GPU"
    try:
        device = torch.device("cuda", torch.cuda.current_device())
        JpegResizer(device=device, threads=1, interpolation="bicubic")
    except Exception as error:  # libraries that are missing, or do not go with this driver or each other
        return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
    return None


@dataclass(frozen=True)
class Hardware:
    """What all machines of a run might be like."""

    machine: Machine
    #: Whether they decode JPEG on their GPUs.
    decodes: bool


#: All that results can depend on.
POSSIBLE = (
    Hardware(Machine("cpu", False), False),
    Hardware(Machine("cpu", True), False),
    Hardware(Machine("cuda", False), False),
    Hardware(Machine("cuda", False), True),
    Hardware(Machine("cuda", True), False),
    Hardware(Machine("cuda", True), True),
)

_assumed: Hardware | None = None


@contextmanager
def assuming(hardware: Hardware) -> Iterator[None]:
    """Inside, stages are settled as if they ran on other hardware; for what runs nothing."""
    global _assumed
    outer, _assumed = _assumed, hardware
    try:
        yield
    finally:
        _assumed = outer


def connected_client() -> Any:
    """The Dask client of this process, or None."""
    if "distributed" not in sys.modules:
        return None
    from distributed import default_client

    try:
        return default_client()
    except ValueError:
        return None


def everywhere(question: Callable[[], Answer]) -> list[Answer]:
    """Call a function where stages run: on each worker of the cluster that is connected, or in this process.

    A cluster is asked once, by the first who wants to know: workers that join later have no say.  One without workers
    is waited for.

    Parameters
    ----------
    question : callable
        Of a module, without arguments.

    Raises
    ------
    ClusterError
        A worker could not answer.
    """
    if _assumed is not None:
        known: dict[Callable[[], Any], Any] = {
            this_machine: _assumed.machine,
            jpeg_trouble: None if _assumed.decodes else "assumed to be missing",
        }
        return [known[question]]
    client = connected_client()
    if client is None:
        return [question()]
    with _asking:
        answers = _answers.setdefault(client, {})
        if question not in answers:
            answers[question] = _asked(client, question)
        return answers[question]


_answers: weakref.WeakKeyDictionary[Any, dict[Callable[[], Any], list[Any]]] = weakref.WeakKeyDictionary()
_asking = threading.Lock()


def _asked(client: Any, question: Callable[[], Answer]) -> list[Answer]:
    from distributed.comm import CommClosedError

    found = client.run(question, on_error="return")
    died = CommClosedError, ConnectionError, TimeoutError
    lost = [worker for worker, answer in found.items() if isinstance(answer, died)]
    answers = {worker: answer for worker, answer in found.items() if worker not in lost}
    for worker, answer in answers.items():
        if isinstance(answer, Exception):
            raise ClusterError.because(
                f"worker {worker} cannot say what it computes on: {type(answer).__name__}: {answer}",
                "install the same imagecurate and PyTorch wherever a worker runs",
            ) from answer
    if answers:
        return list(answers.values())
    _log.warning("no worker is connected to the scheduler yet; the first one is asked what it computes on")
    return [client.submit(question, pure=False).result()]  # a task, for which an adaptive cluster starts a worker


@functools.cache
def _multiplies_bfloat16(device: Device) -> bool:
    import torch

    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if hasattr(torch.cpu, "get_capabilities"):  # from torch 2.10 on
        capabilities = torch.cpu.get_capabilities()
        return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16"))
    # Private, and not in every torch from 2.4 on: where one is missing the answer is the slow but certain one.
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, check, bool)() for check in checks)
