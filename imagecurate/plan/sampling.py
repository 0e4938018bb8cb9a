"""Surviving rows drawn at random, computing little more than what is drawn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from imagecurate.backend.cpu import meta_frame
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
        share = max(found / drawn.sum(), 0.01) if found else 1.0
        wanted = min(remaining, int(np.ceil((n - found) / share)))
        quota = random.multivariate_hypergeometric(counts - drawn, wanted, method="marginals")
        for number in np.flatnonzero(quota).tolist():
            # One random order for each shard, made anew when needed: rounds never draw a row twice.
            order = np.random.default_rng([seed, number]).permutation(counts[number])
            rows = order[drawn[number] : drawn[number] + quota[number]]
            frames.append(FirstRows(work)(shards[number], len(rows), np.sort(rows)))
            found += len(frames[-1])
        drawn += quota
    if not frames:
        return meta_frame(work.plan.schema)
    frame = pd.concat(frames, ignore_index=True)
    order = random.permutation(len(frame))[:n]
    return frame.iloc[order].reset_index(drop=True)
