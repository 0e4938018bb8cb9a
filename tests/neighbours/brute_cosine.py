"""The outcome by definition, and vectors that are hard to compare."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

#: Distance to the threshold inside which either answer is right.
EITHER = 1e-6


def cosines(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """All cosines in float64; NaN where a row is zero or not finite."""
    sides = []
    for rows in (left, right):
        wide = np.where(np.isfinite(rows).all(axis=1)[:, None], rows, 0).astype(float)
        lengths = np.linalg.norm(wide, axis=1, keepdims=True)
        sides.append(np.divide(wide, lengths, out=np.full_like(wide, np.nan), where=lengths > 0))
    return sides[0] @ sides[1].T


def check(
    keeper: np.ndarray, rows: np.ndarray, ranks: np.ndarray, eps: float, groups: np.ndarray | None = None
) -> None:
    """Hold an outcome against its definition, which has one solution: in the order of ranks, each row in turn.

    A row is dropped if a better-ranked row that is kept is near, and names the first of them.
    """
    similar = cosines(rows, rows)
    similar[np.isnan(similar) | (ranks[:, None] <= ranks)] = -2  # of broken rows, and of rows ranked later
    if groups is not None:
        similar[(groups[:, None] != groups) | (groups < 0)] = -2
    similar[:, keeper >= 0] = -2
    dropped = np.flatnonzero(keeper >= 0)
    assert (similar[dropped, keeper[dropped]] >= 1 - eps - EITHER).all()
    before_keeper = ranks < np.where(keeper >= 0, ranks[keeper], len(ranks))[:, None]
    assert not ((similar >= 1 - eps + EITHER) & before_keeper).any()


def make(kind: str, n: int, d: int, eps: float, seed: int) -> np.ndarray:
    """Vectors of a kind, some of them broken."""
    random = np.random.default_rng(seed)
    noise = random.standard_normal((n, d)) / d**0.5
    if kind == "random":
        rows = noise
    elif kind == "clustered":
        centres = random.standard_normal((n // 10 + 1, d))
        centres /= np.linalg.norm(centres, axis=1, keepdims=True)
        rows = centres[random.integers(0, len(centres), n)] + noise * eps**0.5 * random.choice([0.3, 1, 2])
    elif kind == "border":  # a few centres, and pairs on either side of the planes between them
        centres = random.standard_normal((4, d))
        left, right = centres[random.integers(0, 4, n)], centres[random.integers(0, 4, n)]
        rows = (left + right) / 2 + np.repeat(noise, 2, axis=0)[:n] * 0.3 + (left - right) * eps * noise[:, :1]
    elif kind == "crowd":
        rows = random.standard_normal((1, d)) / d**0.5 + noise * eps**0.5 * random.choice([0.03, 0.7, 1.0])
    elif kind == "copies":
        rows = noise[random.integers(0, n // 4 + 1, n) if n else []] * random.choice([1, 2, 3], size=(n, 1))
    else:  # a chain, each link near the next
        angle = np.arange(n) * (2 * eps) ** 0.5 * random.choice([0.01, 0.4, 0.9])
        rows = np.zeros((n, d))
        rows[:, 0], rows[:, 1] = np.cos(angle), np.sin(angle)
    rows = rows.astype(np.float32)
    if n and random.random() < 0.3:
        rows[random.integers(0, n, 3)] = random.choice([0, np.nan, np.inf, -np.inf])
    return rows


KINDS = ("random", "clustered", "border", "crowd", "copies", "chain")


@st.composite
def vectors(draw: st.DrawFn, most: int = 250) -> tuple[np.ndarray, float]:
    """Draw vectors and an eps."""
    eps = draw(st.sampled_from([1e-4, 1e-3, 0.01, 0.05, 0.1, 0.3]))
    n = draw(st.one_of(st.integers(0, 5), st.integers(6, most)))
    d = draw(st.sampled_from([2, 3, 5, 17, 64]))
    return make(draw(st.sampled_from(KINDS)), n, d, eps, draw(st.integers(0, 2**32 - 1))), eps
