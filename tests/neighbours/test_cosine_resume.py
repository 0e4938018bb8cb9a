"""Work that was broken off goes on, and a cluster does it as threads do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from brute_cosine import check, make

from imagecurate.neighbours import ArrayVectors, CosinePairs, against, compare, layout, semdedup
from imagecurate.plan.execute import in_order

EPS = 0.05
ROWS = np.concatenate([make("clustered", 900, 16, EPS, 1), make("border", 300, 16, EPS, 2)])
RANKS = np.random.default_rng(3).permutation(len(ROWS))


class KilledError(Exception):
    """Stands for the end of the process."""


class Killing:
    """Runs tasks one after the other until so many are done."""

    def __init__(self, after: int) -> None:
        self.left = after

    def __call__(self, task: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        for item in items:
            if not self.left:
                raise KilledError
            self.left -= 1
            yield task(item)


def find(folder: Path, run: Any) -> CosinePairs:
    """Find pairs by cells and borders."""
    vectors = ArrayVectors(ROWS, part_rows=200)
    return CosinePairs.find(vectors, eps=EPS, folder=folder, ranks=RANKS, run=run, plan="cells", n_clusters=20)


def contents(folder: Path) -> dict[str, bytes]:
    """All files that were left."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_going_on_after_a_kill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whenever it comes, the files are in the end those of an undisturbed run, and what was there is not done again."""
    monkeypatch.setattr(layout, "STRETCH_BYTES", 1)
    monkeypatch.setitem(compare.PORTIONS, "cpu", replace(compare.PORTIONS["cpu"], rows=100))
    whole = Killing(1000)
    expected = find(tmp_path / "whole", whole)
    tasks = 1000 - whole.left
    assert tasks > 15
    for after in range(0, tasks, 4):
        folder = tmp_path / str(after)
        with pytest.raises(KilledError):
            find(folder, Killing(after))
        before = {path: path.stat().st_mtime_ns for path in (folder / "pairs").glob("*")}
        pairs = find(folder, in_order)
        assert all(path.stat().st_mtime_ns == written for path, written in before.items())
        assert contents(folder) == contents(tmp_path / "whole")
        np.testing.assert_array_equal(pairs.resolve().keeper, expected.resolve().keeper)


def test_on_a_cluster(tmp_path: Path) -> None:
    """Workers read, write and compare; the answers are the same."""
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster),
    ):
        pairs = find(tmp_path / "cluster", in_order)
        matches = against(ArrayVectors(ROWS[:100], part_rows=30), pairs, EPS, folder=tmp_path / "new", run=in_order)
        rule = semdedup(ArrayVectors(ROWS), eps=EPS, folder=tmp_path / "rule", ranks=RANKS, run=in_order, n_clusters=5)
    expected = find(tmp_path / "threads", in_order)
    check(pairs.resolve().keeper, ROWS, RANKS, EPS)
    assert contents(tmp_path / "cluster") == contents(tmp_path / "threads")
    assert matches.found.sum() == np.isfinite(ROWS[:100]).all(axis=1).sum() - (ROWS[:100] == 0).all(axis=1).sum()
    again = semdedup(ArrayVectors(ROWS), eps=EPS, folder=tmp_path / "again", ranks=RANKS, run=in_order, n_clusters=5)
    np.testing.assert_array_equal(rule.score, again.score)
    assert expected.shares == pairs.shares
