"""Stopping on request: the blocks in hand are finished, the message says how to go on, and the same run does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import fault_program
import pytest
from making import write_folder
from opening import opened
from toys import Brightness

from imagecurate.errors import Stopped
from imagecurate.plan.stopping import check_stop, is_stopping, request_stop, stopping
from imagecurate.plan.threads import cores

#: A second Ctrl-C ends the process by the signal itself.
CASES = {signal.SIGTERM: "SIGTERM", signal.SIGUSR1: "SIGUSR1", signal.SIGINT: "Ctrl-C", -signal.SIGINT: None}


def test_signals(tmp_path: Path) -> None:
    """Blocks in hand are finished and kept, the message says how to go on; a second Ctrl-C ends the process at once."""
    data = write_folder(tmp_path / "data", shards=60, samples_per_shard=2)
    ended = subprocess.run(
        [sys.executable, fault_program.__file__, "stop", data, tmp_path, *map(str, map(int, CASES))],
        env=os.environ | {"IMAGECURATE_PROGRESS": "0"},
        capture_output=True,
        text=True,
        check=True,
    )
    results = list(map(int, ended.stdout.split()))
    for name, status, before, after in zip(CASES.values(), results[::3], results[1::3], results[2::3], strict=True):
        assert 4 <= before < 60
        if name is None:
            assert status == signal.SIGINT
            assert 60 <= after <= 60 + cores()
        else:
            assert os.waitstatus_to_exitcode(status) == 1
            assert (
                f"Stopped: stopped by {name}; what is finished lies in the store\n\nHint: run the same" in ended.stderr
            )
            assert after == 60


def test_a_time_limit(tmp_path: Path) -> None:
    """It ends a run as a signal does, and the next run in the process is not stopped."""
    data = write_folder(tmp_path / "data", shards=20, samples_per_shard=2)

    class Slow(Brightness):
        def prepare(self, pixels: object) -> float:
            time.sleep(0.1)
            return 1.0

    with pytest.raises(Stopped, match=r"stopped by the time limit of 0\.2 s"), stopping(after_s=0.2):
        opened(data).pipe(Slow()).compute()
    assert not is_stopping()
    assert opened(data).pipe(Slow()).metadata.partitions[0].brightness.sum().compute() == 2


def test_a_frame_that_is_computed_stops_too(tmp_path: Path) -> None:
    """What Dask's own threads run sees the request as well."""
    data = write_folder(tmp_path / "data", shards=2, samples_per_shard=2)
    ds = opened(data).pipe(Brightness())
    with pytest.raises(Stopped, match="stopped by me"), stopping(signals=False):
        request_stop("me")
        ds.metadata.brightness.sum().compute()


def test_signals_are_given_back() -> None:
    """After the context the handlers are those from before; without a request nothing is raised."""
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)]
    with stopping(after_s=3600):
        assert signal.getsignal(signal.SIGTERM) is not before[1]
        check_stop()
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)] == before
