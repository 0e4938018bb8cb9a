"""A row that kills whatever process works on it becomes a row with a reason; its neighbours are untouched."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import dask
import numpy as np
import pytest
from making import picture, samples, write_shard
from opening import opened, statuses
from toys import Brightness

import imagecurate as ic
from imagecurate.cluster import get_client
from imagecurate.errors import StageError
from imagecurate.plan.pieces import run_in_pieces


class Deadly(Brightness):
    """Mean grey level, but a picture of 40 lines ends the process that looks at it."""

    column: str = "deadly"
    signal: int = signal.SIGSEGV

    def prepare(self, pixels: np.ndarray) -> float:
        if pixels.shape[0] == 40:
            os.kill(os.getpid(), self.signal)
            time.sleep(60)  # the signal may take a moment
        return super().prepare(pixels)


def data(folder: Path, rows: int, deadly: int) -> Path:
    """A shard with one deadly picture."""
    made = samples(rows)
    made[deadly] = (made[deadly][0], {"jpg": picture(9, (40, 40)), "txt": "deadly"})
    write_shard(folder / "00000.tar", made)
    return folder


@pytest.mark.parametrize(
    ("rows", "number", "reason"),
    [
        (4, signal.SIGSEGV, "its process was killed by SIGSEGV"),
        (1, signal.SIGKILL, "its process was killed: most likely by a lack of memory"),
    ],
)
def test_the_row_is_found(tmp_path: Path, rows: int, number: int, reason: str) -> None:
    """By halves, and then by stage: the other stages have its values."""
    ds = opened(data(tmp_path / "data", rows, rows - 1)).pipe(
        Brightness(), Deadly(signal=number), ic.ThumbnailEmbedder()
    )
    run_in_pieces(ds._ready, ds._shards[0])
    ledger = ds.compute().ledger().compute()
    assert ds.last_run is not None and ds.last_run.decoded == 0
    assert ledger.status.tolist() == ["kept"] * (rows - 1) + ["failed"]
    assert (ledger.reason[rows - 1], ledger.detail[rows - 1]) == ("Deadly", reason)
    frame = ds.metadata.compute()
    assert frame.deadly.isna().tolist() == [False] * (rows - 1) + [True]
    assert frame.brightness.notna().all() and frame.image_embedding.notna().all()


def test_workers_are_killed_until_the_row_is_found(tmp_path: Path) -> None:
    """On a cluster the run goes on, and gives the rows of all shards."""
    folder = data(tmp_path / "data", 2, 0)
    write_shard(folder / "00001.tar", samples(2, first=2))
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        get_client("cpu", n_workers=1, threads_per_worker=1, silence_logs=50),
    ):
        found = statuses(opened(folder).pipe(Deadly()).compute())
    assert [status for status, _ in found.values()] == ["failed", "kept", "kept", "kept"]


def test_an_error_is_no_death(tmp_path: Path) -> None:
    """It is left to the pass itself, which raises it where somebody hears of it."""

    class Wrong(Brightness):
        def process(self, batch: list[float]) -> dict[str, object]:
            return {"another": batch}

    ds = opened(data(tmp_path / "data", 2, 0)).pipe(Wrong())
    run_in_pieces(ds._ready, ds._shards[0])
    with pytest.raises(StageError, match="must give the columns"):
        ds.compute()
