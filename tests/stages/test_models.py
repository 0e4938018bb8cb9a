"""Models in a process: loaded once, seeded, in the precision that the hardware has."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
import pytest
import torch

from imagecurate.backend.clusters import best_device
from imagecurate.backend.machines import Machine
from imagecurate.errors import StageError, WeightsError
from imagecurate.stages import models
from imagecurate.stages.models import fast_precision, loaded_once, on_device


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """No models from other tests."""
    monkeypatch.setattr(models, "_models", type(models._models)())
    monkeypatch.setattr(models, "_locks", {})


def test_threads_load_once() -> None:
    """Eight threads ask at once: one loads, all get the same model."""
    loads: list[str] = []
    got: list[Any] = []

    def load(device: str) -> Any:
        loads.append(device)
        time.sleep(0.05)
        return torch.nn.Linear(2, 2)

    threads = [threading.Thread(target=lambda: got.append(loaded_once("one", "cpu", load, "S()"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert loads == ["cpu"]
    assert len({id(model) for model in got}) == 1
    assert not got[0].training


def test_random_weights_are_the_same_and_the_generator_is_put_back() -> None:
    """Loading neither depends on the caller's generator nor moves it."""
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    first = loaded_once("first", "cpu", lambda device: torch.nn.Linear(3, 3), "S()")
    assert torch.equal(torch.rand(4), expected)
    second = loaded_once("second", "cpu", lambda device: torch.nn.Linear(3, 3), "S()")
    assert torch.equal(first.weight, second.weight)


def test_a_failed_load_is_tried_again() -> None:
    """An error is not kept, and the lock is free."""

    def fail(device: str) -> Any:
        raise OSError("not now")

    message = r"S\(\)'s load_model failed: OSError: not now\n\nHint: .*load_model\('cpu'\)"
    with pytest.raises(StageError, match=message) as raised:
        loaded_once("one", "cpu", fail, "S()")
    assert isinstance(raised.value.__cause__, OSError)
    assert loaded_once("one", "cpu", lambda device: 5, "S()") == 5


@pytest.mark.parametrize("error", [WeightsError("gone"), MemoryError("full")])
def test_errors_that_say_enough_pass(error: Exception) -> None:
    """Those of imagecurate, and want of memory, are not wrapped."""

    def fail(device: str) -> Any:
        raise error

    with pytest.raises(type(error)) as raised:
        loaded_once("one", "cpu", fail, "S()")
    assert raised.value is error


def test_few_models_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that was not used for longest goes."""
    monkeypatch.setattr(models, "_MOST_KEPT", 2)
    loads: list[str] = []

    def ask(name: str) -> Any:
        return loaded_once(name, "cpu", lambda device: loads.append(name) or name, "S()")

    for name in ("a", "b", "a", "c", "a", "b"):
        assert ask(name) == name
    assert loads == ["a", "b", "c", "b"]


@pytest.mark.parametrize(
    ("machine", "on_gpu", "precision"),
    [
        (Machine("cpu", False), "float16", "float32"),
        (Machine("cpu", True), "float16", "bfloat16"),
        (Machine("cuda", True), "float16", "float16"),
        (Machine("cuda", False), "float16", "float16"),
        (Machine("cuda", True), "bfloat16", "bfloat16"),
        (Machine("cuda", False), "bfloat16", "float32"),
    ],
)
def test_precision(machine: Machine, on_gpu: models.Precision, precision: str) -> None:
    """What the hardware multiplies in, and on a GPU what the model would have."""
    assert fast_precision(machine, on_gpu) == precision


def test_arrays_reach_the_device() -> None:
    """Read-only arrays too, without a warning; the copy is the model's own."""
    array = np.arange(6.0, dtype=np.float32).reshape(2, 3)
    array.flags.writeable = False
    tensor = on_device(array, best_device())
    assert tensor.device.type == best_device()
    tensor += 1
    assert array[0, 0] == 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_models_go_to_the_gpu() -> None:
    """A module is put onto the device."""
    assert loaded_once("gpu", "cuda", lambda device: torch.nn.Linear(2, 2), "S()").weight.device.type == "cuda"
