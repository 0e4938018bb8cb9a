"""A model that threads share: rows at a time, and what happens where memory does not suffice."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from making import write_folder

import imagecurate as ic
from imagecurate.errors import StageError
from imagecurate.neighbours import device
from imagecurate.stages import ImageEmbedder, models
from imagecurate.stages.runner import ModelRunner


class Narrow:
    """A model for which there is memory for so many rows at a time."""

    def __init__(self, most: int, error: type[Exception] = torch.OutOfMemoryError) -> None:
        self.most = most
        self.error = error
        self.seen: list[int] = []

    def __call__(self, inputs: torch.Tensor) -> torch.Tensor:
        self.seen.append(len(inputs))
        if len(inputs) > self.most:
            raise self.error("CUDA out of memory. Tried to allocate more than there is")
        return inputs * 2


def run(runner: ModelRunner, batch: Any, rows: int = 16) -> Any:
    return runner.run(batch, lambda inputs: inputs, lambda model, inputs: model(inputs), rows=rows)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, MemoryError, RuntimeError])
def test_out_of_memory_halves_what_goes_at_a_time(error: type[Exception], caplog: pytest.LogCaptureFixture) -> None:
    """Until it fits, for all that follow; results are all there, and the log says what it is now."""
    model = Narrow(5, error)
    runner = ModelRunner(model, "cpu", "Tiny()")
    batch = np.arange(40, dtype=np.float32).reshape(20, 2)
    with caplog.at_level(logging.WARNING):
        assert np.array_equal(run(runner, batch), 2 * batch)
    assert model.seen == [16, 8, 4, 4, 4, 4, 4]
    assert [record.getMessage() for record in caplog.records] == [
        "Tiny(): out of memory on cpu with 16 pictures at a time: now 8",
        "Tiny(): out of memory on cpu with 8 pictures at a time: now 4",
    ]
    model.seen.clear()
    run(runner, batch)
    assert max(model.seen) == 4
    run(runner, batch, rows=2)
    assert model.seen[-1] == 2


class Stream:
    """Stands for a stream, and keeps what happened on it."""

    def __init__(self, name: str, told: list[str]) -> None:
        self.name, self.told = name, told

    def __enter__(self) -> None:
        self.told.append(self.name)

    def __exit__(self, *_: object) -> None:
        pass

    def record_event(self) -> str:
        self.told.append("copied")
        return "event"

    def wait_event(self, event: str) -> None:
        assert event == "event"
        self.told.append("waited")


@pytest.mark.parametrize("count", [1, 7, 8, 20])
def test_what_is_queued_on_a_gpu(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of one shape, filled up with zeros; the model waits for the copy. The CPU stands for the device."""
    told: list[str] = []
    seen: list[torch.Tensor] = []

    def model(inputs: torch.Tensor) -> torch.Tensor:
        told.append("model")
        seen.append(inputs)
        return inputs * 2

    runner = ModelRunner(model, "cpu", "Tiny()")
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: stream)
    runner._streams = Stream("copying", told), Stream("computing", told)
    batch = np.arange(1, 2 * count + 1, dtype=np.float32).reshape(count, 2)
    batch.flags.writeable = False
    given = runner._on_gpu(batch, lambda inputs: inputs + 1, lambda model, inputs: model(inputs), 8, True)
    assert np.array_equal(given, 2 * (batch + 1))
    calls = -(-count // 8)
    assert told == ["copying", "copied", "computing", "waited", *["model"] * calls]
    assert [len(part) for part in seen] == [8] * calls
    assert (torch.cat(seen)[count:] == 1).all()  # zeros, of which inputs were made


def test_vectors_of_a_search_go_first(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Copies that wait for another comparison make room before a batch is halved for good."""
    monkeypatch.setitem(device._held, "a file", object())
    model = Narrow(16)

    def crowded(inputs: torch.Tensor) -> torch.Tensor:
        if device._held:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return model(inputs)

    batch = np.ones((16, 1), np.float32)
    with caplog.at_level(logging.WARNING):
        assert np.array_equal(run(ModelRunner(crowded, "cpu", "Tiny()"), batch), 2 * batch)
    assert model.seen == [16] and not caplog.records


def test_no_memory_for_one(caplog: pytest.LogCaptureFixture) -> None:
    """The stage's name, the device and the way out; no picture is to blame."""
    message = r"Tiny\(\): there is no memory on 'cpu' for a single picture: CUDA out of memory.*\n\nHint: free"
    with pytest.raises(StageError, match=message):
        run(ModelRunner(Narrow(0), "cpu", "Tiny()"), np.zeros((3, 1), np.float32))


def test_threads_that_meet_it_together_halve_once(caplog: pytest.LogCaptureFixture) -> None:
    """What one found out holds for all."""
    barrier = threading.Barrier(4)

    class Together(Narrow):
        def __call__(self, inputs: torch.Tensor) -> torch.Tensor:
            if len(inputs) == 16:
                barrier.wait(10)
            return super().__call__(inputs)

    runner = ModelRunner(Together(8), "cpu", "Tiny()")
    batch = np.ones((16, 1), np.float32)
    with caplog.at_level(logging.WARNING):
        threads = [threading.Thread(target=run, args=(runner, batch)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(caplog.records) == 1


def test_other_errors_pass() -> None:
    """They are the model's own."""
    with pytest.raises(ValueError, match="CUDA out of memory"):
        run(ModelRunner(Narrow(0, ValueError), "cpu", "Tiny()"), np.zeros((3, 1), np.float32))

    def broken(inputs: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    with pytest.raises(RuntimeError, match="illegal memory access"):
        run(ModelRunner(broken, "cpu", "Tiny()"), np.zeros((3, 1), np.float32))


class Cramped(ImageEmbedder):
    """An embedder whose model has room for three pictures."""

    input_size = 8

    def load_model(self, device: str) -> Any:
        narrow = Narrow(3)
        return lambda pictures: narrow(pictures.mean(dim=(2, 3)))


def test_no_row_fails_for_want_of_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run in little memory gives what one in plenty gives."""
    monkeypatch.setattr(models, "_models", type(models._models)())
    write_folder(tmp_path / "data", shards=1, samples_per_shard=20)
    ds = Cramped()(ic.read_webdataset(str(tmp_path / "data"), workdir=None)).compute(progress=False)
    assert ds.last_run is not None and ds.last_run.failed == 0
    monkeypatch.setattr(Narrow, "__call__", lambda self, inputs: inputs * 2)
    monkeypatch.setattr(models, "_models", type(models._models)())
    again = Cramped()(ic.read_webdataset(str(tmp_path / "data"), workdir=None))
    left, right = (np.stack(each.metadata.image_embedding.compute()) for each in (ds, again))
    np.testing.assert_allclose(left, right, atol=1e-6)
