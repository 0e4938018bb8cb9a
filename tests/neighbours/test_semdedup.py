"""The SemDeDup rule and its oracle."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from brute_cosine import cosines, vectors
from hypothesis import given, settings
from hypothesis import strategies as st

from imagecurate.neighbours import ArrayVectors, max_similarity_to_earlier, semdedup
from imagecurate.neighbours.arrange import ranks_by_distance
from imagecurate.neighbours.cells import Centroids
from imagecurate.neighbours.vectors import unit_rows

PUBLISHED = np.array([[1, 2, 3], [4, 5, 6], [7, 8, 9], [10, 11, 12], [1, 2, 3], [1, 2, 3]], np.float32)


@pytest.mark.parametrize("block_rows", [1, 2, 3, 5, 6, 1024])
def test_published_oracle(block_rows: int) -> None:
    """For every block size."""
    similarity, match = max_similarity_to_earlier(PUBLISHED, block_rows=block_rows)
    np.testing.assert_allclose(similarity, [0, 0.974631, 0.998190, 0.999618, 1, 1], atol=1e-6)
    assert match.tolist() == [0, 0, 1, 2, 0, 0]


def test_published_orders() -> None:
    """With row 0 as the centroid."""
    units, _ = unit_rows(PUBLISHED, np.ones(6, bool))
    distances = Centroids.of(units[:1]).assign(units, None).distances
    assert np.argsort(ranks_by_distance(distances, "hard")).tolist() == [3, 2, 1, 5, 4, 0]
    assert np.argsort(ranks_by_distance(distances, "easy")).tolist() == [0, 4, 5, 1, 2, 3]


def by_definition(rows: np.ndarray) -> np.ndarray:
    """Greatest cosine to an earlier row."""
    similar = np.where(np.tri(len(rows), k=-1, dtype=bool), cosines(rows, rows), -np.inf)
    return np.append(0.0, similar[1:].max(axis=1)) if len(rows) else np.zeros(0)


@given(vectors(), st.integers(1, 300))
def test_scores_and_matches(drawn: tuple[np.ndarray, float], block_rows: int) -> None:
    """The greatest cosine, and the first row that reaches it, to the bit the same for every block size."""
    rows = drawn[0][np.isfinite(drawn[0]).all(axis=1) & drawn[0].any(axis=1)]
    similarity, match = max_similarity_to_earlier(rows, block_rows=block_rows)
    np.testing.assert_allclose(similarity, by_definition(rows), atol=1e-6)
    assert (match[1:] < np.arange(1, len(rows))).all()
    np.testing.assert_allclose(cosines(rows, rows)[np.arange(len(rows)), match][1:], similarity[1:], atol=1e-6)
    whole = max_similarity_to_earlier(rows)
    np.testing.assert_array_equal(similarity, whole[0])
    np.testing.assert_array_equal(match, whole[1])


@settings(max_examples=20)
@given(vectors(), st.sampled_from([1, 3, 50]), st.integers(0, 2**32 - 1))
def test_rule_in_each_cell(drawn: tuple[np.ndarray, float], clusters: int, seed: int) -> None:
    """A row is dropped if any better-ranked row of its cell, kept or not, is near."""
    rows, eps = drawn
    ranks = np.random.default_rng(seed).permutation(len(rows))
    with tempfile.TemporaryDirectory() as folder:
        found = semdedup(ArrayVectors(rows), eps=eps, folder=Path(folder), ranks=ranks, n_clusters=clusters)
    valid = np.isfinite(rows).all(axis=1) & rows.any(axis=1)
    assert ((found.cells >= 0) == valid).all()
    assert found.kept[~valid].all()
    for cell in np.unique(found.cells[valid]):
        members = np.flatnonzero(found.cells == cell)
        members = members[np.argsort(ranks[members])]
        np.testing.assert_allclose(found.score[members], by_definition(rows[members]), atol=1e-6)
        dropped = members[~found.kept[members]]
        np.testing.assert_array_equal(found.keeper[dropped], found.match[dropped])
    np.testing.assert_array_equal(~found.kept, found.score > np.float32(1 - eps))
