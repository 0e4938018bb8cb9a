"""Stopping at the first failure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from making import picture, write_folder, write_tar
from opening import opened, statuses
from toys import Brightness

from imagecurate.errors import StrictError
from imagecurate.plan.strict import strictly
from imagecurate.store import PART_ROWS


def test_the_first_failure_ends_the_run(tmp_path: Path) -> None:
    """It is named with its reason, in the first run and in the next; without strict it is a row."""
    write_tar(tmp_path / "data/s.tar", [("a.jpg", picture(1)), ("b.jpg", b"no image"), ("c.jpg", picture(2))])
    ds = opened(tmp_path / "data").pipe(Brightness())
    for _ in range(2):
        with pytest.raises(StrictError, match="sample default/s#1 failed: not an image"):
            ds.compute(strict=True)
    ds.compute()
    assert statuses(ds)["b"] == ("failed", "not an image")


def test_nothing_fails(folder: Path) -> None:
    """Then strict is a run as any other."""
    with strictly():
        assert opened(folder).pipe(Brightness()).compute().counts().left.iloc[-1] == 8


def test_a_sample_without_an_image(tmp_path: Path) -> None:
    """It has failed before anything is decoded."""
    write_tar(tmp_path / "data/s.tar", [("a.txt", b"a caption")])
    with pytest.raises(StrictError, match="sample default/s#0 failed: no image"):
        opened(tmp_path / "data").compute(strict=True)


def test_other_shards_end_with_their_blocks(tmp_path: Path) -> None:
    """The failure is told, and not that other shards were broken off for it."""
    write_folder(tmp_path / "data", shards=3, samples_per_shard=8 * PART_ROWS)
    seen: list[int] = []

    class Broken(Brightness):
        def prepare(self, pixels: Any) -> float:
            seen.append(1)
            if len(seen) == 3 * PART_ROWS:
                raise ValueError("this one")
            return 1.0

    with pytest.raises(StrictError, match="Broken: ValueError: this one"):
        opened(tmp_path / "data").pipe(Broken()).compute(strict=True)
    assert len(seen) < 16 * PART_ROWS
