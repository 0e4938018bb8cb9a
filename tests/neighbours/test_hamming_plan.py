"""Tables meet every pair that they must, and their costs are counted right."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagecurate.neighbours import hamming_plan
from imagecurate.neighbours.hamming_plan import HammingPlan, plan_tables


def plan_of(bits: int, distance: int, seed: int, *, references: bool = False) -> HammingPlan:
    """A plan with tables for hashes some of whose bits are constant and some correlated."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(500, 20)) @ rng.normal(size=(20, bits)) > rng.choice([0, 9, 99], bits)
    words = np.packbits(values, axis=1).view(np.uint64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hamming_plan, "WORD_NS", 1e9)
        return plan_tables(words, np.arange(500), np.arange(100) if references else None, distance)


@given(st.sampled_from([64, 256]), st.integers(0, 40), st.integers(0, 2**16), st.booleans())
def test_tables_meet_every_pair(bits: int, distance: int, seed: int, references: bool) -> None:
    """However the differing bits lie, one table has them within the radius of its key and the limit of its window."""
    plan = plan_of(bits, distance, seed, references=references)
    assert sorted(plan.order) == list(range(bits))
    rng = np.random.default_rng(seed)
    for _ in range(20):
        places = rng.permutation(bits) if rng.random() < 0.5 else np.roll(plan.order, rng.integers(bits))
        different = np.zeros(bits, bool)
        different[places[:distance]] = True
        ring = np.tile(different[plan.order], 2)
        met = [
            ring[table.offset :][: table.key_bits].sum() <= table.radius
            and ring[table.offset :][: table.window_bits].sum() <= table.limit
            for table in plan.tables
        ]
        assert any(met) or not plan.tables  # without tables all are compared


def test_correlated_bits_are_dealt_to_different_chunks() -> None:
    """Sixteen bits that always agree fall into sixteen chunks."""
    together = np.eye(256)
    together[:16, :16] = 1
    chunks = hamming_plan._deal(together, 16)
    assert [len(chunk) for chunk in chunks] == [16] * 16
    assert all(np.count_nonzero(chunk < 16) == 1 for chunk in chunks)


@given(st.integers(0, 8), st.integers(0, 2**16))
def test_transform_counts_pairs_by_their_difference(width: int, seed: int) -> None:
    """Squared and transformed back, a histogram says how many pairs differ by each number."""
    counts = np.random.default_rng(seed).integers(0, 9, 2**width)
    transformed = hamming_plan._transform(hamming_plan._transform(counts) ** 2) // 2**width
    keys = np.arange(2**width)
    assert transformed.tolist() == [int((counts * counts[keys ^ key]).sum()) for key in keys]


@given(st.lists(st.lists(st.integers(0, 50), min_size=6, max_size=6), min_size=1, max_size=4), st.integers(0, 4))
def test_radii_are_shared_out_at_the_least_cost(costs: list[list[int]], distance: int) -> None:
    """As trying all ways finds."""
    table = [np.array([0.0, *np.cumsum(cost)]) for cost in costs]
    radii, total = hamming_plan._share_out(table, distance)
    assert sum(radius + 1 for radius in radii) == distance + 1
    assert total == sum(cost[radius + 1] for cost, radius in zip(table, radii, strict=True))
    every = np.zeros(1)
    for cost in table:
        sums = np.full(len(every) + len(cost) - 1, np.inf)
        for share, own in enumerate(cost):
            sums[share : share + len(every)] = np.minimum(sums[share : share + len(every)], every + own)
        every = sums
    assert total == every[distance + 1]
