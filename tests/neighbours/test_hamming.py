"""Every pair of hashes within a distance, and who is kept, are what comparing all with all gives."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from imagecurate.errors import ParameterError
from imagecurate.neighbours import hamming_plan, hamming_search
from imagecurate.neighbours.hamming import HammingPairs, hamming_matches, hamming_neighbours

Hashes = NDArray[np.uint8]


@pytest.fixture(scope="module", params=["plain", "tables"])
def way(request: pytest.FixtureRequest) -> Iterator[str]:
    """Both ways to compare, forced by what they are said to cost."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hamming_plan, "WORD_NS", 1e-9 if request.param == "plain" else 1e9)
        patch.setattr(hamming_search, "CROWDED", 0.1)  # crowds are looked for among few rows too
        yield request.param


@st.composite
def some_hashes(draw: st.DrawFn) -> Hashes:
    """Independent, correlated, unbalanced or crowded hashes, some of them equal."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    n, bits = draw(st.integers(0, 250)), draw(st.sampled_from([64, 128, 256]))
    kind = draw(st.sampled_from(["independent", "correlated", "unbalanced", "crowded"]))
    if kind == "independent":
        values = rng.random((n, bits)) < 0.5
    elif kind == "correlated":
        values = rng.normal(size=(n, 6)) @ rng.normal(size=(6, bits)) + rng.normal(size=(n, bits)) / 3 > 0
    elif kind == "unbalanced":
        values = rng.random((n, bits)) < rng.random(bits) ** 4
    else:
        values = (rng.random((3, bits)) < 0.5)[rng.integers(0, 3, n)] ^ (rng.random((n, bits)) < rng.random() / 8)
    hashes = np.packbits(values, axis=1).reshape(n, bits // 8)
    if n:
        hashes[rng.integers(0, n, n // 10)] = hashes[rng.integers(0, n, n // 10)]
    return hashes


def differences(hashes: Hashes) -> NDArray[np.int64]:
    """In how many bits each hash differs from each."""
    bits = np.unpackbits(hashes, axis=1).astype(np.int64)
    return bits @ (1 - bits.T) + (1 - bits) @ bits.T


def check_pairs(pairs: HammingPairs, hashes: Hashes, distance: int, ranks: NDArray[np.int64], most: int) -> None:
    """Compare with all pairs."""
    order, matrix = np.argsort(ranks), differences(hashes)
    expected = []
    for place, row in enumerate(order):
        earlier = order[:place]
        equal = earlier[matrix[row, earlier] == 0]
        if len(equal):
            assert pairs.copy_of[row] == equal[0]
            assert not pairs.more[row]
            continue
        assert pairs.copy_of[row] == -1
        near = earlier[(matrix[row, earlier] <= distance) & (pairs.copy_of[earlier] < 0)]
        expected += [(row, other, matrix[row, other]) for other in near[:most]]
        assert pairs.more[row] or len(near) <= most
        assert not pairs.more[row] or len(near) >= most
    assert list(zip(pairs.later, pairs.earlier, pairs.distance, strict=True)) == expected


def kept_by(hashes: Hashes, distance: int, ranks: NDArray[np.int64]) -> NDArray[np.int64]:
    """The kept row that each duplicates, by comparing all."""
    matrix, keeper = differences(hashes), np.full(len(hashes), -1)
    order = np.argsort(ranks)
    for place, row in enumerate(order):
        near = (matrix[row, order[:place]] <= distance) & (keeper[order[:place]] < 0)
        if near.any():
            keeper[row] = order[near.argmax()]
    return keeper


@given(some_hashes(), st.integers(0, 63), st.sampled_from([1, 2, 64]), st.integers(1, 3), st.randoms())
def test_pairs_are_those_of_brute_force(
    way: str, hashes: Hashes, distance: int, most: int, threads: int, random: Random
) -> None:
    """Whatever the bits, the distance, the order and the way to compare."""
    ranks = np.array(random.sample(range(len(hashes)), len(hashes)), np.int64)
    pairs = hamming_neighbours(hashes, distance, ranks=ranks, max_pairs_per_row=most, threads=threads)
    check_pairs(pairs, hashes, distance, ranks, most)


@settings(max_examples=30)
@given(some_hashes(), st.integers(0, 63), st.integers(0, 63), st.sampled_from([1, 2, 64]))
def test_outcome_is_that_of_brute_force(way: str, hashes: Hashes, one: int, other: int, most: int) -> None:
    """For the distance of the pairs and a smaller one, also where few pairs were stored."""
    ranks = np.random.default_rng(one).permutation(len(hashes))
    pairs = hamming_neighbours(hashes, max(one, other), ranks=ranks, max_pairs_per_row=most)
    for distance in (one, other):
        outcome = pairs.resolve(distance)
        expected = kept_by(hashes, distance, ranks)
        np.testing.assert_array_equal(outcome.row, expected)
        apart = np.where(expected >= 0, differences(hashes)[np.arange(len(hashes)), expected], 0)
        np.testing.assert_array_equal(outcome.distance, apart)


@given(some_hashes(), st.integers(0, 63), st.floats(0, 1))
def test_matches_are_those_of_brute_force(way: str, hashes: Hashes, distance: int, share: float) -> None:
    """The first equal row of the reference, else the first near one."""
    cut = int(share * len(hashes))
    matrix = differences(hashes)[cut:, :cut]
    matches = hamming_matches(hashes[cut:], hashes[:cut], distance, threads=2)
    for row, apart in enumerate(matrix):
        near = [*np.flatnonzero(apart == 0), *np.flatnonzero(apart <= distance)]
        assert matches.row[row] == (near[0] if near else -1)
        assert matches.distance[row] == (apart[near[0]] if near else 0)


def planted(n: int, bits: int, seed: int) -> tuple[Hashes, NDArray[np.int64], NDArray[np.int64]]:
    """Correlated hashes, the last tenth of them earlier ones with bits flipped; which ones, and how many bits."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n, 64)).astype(np.float32) @ rng.normal(size=(64, bits)).astype(np.float32) > 0
    copies = np.arange(n - n // 10, n)
    sources, flips = rng.permutation(n - n // 10)[: len(copies)], rng.integers(1, bits // 6, len(copies))
    values[copies] = values[sources] ^ (rng.random((len(copies), bits)).argsort(axis=1) < flips[:, np.newaxis])
    return np.packbits(values, axis=1), sources, flips


@pytest.mark.parametrize(("bits", "distance"), [(64, 4), (64, 10), (256, 31), (256, 40)])
def test_planted_pairs_are_found_with_tables(bits: int, distance: int) -> None:
    """Every planted pair within the distance, and nothing that is not near, among rows that make tables worth it."""
    hashes, sources, flips = planted(30_000, bits, seed=bits + distance)
    words = hashes.view(np.uint64)
    assert hamming_plan.plan_tables(words, np.arange(len(words)), None, distance).tables
    pairs = hamming_neighbours(hashes, distance, threads=2)
    found = set(zip(pairs.later.tolist(), pairs.earlier.tolist(), strict=True))
    copies = range(len(hashes) - len(sources), len(hashes))
    assert {
        (copy, source) for copy, source, flip in zip(copies, sources, flips, strict=True) if flip <= distance
    } <= found
    assert len(found) == len(pairs.later)
    apart = np.unpackbits(hashes[pairs.later] ^ hashes[pairs.earlier], axis=1).sum(axis=1)
    np.testing.assert_array_equal(pairs.distance, apart)
    assert apart.max() <= distance


def test_threads_change_nothing() -> None:
    """Nor does it matter which of them finds what first."""
    hashes = np.concatenate([planted(20_000, 256, seed=1)[0], crowd(5000, 0.05)])
    one, three = (hamming_neighbours(hashes, 31, max_pairs_per_row=8, threads=threads) for threads in (1, 3))
    for name in ("later", "earlier", "distance", "more", "copy_of"):
        np.testing.assert_array_equal(getattr(one, name), getattr(three, name))


def crowd(n: int, noise: float) -> Hashes:
    """Copies of one hash of 256 bits, each bit of which is another with some probability."""
    rng = np.random.default_rng(n)
    return np.packbits((rng.random(256) < 0.5) ^ (rng.random((n, 256)) < noise), axis=1)


def test_copies_cost_nothing() -> None:
    """A hundred thousand equal hashes are no pairs at all."""
    pairs = hamming_neighbours(np.repeat(crowd(2, 0.02), 50_000, axis=0), 31)
    assert len(pairs.later) == 1
    assert pairs.resolve().row.tolist() == [-1] + [0] * 99_999


def test_crowd_is_bounded_and_exact() -> None:
    """A hundred thousand near copies, last in the order of the ranks, have few pairs each and one keeper."""
    hashes = np.concatenate([planted(5000, 256, seed=2)[0], crowd(100_000, 0.03)])
    pairs = hamming_neighbours(hashes, 31, threads=2)
    assert np.bincount(pairs.later).max() == 64
    outcome = pairs.resolve()
    keeper = outcome.row[5000:]
    assert np.count_nonzero(keeper == 5000) > 99_000
    kept = np.flatnonzero(outcome.row < 0)
    apart = np.stack([np.bitwise_count(hashes[kept[kept >= 5000]] ^ row).sum(axis=1) for row in hashes[5000:5500]])
    near = apart <= 31
    first = kept[kept >= 5000][near.argmax(axis=1)]
    np.testing.assert_array_equal(np.where(keeper[:500] < 0, np.arange(5000, 5500), keeper[:500]), first)


@pytest.mark.parametrize("n", [0, 1])
def test_no_or_one_hash(n: int) -> None:
    """Have no pairs."""
    hashes = np.zeros((n, 32), np.uint8)
    pairs = hamming_neighbours(hashes, 31)
    assert len(pairs.later) == 0
    assert pairs.resolve().row.tolist() == [-1] * n
    assert hamming_matches(hashes, hashes[:0], 31).row.tolist() == [-1] * n
    assert len(hamming_matches(hashes[:0], hashes, 31).row) == 0


def test_opposite_hashes_are_far_apart() -> None:
    """256 different bits are not taken for none."""
    hashes = np.array([[0] * 32, [255] * 32], np.uint8)
    assert len(hamming_neighbours(hashes, 255).later) == 0


def test_wrong_arguments_are_named() -> None:
    """Before anything is computed."""
    hashes = np.zeros((3, 8), np.uint8)
    with pytest.raises(ParameterError, match=r"hashes must be an array .* found int64 of shape"):
        hamming_neighbours(np.zeros((3, 8), np.int64), 3)
    with pytest.raises(ParameterError, match=r"a multiple of 64, found uint8 of shape \(3, 7\)"):
        hamming_neighbours(hashes[:, :7], 3)
    with pytest.raises(ParameterError, match="distance must lie from 0 to 63 for 64 bits, found 64"):
        hamming_neighbours(hashes, 64)
    with pytest.raises(ParameterError, match="ranks must be a permutation of 0 to 2, one for each of the 3 hashes"):
        hamming_neighbours(hashes, 3, ranks=np.array([0, 1, 1]))
    with pytest.raises(ParameterError, match="max_pairs_per_row must be at least 1, found 0"):
        hamming_neighbours(hashes, 3, max_pairs_per_row=0)
    with pytest.raises(ParameterError, match="hashes have 64 bits, but those of the reference have 256"):
        hamming_matches(hashes, np.zeros((1, 32), np.uint8), 3)
    with pytest.raises(ParameterError, match="do not say who is within 4\n\nHint: look for them with distance=4"):
        hamming_neighbours(hashes, 3).resolve(4)
