"""The outcome is that of brute force, however vectors are compared."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from brute_cosine import check, cosines, make, vectors
from hypothesis import given, settings
from hypothesis import strategies as st

from imagecurate.errors import ParameterError
from imagecurate.neighbours import ArrayVectors, CosinePairs
from imagecurate.plan.execute import in_order

PLANS = st.sampled_from(["auto", "brute", "prefix", "cells"])
CLUSTERS = st.sampled_from(["auto", 1, 2, 7, 30, 1000])


def find(rows: np.ndarray, folder: Path, *, part_rows: int = 64, **options: object) -> CosinePairs:
    """Find pairs of rows in memory, the first rows preferred."""
    options = {"ranks": np.arange(len(rows)), "run": in_order} | options
    return CosinePairs.find(ArrayVectors(rows, part_rows=part_rows), folder=folder, **options)


@given(
    vectors(), PLANS, CLUSTERS, st.sampled_from([1, 3, 64]), st.sampled_from([7, 100, 1000]), st.integers(0, 2**32 - 1)
)
def test_outcome_is_that_of_brute_force(
    drawn: tuple[np.ndarray, float], plan: str, clusters: int | str, most: int, part_rows: int, seed: int
) -> None:
    """Who is kept, whom the others name, and how similar they are; also in groups, other orders and a smaller eps."""
    rows, eps = drawn
    random = np.random.default_rng(seed)
    ranks = random.permutation(len(rows))
    groups = random.choice([-1, 0, 5, 2**62], len(rows)) if seed % 3 == 0 else None
    with tempfile.TemporaryDirectory() as folder:
        pairs = find(
            rows,
            Path(folder),
            eps=eps,
            ranks=ranks,
            within=groups,
            plan=plan,
            n_clusters=clusters,
            max_pairs_per_row=most,
            part_rows=part_rows,
        )
        outcome = pairs.resolve()
        check(outcome.keeper, rows, ranks, eps, groups)
        dropped = np.flatnonzero(~outcome.kept)
        similar = cosines(rows, rows)[dropped, outcome.keeper[dropped]]
        np.testing.assert_allclose(outcome.similarity[dropped], similar, atol=1e-6)
        assert np.isnan(outcome.similarity[outcome.kept]).all()

        other, less = random.permutation(len(rows)), eps / 3
        check(pairs.resolve(eps=less).keeper, rows, ranks, less, groups)
        check(pairs.resolve(other).keeper, rows, other, eps, groups)
        check(pairs.resolve(other, less).keeper, rows, other, less, groups)


@settings(max_examples=20)
@given(vectors(), CLUSTERS, st.integers(0, 2**32 - 1))
def test_cells_alone_are_brute_force_in_each_cell(
    drawn: tuple[np.ndarray, float], clusters: int | str, seed: int
) -> None:
    """Without exactness only pairs in two cells are missed, whether crowds are compared again or not."""
    rows, eps = drawn
    ranks = np.random.default_rng(seed).permutation(len(rows))
    with tempfile.TemporaryDirectory() as folder:
        pairs = find(rows, Path(folder), eps=eps, ranks=ranks, exact=False, n_clusters=clusters, max_pairs_per_row=2)
        cells = np.full(len(rows), -1) if pairs.layout is None else np.array(pairs.layout.row_cells)
        for order in (ranks, ranks[::-1].copy()):
            check(pairs.resolve(order).keeper, rows, order, eps, cells)


@pytest.mark.parametrize("plan", ["brute", "prefix", "cells"])
def test_many_rows(tmp_path: Path, plan: str) -> None:
    """Several windows of the resolver, several tasks, rows that do not fit one tile."""
    eps, random = 0.02, np.random.default_rng(0)
    rows = np.concatenate([make(kind, 1000, 24, eps, 1) for kind in ("clustered", "crowd", "chain", "border")])
    ranks = random.permutation(len(rows))
    pairs = find(rows, tmp_path, eps=eps, ranks=ranks, plan=plan, n_clusters=40, max_pairs_per_row=4)
    outcome = pairs.resolve()
    check(outcome.keeper, rows, ranks, eps)
    assert 0.02 < outcome.kept.mean() < 0.5
    other = random.permutation(len(rows))
    check(pairs.resolve(other).keeper, rows, other, eps)
    assert pairs.plan.chosen == plan
    assert 0 < pairs.shares.share < 1


def test_parts_and_plans_give_the_same_bytes(tmp_path: Path) -> None:
    """The outcome depends on the vectors and ranks alone, near the threshold too."""
    angle = np.arange(300) * np.arccos(1 - 0.01) / 20  # every 20th is on the threshold but for rounding
    rows = np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)
    ranks = np.random.default_rng(0).permutation(300)
    outcomes = []
    for number, (plan, part_rows) in enumerate([("brute", 300), ("prefix", 7), ("cells", 50), ("cells", 11)]):
        folder = tmp_path / str(number)
        outcomes.append(
            find(rows, folder, eps=0.01, ranks=ranks, plan=plan, part_rows=part_rows, n_clusters=9).resolve()
        )
    for outcome in outcomes[1:]:
        np.testing.assert_array_equal(outcome.keeper, outcomes[0].keeper)
        np.testing.assert_array_equal(outcome.similarity, outcomes[0].similarity)


def test_a_crowd_stores_and_compares_little(tmp_path: Path) -> None:
    """Thousands of nearly equal vectors are compared with the first few, and equal ones with nothing."""
    rows = np.ones((5000, 32), np.float32) + np.random.default_rng(0).normal(0, 0.01, (5000, 32)).astype("f4")
    pairs = find(rows, tmp_path / "noisy", eps=0.05, max_pairs_per_row=8, plan="prefix")
    assert pairs.resolve().dropped == 4999
    assert pairs.resolve(np.arange(5000)[::-1].copy()).keeper[0] == 4999
    assert pairs.shares.share < 0.2
    assert sum(len(np.load(file)) for file in (tmp_path / "noisy/pairs").glob("??????.npy")) <= 8 * 5000
    copies = find(np.ones((5000, 32), np.float32), tmp_path / "equal", eps=0.05)
    assert copies.resolve().dropped == 4999
    assert copies.shares.compared == 0


def test_hard_and_easy_orders(tmp_path: Path) -> None:
    """Ranks may be left to the distance from the centroid."""
    rows = make("clustered", 300, 8, 0.1, 5)
    rows[:3] = np.nan
    for order in ("hard", "easy"):
        pairs = find(rows, tmp_path / order, eps=0.1, ranks=order, n_clusters=5)
        assert pairs.layout is not None
        ranks, distances = pairs.layout.row_ranks, pairs.layout.row_distances[3:]
        check(pairs.resolve().keeper, rows, np.array(ranks), 0.1)
        by_rank = distances[np.argsort(ranks[3:])]
        assert (np.diff(by_rank if order == "easy" else by_rank[::-1]) >= 0).all()


def test_counts_for_several_thresholds(tmp_path: Path) -> None:
    """A preview is what each outcome would be."""
    rows = make("clustered", 400, 16, 0.1, 1)
    pairs = find(rows, tmp_path, eps=0.1)
    counts = pairs.dropped(None, [0.9, 0.95, 0.98])
    assert counts == [pairs.resolve(eps=eps).dropped for eps in (0.1, 0.05, 0.02)]
    assert counts[0] > counts[1] > counts[2] > 0


@pytest.mark.parametrize("n", [0, 1, 2])
def test_nothing_to_compare(tmp_path: Path, n: int) -> None:
    """No rows, one, and none with a vector."""
    assert find(np.ones((n, 4), "f4"), tmp_path / "rows", eps=0.1).resolve().dropped == max(n - 1, 0)
    assert find(np.zeros((n, 4), "f4"), tmp_path / "zeros", eps=0.1).resolve().kept.all()
    groups = np.full(n, -1)
    assert find(np.ones((n, 4), "f4"), tmp_path / "none", eps=0.1, within=groups).resolve().kept.all()


def test_arguments_are_checked(tmp_path: Path) -> None:
    """Before anything is read."""
    rows = np.eye(4, dtype="f4")
    wrong = {
        "eps is at least 0 and below 1, not 1.5": {"eps": 1.5},
        "ranks are a permutation of 0 to 3": {"ranks": np.array([0, 0, 1, 2])},
        "ranks are an array, 'hard' or 'easy', not 'best'": {"ranks": "best"},
        "n_clusters is 'auto' or at least 1, not 0": {"n_clusters": 0},
        "max_pairs_per_row is at least 1, not 0": {"max_pairs_per_row": 0},
        "within has a group for each of 4 rows": {"within": np.zeros(3)},
    }
    for text, options in wrong.items():
        with pytest.raises(ParameterError, match=text):
            find(rows, tmp_path, **({"eps": 0.1} | options))
    pairs = find(rows, tmp_path, eps=0.1)
    with pytest.raises(ParameterError, match=r"found with eps 0\.1, and do not say who is within 0\.2"):
        pairs.resolve(eps=0.2)
    with pytest.raises(ParameterError, match="holds the results of another request"):
        find(rows, tmp_path, eps=0.2)


def test_vectors_of_two_lengths_are_told(tmp_path: Path) -> None:
    """With the part that they are in."""

    class Mixed(ArrayVectors):
        def read(self, part: int) -> tuple[np.ndarray, np.ndarray]:
            rows, valid = super().read(part)
            return (rows[:, :3] if part else rows), valid

    with pytest.raises(
        ParameterError, match="vectors of length 3 in part 1 cannot be compared with others of length 4"
    ):
        CosinePairs.find(Mixed(np.eye(4, dtype="f4"), part_rows=2), eps=0.1, folder=tmp_path, ranks=np.arange(4))
