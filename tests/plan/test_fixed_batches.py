"""Image stages whose batches have one shape: positions of a shard, empty slots, and results that depend on neither."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from making import picture, write_folder, write_tar
from opening import statuses
from toys import Brightness

import imagecurate as ic
from imagecurate import ImageStage
from imagecurate.columns import VECTOR
from imagecurate.errors import StageError
from imagecurate.images import Preprocessing
from imagecurate.plan import shard_pass
from imagecurate.store import PART_ROWS, files, values

#: Shapes of the batches, and slots that held a picture, of each call of ``Slots.process``.
CALLS: list[tuple[int, list[int]]] = []


class Slots(ImageStage):
    """Mean grey level, shape of the batch and slot of each picture; two numbers that a moved picture would change."""

    rows: int = 64
    column: str = "slots"
    fails_above: float = 300.0
    too_large: bool = False

    @property
    def batch_rows(self) -> int:
        return self.rows

    @property
    def input_shape(self) -> tuple[int, ...]:
        return (4, 4, 3)

    def adds(self) -> dict[str, pa.DataType]:
        return {self.column: VECTOR}

    def prepare(self, pixels: Any) -> Any:
        return Preprocessing((4, 4)).prepare(pixels)

    def process(self, batch: np.ndarray) -> dict[str, Any]:
        means = batch.reshape(len(batch), -1).mean(axis=1)
        CALLS.append((len(batch), np.flatnonzero(means).tolist()))
        if means.max() > self.fails_above:
            raise ValueError("too bright")
        if self.too_large:
            raise type("OutOfMemoryError", (RuntimeError,), {})("the device is full")
        return {self.column: np.column_stack([means, np.arange(len(batch)), np.full(len(batch), len(batch))])}


class Listed(Slots):
    """The same with pictures of no shape that all share."""

    @property
    def input_shape(self) -> None:
        return None

    def process(self, batch: list[Any]) -> dict[str, Any]:
        assert any(each is None for each in batch) or len(batch) == self.rows
        return super().process(np.stack([np.zeros((4, 4, 3), np.uint8) if each is None else each for each in batch]))


@pytest.fixture(autouse=True)
def calls() -> list[tuple[int, list[int]]]:
    """Calls of this test alone."""
    CALLS.clear()
    return CALLS


def vectors(dataset: ic.ImageTextPairDataset, column: str = "slots") -> dict[str, list[float] | None]:
    frame = dataset.metadata[["sample_id", column]].compute()
    rows = [list(row) if isinstance(row, np.ndarray | list) else None for row in frame[column]]
    return dict(zip(frame.sample_id, rows, strict=True))


@pytest.mark.parametrize("kind", [Slots, Listed])
def test_a_picture_lies_at_its_position(kind: type[Slots], tmp_path: Path, calls: list[tuple[int, list[int]]]) -> None:
    """150 rows in batches of 64: the last is filled up, and every batch has one shape."""
    write_folder(tmp_path / "data", shards=1, samples_per_shard=150)
    found = vectors(kind()(ic.read_webdataset(str(tmp_path / "data"), workdir=None)))
    assert [row[1:] for row in found.values() if row] == [[position % 64, 64] for position in range(150)]
    assert sorted(calls) == sorted([(64, list(range(64))), (64, list(range(64))), (64, list(range(22)))])


def test_stages_with_other_batches_go_together(tmp_path: Path, decodes: list[int]) -> None:
    """Blocks are multiples of all of them; each stage has batches of its own, and a picture is decoded once."""
    write_folder(tmp_path / "data", shards=1, samples_per_shard=300)
    ds = ic.read_webdataset(str(tmp_path / "data"), workdir=None)
    ds = ds.pipe(Slots(rows=128), Slots(rows=64, column="small"), Slots(rows=192, column="odd"), Brightness())
    frame = ds.metadata.compute()
    for column, rows in (("slots", 128), ("small", 64), ("odd", 192)):
        placed = np.stack(frame[column])[:, 1:]
        assert np.array_equal(placed, np.column_stack([np.arange(300) % rows, np.full(300, rows)]))
    assert len(decodes) == 300


@settings(max_examples=10)
@given(data=st.data())
def test_which_rows_are_asked_for_when_does_not_matter(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Any rows first, by head or a filter, in any order: the file of the store is that of one undisturbed run."""
    folder = tmp_path_factory.mktemp("fixed")
    broken = data.draw(st.sets(st.integers(0, 149), max_size=3))
    members = [(f"{n:03d}.jpg", b"<html>" if n in broken else picture(n % 30, (16, 12))) for n in range(150)]
    write_tar(folder / "data/0.tar", members)

    def opened(name: str) -> ic.ImageTextPairDataset:
        return ic.read_webdataset(str(folder / "data"), workdir=folder / name)

    Slots()(opened("calm")).compute(progress=False)
    for step in range(data.draw(st.integers(0, 4))):
        if data.draw(st.booleans()):
            Slots()(opened("often")).head(data.draw(st.integers(1, 149)))
        else:
            keys = [f"{n:03d}" for n in sorted(data.draw(st.sets(st.integers(0, 149), max_size=40)))]
            chosen = opened("often").include(keys, on="key", name=f"some-{step}")
            Slots()(chosen).compute(progress=False)
    Slots()(opened("often")).compute(progress=False)
    calm, often = (stored(folder / name) for name in ("calm", "often"))
    assert calm == often and len(calm) == 1


def stored(work: Path) -> dict[str, bytes]:
    """Files of the stage, by name."""
    return {path.name: path.read_bytes() for path in work.rglob("*.parquet") if "Slots" in str(path)}


def test_killed_and_run_again(tmp_path: Path) -> None:
    """Kill -9 within a batch: what is left is computed in the same slots, and the store ends up byte for byte."""
    write_folder(tmp_path / "data", shards=1, samples_per_shard=200)
    code = textwrap.dedent(f"""
        import os, sys
        sys.path[:0] = {[str(Path(__file__).parent), str(Path(__file__).parents[1])]!r}
        import imagecurate as ic
        import test_fixed_batches as here
        from imagecurate.store import StageFiles
        write, written = StageFiles.write_part, []
        def killed(self, shard, number, table):
            write(self, shard, number, table)
            written.append(number)
            if len(written) == int(sys.argv[2]):
                os.kill(os.getpid(), 9)
        StageFiles.write_part = killed
        ds = ic.read_webdataset({str(tmp_path / "data")!r}, workdir=sys.argv[1])
        here.Slots(rows=128)(ds).compute(progress=False)
    """)
    results = []
    for name, moments in (("calm", [0]), ("killed", [2, 3, 0])):
        for moment in moments:
            command = [sys.executable, "-c", code, str(tmp_path / name), str(moment)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert done.returncode == (-9 if moment else 0), done.stderr
        results.append(stored(tmp_path / name))
    assert results[0] == results[1] and len(results[0]) == 1


def test_a_bad_picture_costs_itself_alone(tmp_path: Path, calls: list[tuple[int, list[int]]]) -> None:
    """In ``prepare`` its slot stays empty; in ``process`` each is tried alone, in its slot of a batch as large."""
    members = [(f"{n:02d}.jpg", b"no image" if n == 3 else picture(n, (16, 12))) for n in range(20)]
    write_tar(tmp_path / "data/0.tar", members)
    whole = vectors(Slots()(ic.read_webdataset(str(tmp_path / "data"), workdir=None)))
    assert calls == [(64, [n for n in range(20) if n != 3])]
    brightest = max((row for row in whole.values() if row), key=lambda row: row[0])
    calls.clear()
    fussy = Slots(fails_above=brightest[0] - 1e-3)(ic.read_webdataset(str(tmp_path / "data"), workdir=None))
    reasons = {key: reason for key, (status, reason) in statuses(fussy).items() if status == "failed"}
    assert reasons == {"03": "not an image", f"{int(brightest[1]):02d}": "Slots"}
    assert calls[1:] == [(64, [n]) for n in range(20) if n != 3]
    rest = vectors(fussy)
    assert {key: row for key, row in rest.items() if row} == {
        key: row for key, row in whole.items() if row and row is not brightest
    }


def test_a_filter_between_two_stages_spares_the_second(tmp_path: Path) -> None:
    """Its batches have the same rows in the same slots, whatever the filter leaves."""
    write_folder(tmp_path / "data", shards=1, samples_per_shard=100)
    opened = ic.read_webdataset(str(tmp_path / "data"), workdir=None)
    everything = vectors(Slots()(opened))
    some = Slots()(opened.pipe(Brightness()).filter("brightness > 120"))
    left = vectors(some)
    assert 0 < len(left) < 100
    assert left == {key: everything[key] for key in left}
    stats = some.compute(progress=False).last_run
    assert stats is not None and stats.decoded == 0


class Short(Slots):
    """Gives fewer results than the batch has slots."""

    def process(self, batch: np.ndarray) -> dict[str, Any]:
        return {self.column: np.ones((len(batch) - 1, 2))}


def test_results_for_another_number_of_rows(tmp_path: Path) -> None:
    """The stage is at fault."""
    write_folder(tmp_path / "data", shards=1, samples_per_shard=3)
    with pytest.raises(StageError, match=r"Short\(\) was given 64 rows, but gave 63 values for 'slots'"):
        Short()(ic.read_webdataset(str(tmp_path / "data"), workdir=None)).compute(progress=False)


def test_want_of_device_memory_fails_no_row(tmp_path: Path) -> None:
    """Torch's error is a RuntimeError, of which rows would be found guilty one by one."""
    write_folder(tmp_path / "data", shards=1, samples_per_shard=3)
    with pytest.raises(RuntimeError, match="the device is full"):
        Slots(too_large=True)(ic.read_webdataset(str(tmp_path / "data"), workdir=None)).compute(progress=False)
    assert len(CALLS) == 1


@pytest.mark.parametrize(
    "said",
    [
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "CUDA error: an illegal memory access was encountered",
        "Triton Error [CUDA]: unspecified launch failure",
        "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED",
        "[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: you tried to allocate 8",
    ],
)
def test_no_row_is_guilty_of_a_machine_that_failed(said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After such an error of a GPU all that follows fails, too: rows would be written down as failed for good."""

    def fail(self: Slots, batch: np.ndarray) -> None:
        raise RuntimeError(said)

    monkeypatch.setattr(Slots, "process", fail)
    write_folder(tmp_path / "data", shards=1, samples_per_shard=3)
    with pytest.raises(RuntimeError, match=re.escape(said)):
        Slots()(ic.read_webdataset(str(tmp_path / "data"), workdir=None)).compute(progress=False)


def test_blocks_write_whole_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a batch is no multiple of a part, a block is one of both: no two blocks write the same file."""
    for module in (shard_pass, values, files):
        monkeypatch.setattr(module, "PART_ROWS", 6)
    write_folder(tmp_path / "data", shards=1, samples_per_shard=50)
    found = vectors(Slots(rows=4)(ic.read_webdataset(str(tmp_path / "data"), workdir=None)))
    assert [row[1] for row in found.values() if row] == [position % 4 for position in range(50)]


def test_other_stages_are_as_before(tmp_path: Path) -> None:
    """Without ``batch_rows`` a batch holds the rows that are asked for and no others."""
    seen: list[int] = []

    class Plain(Brightness):
        def process(self, batch: list[float]) -> dict[str, Any]:
            seen.append(len(batch))
            return super().process(batch)

    write_folder(tmp_path / "data", shards=1, samples_per_shard=PART_ROWS + 5)
    Plain()(ic.read_webdataset(str(tmp_path / "data"), workdir=None)).compute(progress=False)
    assert sorted(seen) == [5, PART_ROWS]
