"""Running a model that many threads share: on a CPU side by side, on a GPU one behind the other without a gap.

On a GPU each thread copies its batch on one stream, queues the model on another and waits for its own results alone.
The lock is held while kernels are queued, not while they run: so copies, model and the decoding of further batches in
other threads overlap.  All batches have one shape, which is compiled once.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from imagecurate.backend.memory import is_out_of_memory, release_caches
from imagecurate.errors import StageError
from imagecurate.neighbours.device import forget
from imagecurate.stages.models import to_host

if TYPE_CHECKING:
    import torch

__all__ = ["ModelRunner"]

_log = logging.getLogger(__name__)

#: Batches on a GPU at a time: one that is computed, one that waits for it, one that is copied.
_ON_DEVICE = 3

#: One for all models: settings of the convolutions belong to the whole process.
_launching = threading.Lock()

Model = Callable[[Any], Any]


class ModelRunner:
    """A model on a device.

    Parameters
    ----------
    model : callable
        A ``torch.nn.Module`` is put into eval mode and onto the device, and may be compiled there.
    device : {"cpu", "cuda"}
    name : str
        Whose model it is, for messages.
    """

    def __init__(self, model: Model, device: str, name: str) -> None:
        import torch

        self._device = device
        self._name = name
        self._model: Any = model.eval().to(device) if isinstance(model, torch.nn.Module) else model
        self._compiled: Model | None = None
        if device == "cuda" and isinstance(model, torch.nn.Module):
            self._compiled = torch.compile(self._model, dynamic=False)  # compiles when it is first called
        #: Rows that fit into memory at a time, as far as is known.
        self._most: int | None = None
        self._guard = threading.Lock()
        self._on_device = threading.BoundedSemaphore(_ON_DEVICE)
        self._streams: Any = _streams(2) if device == "cuda" else ()

    def run(
        self,
        batch: NDArray[Any],
        to_inputs: Callable[[torch.Tensor], torch.Tensor],
        forward: Callable[[Model, torch.Tensor], torch.Tensor],
        *,
        rows: int,
        compiled: bool = True,
    ) -> NDArray[Any]:
        """Compute one row of results for each row of a batch.

        Parameters
        ----------
        batch : array of shape (n, ...)
        to_inputs : callable
            Makes the model's input of rows on the device, as they are in the batch.
        forward : callable
            Given the model and its input, makes a tensor of one row for each.
        rows : int
            Rows that go through the model at a time.  On a GPU always so many: the last ones are filled up with zeros.
        compiled : bool, default=True
            On a GPU, compile the model for this number of rows, once a process, in about a minute for a large one.
            Where that fails the log says so, and the model runs as it is.

        Returns
        -------
        array of shape (n, ...)

        Raises
        ------
        StageError
            There is no memory for a single row.
        """
        import torch

        compute = self._on_gpu if self._device == "cuda" else self._on_cpu
        with self._on_device if self._device == "cuda" else nullcontext():
            while True:
                size = min(rows, self._most or rows)
                try:
                    with torch.inference_mode():
                        return compute(batch, to_inputs, forward, size, compiled)
                except (MemoryError, RuntimeError) as error:
                    if not is_out_of_memory(error):
                        raise
                    if size == 1:
                        raise StageError.because(
                            f"{self._name}: there is no memory on {self._device!r} for a single picture: {error}",
                            "free the device of other work, or take a smaller model",
                        ) from error
                # The error is gone, and with it what its frames held on the device.
                if not forget():  # no vectors were left there of a search that is over
                    self._halve(size)

    def _on_cpu(self, batch: Any, to_inputs: Any, forward: Any, rows: int, compiled: bool) -> NDArray[Any]:
        import torch

        parts = [batch[start : start + rows] for start in range(0, len(batch), rows)]
        # A copy: torch warns of arrays that are read-only, and a model may write into its input.
        results: list[NDArray[Any]] = [
            forward(self._model, to_inputs(torch.from_numpy(part.copy()))).numpy() for part in parts
        ]
        return np.concatenate(results)

    def _on_gpu(self, batch: Any, to_inputs: Any, forward: Any, rows: int, compiled: bool) -> NDArray[Any]:
        import torch

        model = self._fast if compiled and self._compiled is not None else self._model
        copying, computing = self._streams
        with torch.cuda.stream(copying):
            inputs = to_inputs(torch.from_numpy(_whole(batch, rows)).to(self._device, non_blocking=True))
            copied = copying.record_event()
        with _launching, torch.cuda.stream(computing), _plain_convolutions():
            computing.wait_event(copied)
            results = torch.cat([forward(model, part) for part in inputs.split(rows)])
            wait = to_host(results)
        # Inputs belong to the other stream: they are held until the model has read them.
        return wait()[: len(batch)]

    def _fast(self, inputs: torch.Tensor) -> Any:
        if self._compiled is not None:
            try:
                return self._compiled(inputs)
            except Exception as error:  # of the compiler, in many ways; or of the model, which then fails below
                if is_out_of_memory(error):
                    raise
                text = (str(error).strip() or type(error).__name__).splitlines()[0]
                _log.warning("%s runs as it is: compiling it failed: %s: %s", self._name, type(error).__name__, text)
                self._compiled = None
        return self._model(inputs)

    def _halve(self, size: int) -> None:
        """Let half as many rows through at a time from now on."""
        with self._guard:
            half = max(size // 2, 1)
            if self._most is None or half < self._most:
                self._most = half
                _log.warning(
                    "%s: out of memory on %s with %d pictures at a time: now %d", self._name, self._device, size, half
                )
        release_caches()


def _whole(batch: NDArray[Any], rows: int) -> NDArray[Any]:
    """A batch filled up with zeros to a multiple of some rows."""
    missing = -len(batch) % rows
    if not missing and batch.flags.writeable:  # torch warns of what is read-only
        return batch
    return np.concatenate([batch, np.zeros((missing, *batch.shape[1:]), batch.dtype)])


def _streams(count: int) -> tuple[torch.cuda.Stream, ...]:
    import torch

    return tuple(torch.cuda.Stream() for _ in range(count))  # type: ignore[no-untyped-call]


def _plain_convolutions() -> Any:
    """Convolutions in the precision that was asked for, by an algorithm that does not depend on a race."""
    import torch

    return torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)
