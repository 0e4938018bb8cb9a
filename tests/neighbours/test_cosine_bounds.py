"""The bounds that let pairs be passed over, and the planner that chooses among them."""

from __future__ import annotations

import numpy as np
import pytest
from brute_cosine import cosines, make, vectors
from hypothesis import given, settings
from hypothesis import strategies as st

from imagecurate.backend.cpu_clusters import k_means, one_blas_thread, principal_axes
from imagecurate.neighbours import ArrayVectors, Plan, plan_only
from imagecurate.neighbours.cells import Centroids
from imagecurate.neighbours.search import prefixes
from imagecurate.neighbours.vectors import cosine, farthest, product_error, unit_rows


def units_of(drawn: tuple[np.ndarray, float]) -> np.ndarray:
    """The valid rows, of unit length."""
    units, valid = unit_rows(drawn[0], np.ones(len(drawn[0]), bool))
    return units[valid]


@given(vectors(), st.integers(1, 63))
def test_a_product_of_prefixes_is_never_below_the_cosine(drawn: tuple[np.ndarray, float], width: int) -> None:
    """But for rounding, which is known."""
    units = units_of(drawn)
    d = units.shape[1]
    few = prefixes(units, principal_axes(units)[:, : min(width, d - 1)])
    assert (few @ few.T >= cosines(units, units) - product_error(d)).all()


@settings(max_examples=20)
@given(vectors(), st.sampled_from([2, 7, 40]))
def test_near_rows_in_two_cells_are_border_rows_of_both(drawn: tuple[np.ndarray, float], clusters: int) -> None:
    """Each towards the other's cell."""
    units, eps = units_of(drawn), drawn[1]
    if not len(units):
        return
    centroids = Centroids.of(k_means(units, clusters, max_iter=3, random_state=0))
    assigned = centroids.assign(units, farthest(eps))
    borders = set(zip(assigned.rows.tolist(), assigned.beyond.tolist(), strict=True))
    near = cosines(units, units) >= 1 - eps
    cells = assigned.cells
    for one, other in zip(*np.nonzero(near & (cells[:, None] != cells)), strict=True):
        assert (one, cells[other]) in borders


def test_cells_do_not_depend_on_who_shares_a_block() -> None:
    """Rows halfway between two centroids go where exact arithmetic says, alone and in company."""
    random = np.random.default_rng(0)
    centroids = Centroids.of(np.eye(24, dtype=np.float32))
    pairs = np.eye(24, dtype=np.float32)[random.integers(0, 24, (500, 2))].sum(axis=1)
    units, _ = unit_rows(pairs + random.normal(0, 1e-8, pairs.shape).astype("f4"), np.ones(500, bool))
    whole = centroids.assign(units, None)
    alone = [int(centroids.assign(units[row : row + 1], None).cells[0]) for row in range(500)]
    assert whole.cells.tolist() == alone


def test_the_formula_has_one_answer() -> None:
    """Whichever is left, and whatever else is asked for; a row with itself gives 1."""
    rows = np.random.default_rng(0).standard_normal((5000, 33)).astype("f4")
    answers = cosine(rows, rows[::-1])
    np.testing.assert_array_equal(answers, cosine(rows[::-1], rows))
    np.testing.assert_array_equal(answers[17:18], cosine(rows[17:18], rows[::-1][17:18]))
    assert (cosine(rows, rows) == 1).all()


def test_centroids_repeat_and_differ() -> None:
    """The same for the same sample; no more than there are different rows."""
    rows = np.repeat(np.eye(5, dtype="f4"), 9, axis=0)
    centroids = k_means(rows, 20, max_iter=5, random_state=1)
    assert len(centroids) == 5
    np.testing.assert_array_equal(centroids, k_means(rows, 20, max_iter=5, random_state=1))


def test_threads_of_products_come_back() -> None:
    """Whoever is the first to limit them, and the last."""
    from threading import Barrier, Thread

    from threadpoolctl import threadpool_info

    def threads() -> list[int]:
        return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]

    before, within, barrier = threads(), [], Barrier(2)

    def work(last: bool) -> None:
        with one_blas_thread():
            barrier.wait()
            within.append(threads())
        barrier.wait()

    workers = [Thread(target=work, args=(last,)) for last in (False, True)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert all(each == [1] * len(before) for each in within)
    assert threads() == before


@pytest.mark.parametrize(("kind", "chosen"), [("clusters", "cells"), ("spectrum", "prefix"), ("few", "brute")])
def test_the_cheapest_plan_is_taken(kind: str, chosen: str) -> None:
    """Cells for clusters, prefixes for a falling spectrum, all pairs where there are few."""
    random = np.random.default_rng(0)
    n = 1000 if kind == "few" else 20_000
    if kind == "clusters":
        rows = np.eye(256, dtype="f4")[random.integers(0, 256, n)] + random.normal(0, 0.01, (n, 256)).astype("f4")
    else:
        rows = (random.standard_normal((n, 256)) / np.arange(1, 257)).astype("f4")
    plan = plan_only(ArrayVectors(rows), 0.01, n_clusters=200)
    assert plan.chosen == chosen
    assert plan.option.cost == min(option.cost for option in plan.options)
    assert Plan.from_json(plan.to_json()) == plan
    assert f"* {chosen}" in str(plan)
    assert plan_only(ArrayVectors(rows, part_rows=77), 0.01, n_clusters=200) == plan


def test_prediction_is_near_what_is_compared(tmp_path: object) -> None:
    """The share of pairs that the sample promises."""
    from pathlib import Path

    from imagecurate.neighbours import CosinePairs

    rows = make("clustered", 6000, 48, 0.01, 4)
    pairs = CosinePairs.find(
        ArrayVectors(rows), eps=0.01, folder=Path(str(tmp_path)), ranks=np.arange(6000), plan="cells", n_clusters=60
    )
    assert 0.3 < pairs.shares.share / pairs.plan.option.share < 1.2


def test_nothing_to_plan() -> None:
    """A data set without vectors has a plan too."""
    assert plan_only(ArrayVectors(np.zeros((3, 4))), 0.1).options == ()
