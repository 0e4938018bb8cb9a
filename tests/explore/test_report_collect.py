"""What the report asks of shards: histograms, thresholds, draws, groups, in memory that does not grow."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from functools import reduce

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagecurate.explore.report.clusters import Clusters, clusters_in, clusters_of
from imagecurate.explore.report.collect import Answers, answers_of
from imagecurate.explore.report.fates import KEPT, Fates
from imagecurate.explore.report.groups import level_of, levels_in
from imagecurate.explore.report.histogram import Histogram
from imagecurate.explore.report.limits import limits_of
from imagecurate.explore.report.picks import lowest, picks
from imagecurate.explore.report.properties import properties_of
from imagecurate.explore.report.questions import questions_for

finite = st.floats(allow_nan=False, allow_infinity=False, width=32)


def histogram(values: list[float], anchor: float = 0.0) -> Histogram:
    array = np.array(values, np.float64)
    return Histogram.of(array, array > 0, anchor=anchor)


@given(st.lists(finite, min_size=1, max_size=60), st.lists(finite, max_size=60), finite)
def test_histograms_add_up_exactly(some: list[float], more: list[float], anchor: float) -> None:
    """Two shards' histograms joined are that of all values, in either order, and every value lies in its bin."""
    both = histogram(some, anchor).plus(histogram(more, anchor))
    turned = histogram(more, anchor).plus(histogram(some, anchor))
    whole = histogram(some + more, anchor)
    for other in (turned, whole):
        assert np.array_equal(both.edges, other.edges)
        assert np.array_equal(both.counts, other.counts)
    assert (both.total, both.low, both.high) == (len(some + more), min(some + more), max(some + more))
    bars = both.bars(64)
    assert bars.counts.shape[1] <= 64
    assert bars.counts.sum() + bars.below + bars.above == both.total


@given(st.lists(st.integers(-50, 50).map(lambda n: n / 8), min_size=1), st.integers(-40, 40).map(lambda n: n / 8))
def test_a_threshold_is_the_edge_of_a_bar(values: list[float], threshold: float) -> None:
    """No bar holds values from both sides of the anchor."""
    bars = histogram(values, threshold).bars(64)
    left = bars.counts[:, bars.edges[1:] <= threshold].sum()
    assert left == sum(value < threshold for value in values)


def test_outliers_leave_the_bulk_as_fine_as_it_was() -> None:
    """One value of a billion among a million of 0 to 1 is left out of the drawing, and said to be."""
    random = np.random.default_rng(0)
    parts = [Histogram.of(random.random(20_000), np.ones(20_000, bool), anchor=0.5) for _ in range(50)]
    parts.insert(7, Histogram.of(np.array([1e9, -3e7]), np.ones(2, bool), anchor=0.5))
    found = reduce(Histogram.plus, parts)
    bars = found.bars(64)
    assert len(found.edges) < 6000
    assert 40 <= bars.counts.shape[1] <= 64
    assert (bars.below, bars.above) == (1, 1)
    share = bars.counts.sum(axis=0) / 1e6
    assert np.allclose(share[2:-2], share[5], rtol=0.05)


@pytest.mark.parametrize("value", [0.0, 5.0, -1e-300, 1e300, 1.7e308, 5e-324])
def test_histograms_take_any_number(value: float) -> None:
    """Equal values, the largest and the smallest there are; not numbers are counted apart."""
    found = histogram([value, value, math.nan, math.inf])
    assert (found.total, found.not_finite) == (2, 2)
    assert found.bars(64).counts.sum() == 2
    assert found.plus(histogram([1.0])).total == 3


def test_thresholds_are_read_from_what_every_sample_must_meet() -> None:
    """Conjuncts with a number on one side; not what stands in an `or`, under a `not`, or between two columns."""
    filters = [
        ("quality", "aesthetic_score >= 5 and nsfw_score < 0.2"),
        ("turned", "0.3 <= sim and -1 < x"),
        ("range", "ratio between 0.4 and 2.5"),
        ("none", "a > b and (c > 1 or d > 2) and not e > 3 and f == 4 and caption contains 'x' and flag and 1 < 2"),
        ("expression", "`odd name` * 2 >= 8"),
    ]
    assert [(limit.filter, str(limit)) for limit in limits_of(filters)] == [
        ("quality", "aesthetic_score >= 5"),
        ("quality", "nsfw_score < 0.2"),
        ("turned", "sim >= 0.3"),
        ("turned", "x > -1"),
        ("range", "ratio >= 0.4"),
        ("range", "ratio <= 2.5"),
        ("expression", "`odd name` * 2 >= 8"),
    ]


@given(st.lists(st.lists(st.integers(0, 30), max_size=20), min_size=1, max_size=6), st.integers(0, 8))
def test_the_lowest_of_shards_are_the_lowest_of_all(shards: list[list[int]], count: int) -> None:
    """Keeping the lowest of each shard loses none of the lowest of all, and ties go by place."""
    parts = [picks(n, np.arange(len(scores)), np.array(scores, np.float64)) for n, scores in enumerate(shards)]
    merged = reduce(lambda left, right: lowest(np.concatenate([left, right]), count), parts, parts[0][:0])
    every = sorted((score, n, row) for n, scores in enumerate(shards) for row, score in enumerate(scores))
    assert [tuple(each)[:3] for each in merged.tolist()] == every[:count]


def test_groups_are_whole_though_their_members_lie_in_many_shards() -> None:
    """Size and members of a drawn group count every shard, the kept one first; the least alike are the doubtful."""
    shards = []
    for shard in range(5):
        of = [None if shard == 3 and group == 0 else f"default/3#{group}" for group in range(300)]
        shards.append(
            {
                "near_duplicate_of": pa.array([None if shard == 3 else name for name in of], pa.string()),
                "near_duplicate_group": pa.array([f"default/3#{group}" for group in range(300)]),
                "near_similarity": pa.array(
                    [None if shard == 3 else 1 - (shard * 300 + row) / 1e4 for row in range(300)]
                ),
            }
        )
    (asked,) = levels_in(["near_duplicate_of", "near_duplicate_group", "near_similarity"])
    found = reduce(lambda left, right: left.plus(right), [level_of(asked, n, each) for n, each in enumerate(shards)])
    assert (found.marked, found.groups, len(found.drawn)) == (1200, 300, 200)
    for group in found.shown(8):
        assert group.size == 5
        assert [ref.shard for _, ref in group.members] == [3, 0, 1, 2, 4]
        assert len({ref.row for _, ref in group.members}) == 1
    assert found.doubtful["row"].tolist()[:2] == [299, 298]
    assert found.doubtful["shard"].tolist()[:2] == [4, 4]


def test_clusters_are_counted_and_their_nearest_found() -> None:
    """By the column of the distance; rows of no cluster count nowhere."""
    asked = clusters_in({"cluster": pa.int64(), "cluster_distance": pa.float32()})
    assert asked == Clusters("cluster", "cluster_distance")
    shard = {
        "cluster": pa.array([7, 7, None, 9, 7]),
        "cluster_distance": pa.array([0.3, 0.1, 0.0, 0.5, 0.2], pa.float32()),
    }
    found = clusters_of(asked, 0, "a", shard).plus(clusters_of(asked, 1, "b", shard))
    assert [(name, cluster.size) for name, cluster in found.largest(5)] == [("7", 6), ("9", 2)]
    assert [tuple(ref) for _, ref in found.found["7"].nearest] == [(0, 1), (1, 1), (0, 4), (1, 4), (0, 0)]


def test_sizes_fall_into_half_octaves() -> None:
    """512 x 362 is where a cell begins; what has no size is in none."""
    columns = {"w": pa.array([512, 511, None, 0]), "h": pa.array([362, 363, 5, 5])}
    found = properties_of(columns, ("w", "h"))
    assert dict(found.sizes) == {(18, 16): 1, (17, 17): 1}
    assert found.looked_at == 2


def test_failures_of_any_number_of_reasons_are_bounded() -> None:
    """Reasons are data: a thousand of them leave what was kept and dropped, and some."""
    asked = questions_for({}, [])
    total = Answers()
    for shard in range(5):
        names = [KEPT, ("dropped", "size"), *(("failed", f"reason {shard} {n}") for n in range(300))]
        total = total.plus(answers_of(asked, shard, str(shard), {}, Fates(names, np.arange(302))))
    assert len(total.examples) == 200
    assert len(total.examples[KEPT]) == len(total.examples["dropped", "size"]) == 5


_MILLION = """
import resource, sys, json
import numpy as np, pyarrow as pa
from imagecurate.explore.report.collect import Answers, answers_of
from imagecurate.explore.report.fates import KEPT, Fates
from imagecurate.explore.report.questions import questions_for

schema = {name: pa.float64() for name in ("aesthetic_score", "nsfw_score", "similarity", "entropy")}
schema |= {"semantic_duplicate_of": pa.string(), "semantic_duplicate_group": pa.string(), "cluster": pa.int64()}
schema |= {"semantic_similarity": pa.float64(), "image_width": pa.int32(), "image_height": pa.int32(),
           "image_format": pa.string(), "cluster_distance": pa.float64()}
asked = questions_for(schema, [("quality", "aesthetic_score >= 5 and nsfw_score < 0.2")])
total, peak = Answers(), []
for shard in range(int(sys.argv[1])):
    random = np.random.default_rng(shard)
    rows = 10_000
    group = random.integers(0, 400_000, rows)
    ids = pa.array([f"default/x#{number}" if number < 300_000 else None for number in group.tolist()])
    columns = {name: pa.array(random.lognormal(size=rows) * 3) for name in schema if schema[name] == pa.float64()}
    columns |= {"semantic_duplicate_of": ids, "semantic_duplicate_group": ids,
                "cluster": pa.array(random.integers(0, 1000, rows)),
                "image_width": pa.array(random.integers(1, 5000, rows), pa.int32()),
                "image_height": pa.array(random.integers(1, 5000, rows), pa.int32()),
                "image_format": pa.array(["jpeg"] * rows)}
    names = [KEPT, ("dropped", "quality"), ("failed", "truncated")]
    total = total.plus(answers_of(asked, shard, f"{shard:05d}", columns, Fates(names, random.integers(0, 3, rows))))
    peak.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
histogram = total.histograms["aesthetic_score"]
print(json.dumps({"rows": histogram.total, "after_ten": peak[9], "in_the_end": peak[-1],
                  "groups": len(total.levels["semantic"].drawn), "clusters": len(total.clusters.found)}))
"""


def test_a_million_rows_are_collected_in_bounded_memory() -> None:
    """After the first tenth the peak of the process grows by little, whatever comes; all is counted."""
    done = subprocess.run([sys.executable, "-c", _MILLION, "100"], check=True, capture_output=True, text=True)
    found = json.loads(done.stdout)
    assert (found["rows"], found["groups"], found["clusters"]) == (1_000_000, 200, 1000)
    unit = 1 if sys.platform == "darwin" else 1024
    assert (found["in_the_end"] - found["after_ten"]) * unit < 60e6
