"""Rows against a reference that was laid out before."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from brute_cosine import EITHER, cosines, vectors
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from imagecurate.errors import ParameterError
from imagecurate.neighbours import ArrayVectors, CosinePairs, against


@settings(max_examples=20)
@given(vectors(), st.sampled_from(["brute", "prefix", "cells"]), st.booleans(), st.integers(0, 2**32 - 1))
def test_matches_are_those_of_brute_force(drawn: tuple[np.ndarray, float], plan: str, exact: bool, seed: int) -> None:
    """Each row names the best-ranked row of the reference that is near, however that was compared with itself."""
    rows, eps = drawn
    random = np.random.default_rng(seed)
    reference, new = rows[: len(rows) * 2 // 3], rows[len(rows) // 2 :]  # some are in both
    ranks = random.permutation(len(reference))
    similar = cosines(new, reference)
    assume(not (np.abs(similar - (1 - eps)) < EITHER).any())
    with tempfile.TemporaryDirectory() as folder:
        pairs = CosinePairs.find(
            ArrayVectors(reference),
            eps=0.02,
            folder=Path(folder) / "reference",
            ranks=ranks,
            plan=plan,
            exact=exact,
            n_clusters=8,
            compare=bool(seed % 2),  # they need not be
        )
        matches = against(ArrayVectors(new, part_rows=30), pairs, eps, folder=Path(folder) / "new")
    in_order = np.argsort(ranks)
    near = (similar >= 1 - eps)[:, in_order]
    expected = (
        np.where(near.any(axis=1), in_order[near.argmax(axis=1)], -1) if len(reference) else np.full(len(new), -1)
    )
    np.testing.assert_array_equal(matches.match, expected)
    found = np.flatnonzero(expected >= 0)
    np.testing.assert_allclose(matches.similarity[found], similar[found, expected[found]], atol=1e-6)
    assert np.isnan(matches.similarity[~matches.found]).all()


def test_a_reference_may_be_compared_later(tmp_path: Path) -> None:
    """What was moved is not moved again."""
    rows, ranks = np.eye(3, dtype="f4")[[0, 1, 2, 0]], np.arange(4)
    options = {"eps": 0.1, "folder": tmp_path, "ranks": ranks}
    arranged = CosinePairs.find(ArrayVectors(rows), **options, compare=False)
    assert against(ArrayVectors(rows), arranged, 0.1, folder=tmp_path / "n").match.tolist() == [0, 1, 2, 0]
    with pytest.raises(ParameterError, match="were moved, but not compared"):
        arranged.resolve()
    written = (tmp_path / "vectors.f32").stat().st_mtime_ns
    assert CosinePairs.find(ArrayVectors(rows), **options).resolve().keeper.tolist() == [-1, -1, -1, 0]
    assert (tmp_path / "vectors.f32").stat().st_mtime_ns == written


def test_lengths_must_agree(tmp_path: Path) -> None:
    """Both sides come from one model."""
    ranks = np.arange(3)
    pairs = CosinePairs.find(ArrayVectors(np.eye(3, dtype="f4")), eps=0.1, folder=tmp_path / "r", ranks=ranks)
    with pytest.raises(ParameterError, match="vectors of length 4 cannot be compared with a reference of length 3"):
        against(ArrayVectors(np.eye(4, dtype="f4")), pairs, 0.1, folder=tmp_path / "n")
    with pytest.raises(ParameterError, match="eps is at least 0 and below 1"):
        against(ArrayVectors(np.eye(3, dtype="f4")), pairs, -1, folder=tmp_path / "n")
