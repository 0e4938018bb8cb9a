"""Which samples go into which output shard."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from imagecurate.export.cut import Cut, cut_by_bytes, cut_by_samples
from imagecurate.export.header import tar_length

counts = st.lists(st.integers(0, 12), max_size=12)


def rows(cut: Cut) -> list[list[tuple[int, int]]]:
    """The (input shard, kept sample) pairs of every output shard."""
    return [
        [(piece.number, row) for piece in cut.pieces(shard) for row in range(piece.first, piece.last)]
        for shard in range(len(cut))
    ]


@given(counts, st.integers(1, 15))
def test_every_shard_is_full_but_the_last(counts: list[int], most: int) -> None:
    """All samples appear once, in order, in shards of the given size."""
    cut = cut_by_samples(counts, most)
    every = [(number, row) for number, count in enumerate(counts) for row in range(count)]
    assert rows(cut) == [every[first : first + most] for first in range(0, len(every), most)]
    assert cut.samples == len(every)


@given(
    st.lists(st.lists(st.integers(1, 60).map(lambda blocks: 512 * blocks), max_size=9), max_size=8),
    st.integers(1, 15),
    st.integers(10_240, 70_000),
)
def test_a_shard_closes_before_it_is_too_large(sizes: list[list[int]], most: int, most_bytes: int) -> None:
    """The cut is the greedy one: no shard is too large unless it has one sample, and none could take the next."""
    cut = cut_by_bytes((np.array(each, np.int64) for each in sizes), most, most_bytes)
    every = [(number, row) for number, each in enumerate(sizes) for row in range(len(each))]
    expected: list[list[tuple[int, int]]] = []
    for number, row in every:
        grown = [*expected[-1], (number, row)] if expected else []
        fits = tar_length(sum(sizes[shard][place] for shard, place in grown)) <= most_bytes
        if grown and fits and len(grown) <= most:
            expected[-1] = grown
        else:
            expected.append([(number, row)])
    assert rows(cut) == expected


def test_no_samples_make_no_shards() -> None:
    """Nothing kept is a plan like any other."""
    assert len(cut_by_samples([0, 0], 10)) == len(cut_by_bytes([], 10, 20_480)) == 0
