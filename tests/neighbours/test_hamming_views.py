"""Things with a whole and parts: the outcome is brute force's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from imagecurate.errors import ParameterError
from imagecurate.neighbours.hamming_views import hamming_duplicates


def brute_force(hashes: NDArray[np.uint8], distance: int, ranks: NDArray[np.int64]) -> list[int]:
    bits = np.unpackbits(hashes, axis=2).astype(int)

    def apart(one: int, other: int) -> int:
        pairs = [(bits[one, 0], view) for view in bits[other]] + [(view, bits[other, 0]) for view in bits[one]]
        return min(int(np.abs(a - b).sum()) for a, b in pairs)

    kept: list[int] = []
    keeper = [-1] * len(hashes)
    for row in np.argsort(ranks).tolist():
        keeper[row] = next((other for other in kept if apart(row, other) <= distance), -1)
        if keeper[row] < 0:
            kept.append(row)
    return keeper


@given(
    seed=st.integers(0, 10**6),
    n=st.integers(0, 40),
    parts=st.integers(0, 3),
    flips=st.integers(0, 40),
    distance=st.integers(0, 40),
    most=st.sampled_from([1, 2, 64]),
)
def test_the_outcome_is_brute_forces(seed: int, n: int, parts: int, flips: int, distance: int, most: int) -> None:
    """Whatever the crowds, the number of parts and of pairs that are held."""
    random = np.random.default_rng(seed)
    centres = random.integers(0, 256, (3, 8), dtype=np.uint8)
    hashes = centres[random.integers(0, 3, (n, 1 + parts))]
    noise = random.random((n, 1 + parts, 64)) < flips / 128
    hashes = hashes ^ np.packbits(noise, axis=2)
    ranks = random.permutation(n)
    found = hamming_duplicates(hashes, distance, ranks=ranks, max_pairs_per_row=most, threads=2)
    assert found.row.tolist() == brute_force(hashes, distance, ranks)
    bits = np.unpackbits(hashes, axis=2)
    for row in np.flatnonzero(found.row >= 0).tolist():
        other = found.row[row]
        nearest = min((bits[a, 0] != view).sum() for a, b in ((row, other), (other, row)) for view in bits[b])
        assert found.distance[row] == nearest <= distance


def test_a_crowd_of_noisy_copies_is_bounded() -> None:
    """Twenty thousand of one, each a little different: the first stays."""
    random = np.random.default_rng(1)
    hashes = np.repeat(random.integers(0, 256, (1, 3, 32), dtype=np.uint8), 20_000, axis=0)
    hashes[:, :, :2] = random.integers(0, 256, (20_000, 3, 2), dtype=np.uint8)
    assert (hamming_duplicates(hashes, 31).row[1:] == 0).all()


def test_what_is_refused() -> None:
    """Another shape or type, a distance that all hashes are within."""
    with pytest.raises(ParameterError, match="shape"):
        hamming_duplicates(np.zeros((2, 8), np.uint8), 3)
    with pytest.raises(ParameterError, match="distance must lie from 0 to 63"):
        hamming_duplicates(np.zeros((2, 1, 8), np.uint8), 64)
