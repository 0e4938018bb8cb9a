"""Models in a process: on which device, in which precision, and each loaded once."""

from __future__ import annotations

import functools
import threading
from collections import OrderedDict
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from imagecurate.backend.machines import Machine
from imagecurate.errors import ImageCurateError, StageError

if TYPE_CHECKING:
    import torch

__all__ = ["Precision", "fast_precision", "loaded_once", "on_device", "side_stream", "to_host"]

Precision = Literal["float32", "bfloat16", "float16"]

#: Models kept: more than one plan has at work, few enough that a notebook that tries embedders does not fill up.
_MOST_KEPT = 8


def fast_precision(machine: Machine, on_gpu: Precision = "bfloat16") -> Precision:
    """Give the precision in which a machine multiplies matrices fastest.

    Parameters
    ----------
    machine : Machine
    on_gpu : {"float32", "bfloat16", "float16"}, default="bfloat16"
        What it is on a GPU; bfloat16 only where that is no emulation.

    Examples
    --------
    >>> fast_precision(Machine("cuda", bfloat16=True), "float16"), fast_precision(Machine("cpu", bfloat16=False))
    ('float16', 'float32')
    """
    if machine.device == "cuda" and on_gpu != "bfloat16":
        return on_gpu
    return "bfloat16" if machine.bfloat16 else "float32"


_models: OrderedDict[tuple[str, str], Any] = OrderedDict()
_locks: dict[tuple[str, str], threading.Lock] = {}
_guard = threading.Lock()


def loaded_once(fingerprint: str, device: str, load: Callable[[str], Any], stage: str) -> Any:
    """Give the model of a stage, loaded by the first thread that asks while the others wait.

    Weights that ``load`` draws at random are the same in every process: torch's generator is seeded with 0 for it, and
    put back.

    Parameters
    ----------
    fingerprint : str
        What the model is known by; a stage's own, which holds the digest of its weights.
    device : str
    load : callable
        Called with the device; gives the model.
    stage : str
        Whose model it is, for the message.

    Raises
    ------
    StageError
        ``load`` failed, other than by an error of imagecurate or for want of memory: no row is to blame for it.
    """
    key = (fingerprint, device)
    with _guard:
        lock = _locks.setdefault(key, threading.Lock())
    with lock:
        with _guard:
            if key in _models:
                _models.move_to_end(key)
                return _models[key]
        try:
            model = _ready(_seeded(load, device), device)
        except (ImageCurateError, MemoryError):
            raise
        except Exception as error:  # of whatever library the model comes from
            raise StageError.because(
                f"{stage}'s load_model failed: {type(error).__name__}: {error}",
                f"try it by itself: load_model({device!r}) has to give the model",
            ) from error
        with _guard:
            _models[key] = model
            while len(_models) > _MOST_KEPT:
                oldest, _ = _models.popitem(last=False)
                _locks.pop(oldest, None)
    return model


#: torch's generator belongs to the whole process: one model is made at a time.
_making = threading.Lock()


def _seeded(load: Callable[[str], Any], device: str) -> Any:
    import torch

    devices = [torch.cuda.current_device()] if device == "cuda" else []
    with _making, torch.random.fork_rng(devices=devices):
        torch.manual_seed(0)
        return load(device)


def _ready(model: Any, device: str) -> Any:
    import torch

    return model.eval().to(device) if isinstance(model, torch.nn.Module) else model


def on_device(values: Any, device: str) -> torch.Tensor:
    """Copy an array or tensor to the device; to a GPU through pinned memory, without waiting for it."""
    import torch

    tensor = values if isinstance(values, torch.Tensor) else torch.tensor(values)
    if device == "cpu":
        return tensor
    return tensor.pin_memory().to(device, non_blocking=True)


def side_stream(device: str) -> AbstractContextManager[Any]:
    """Let small work on a GPU go beside the embedder's, and in front of what that has queued; nothing on a CPU."""
    import torch

    return torch.cuda.stream(_first_stream()) if device == "cuda" else nullcontext()


@functools.cache
def _first_stream() -> torch.cuda.Stream:
    import torch

    return torch.cuda.Stream(priority=-1)  # type: ignore[no-untyped-call]


def to_host(values: torch.Tensor) -> Callable[[], NDArray[Any]]:
    """Begin to copy a tensor to the host; the function that is given waits for it, without turning a core."""
    import torch

    if values.device.type != "cuda":
        return values.numpy
    host = torch.empty(values.shape, dtype=values.dtype, pin_memory=True).copy_(values, non_blocking=True)
    done = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
    done.record()

    def wait() -> NDArray[Any]:
        done.synchronize()
        return np.array(host.numpy())  # pinned memory is dear: it goes back at once

    return wait
