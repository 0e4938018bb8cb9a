"""The values of a column, counted."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagecurate.explore import distribution
from imagecurate.explore.distribution import Distribution, merged
from imagecurate.explore.histogram import edges_of
from imagecurate.explore.thresholds import condition
from imagecurate.expressions import Expression

FLOATS = st.floats(allow_nan=True, width=32)


@given(st.lists(st.lists(FLOATS), max_size=5), st.floats(0.01, 1), st.booleans())
def test_a_threshold_keeps_the_share_and_no_more_than_it_must(
    parts: list[list[float]], keep: float, highest: bool
) -> None:
    """Against sorting: at least the share, unless there are too few values, and one value less keeps less than it."""
    total = merged(Distribution.of(np.array(part, np.float64)) for part in parts)
    values = np.concatenate([np.zeros(0), *parts])
    known = values[~np.isnan(values)]
    assert total.rows == len(values)
    assert total.nulls == len(values) - len(known)
    threshold = total.threshold(keep, highest=highest)
    if not len(known):
        assert math.isnan(threshold)
        return
    passing = known >= threshold if highest else known <= threshold
    stricter = known > threshold if highest else known < threshold
    wanted = min(keep * len(values), len(known))
    assert total.reaching(threshold, highest=highest) == passing.sum()
    assert passing.sum() >= wanted - 1e-3
    assert stricter.sum() < max(wanted, 1) + 1e-3
    assert threshold in known


@given(st.lists(FLOATS.filter(lambda value: not math.isnan(value)), min_size=50, max_size=300))
def test_few_places_are_exactly_counted(given: list[float]) -> None:
    """Where neighbours are taken together, what is at least one of the values that are left is exactly right."""
    values = np.array(given, np.float64)
    whole = Distribution.of(values)
    few, counts = distribution._at_most(16, whole.values, whole.counts)
    assert len(few) <= 16 or len(np.unique(np.sign(few))) > 1
    coarse = Distribution(few, counts)
    assert [coarse.reaching(value) for value in few] == [int((values >= value).sum()) for value in few]


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many shards there are."""
    monkeypatch.setattr(distribution, "_MOST_VALUES", 1000)
    monkeypatch.setattr(distribution, "_WAITING", 500)
    random = np.random.default_rng(0)
    parts = [Distribution.of(random.normal(size=400)) for _ in range(50)]
    total = merged(parts)
    assert len(total.values) <= 1000
    assert total.rows == 20_000
    assert total.threshold(0.5) == pytest.approx(0, abs=0.05)


@pytest.mark.parametrize("highest", [True, False])
@pytest.mark.parametrize("threshold", [0.1, -3.0, 1e-300, 1e300, math.inf, -math.inf, 5e-324, 123456789.125])
def test_a_threshold_can_be_written(threshold: float, highest: bool) -> None:
    """As an expression that passes what the threshold keeps, however large or small."""
    import pyarrow as pa

    values = np.array([threshold, -math.inf, -1e308, -1.0, 0.0, 1.0, 1e308, math.inf])
    expression = Expression.parse(condition("x", threshold, highest=highest))
    passes, _ = expression.passes({"x": pa.array([*values, None])})
    assert passes.tolist() == [*(values >= threshold if highest else values <= threshold), False]


def test_edges_of_a_histogram() -> None:
    """Whole numbers get a bin each, infinite values none, and one value one."""
    assert edges_of(Distribution.of(np.array([0.0, 1.0])), 10).tolist() == [-0.5, 0.5, 1.5]
    assert edges_of(Distribution.of(np.array([2.5])), 10).tolist() == [2.0, 3.0]
    assert edges_of(Distribution.of(np.array([0.0, 0.5, np.inf])), 1).tolist() == [0.0, 0.5]
    assert not len(edges_of(Distribution.of(np.array([np.inf, np.nan])), 10))
