"""Surviving rows drawn at random, computing little more than what is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from imagecurate.backend import backend_named
from imagecurate.columns import Frame
from imagecurate.plan.execute import in_order
from imagecurate.plan.runs import CountSamples, FirstRows
from imagecurate.plan.shard_state import Work
from imagecurate.shards import Shard

__all__ = ["sample_rows"]


def sample_rows(work: Work, shards: Sequence[Shard], n: int, seed: int) -> Frame:
    """Draw surviving rows without replacement.

    Input rows are drawn first, in rounds, until enough of them survive: each round draws as many as the share of
    survivors so far suggests.

    Parameters
    ----------
    work : Work
    shards : sequence of Shard
    n : int
        Rows wanted.
    seed : int
    """
    random = np.random.default_rng(seed)
    counts = np.array(list(in_order(CountSamples(work), shards)), dtype=np.int64)
    drawn = np.zeros_like(counts)
    frames: list[Frame] = []
    found = 0
    while found < n and (remaining := int((counts - drawn).sum())):
        share = (found + 1) / (
            drawn.sum() + 2
        )  # of rows that survive, by Laplace's rule: grows the rounds where none do
        wanted = min(remaining, int(np.ceil((n - found) / share)) if drawn.any() else n)
        quota = _spread(random, wanted, counts - drawn)
        draws = [
            _Draw(shards[number], int(counts[number]), int(drawn[number]), int(quota[number]), (seed, number))
            for number in np.flatnonzero(quota).tolist()
        ]
        frames += in_order(_Look(work), draws)
        found = sum(len(frame) for frame in frames)
        drawn += quota
    backend = backend_named(work.backend)
    if not frames:
        return backend.meta_frame(work.plan.schema)
    frame = backend.concat(frames)
    order = random.permutation(len(frame))[:n]
    return frame.iloc[order].reset_index(drop=True)


@dataclass(frozen=True)
class _Draw:
    """Rows ``[drawn, drawn + quota)`` of the one random order of a shard, so that rounds never draw a row twice."""

    shard: Shard
    count: int
    drawn: int
    quota: int
    seed: tuple[int, int]


@dataclass(frozen=True)
class _Look:
    work: Work

    def __call__(self, draw: _Draw) -> Frame:
        order = np.random.default_rng(draw.seed).permutation(draw.count)
        rows = np.sort(order[draw.drawn : draw.drawn + draw.quota])
        return FirstRows(self.work)(draw.shard, len(rows), rows)


def _spread(random: np.random.Generator, wanted: int, left: NDArray[np.int64]) -> NDArray[np.int64]:
    """Share a draw without replacement out over shards."""
    if left.sum() < 10**9:  # as many as NumPy's generator takes
        return random.multivariate_hypergeometric(left, wanted, method="marginals")
    return np.minimum(random.multinomial(wanted, left / left.sum()), left)
