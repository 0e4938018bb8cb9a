"""Stopping at the first sample that fails, instead of keeping it as a row with a reason."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np

from imagecurate.errors import StrictError
from imagecurate.plan.outcome import PassStats
from imagecurate.plan.shard_pass import ShardPass
from imagecurate.plan.shard_state import sample_id_prefix
from imagecurate.plan.walk import walk

__all__ = ["is_strict", "raise_first_failure", "strictly"]

_strict = ContextVar("imagecurate_strict", default=False)


def is_strict() -> bool:
    """Whether passes that are begun here stop at the first failure."""
    return _strict.get()


@contextmanager
def strictly(strict: bool = True) -> Iterator[None]:
    """Inside, passes over shards raise ``StrictError`` for the first sample that fails."""
    token = _strict.set(strict)
    try:
        yield
    finally:
        _strict.reset(token)


def raise_first_failure(shard_pass: ShardPass) -> None:
    """Raise if a sample failed, as far as the store knows by now; computes nothing that needs pixels.

    Raises
    ------
    StrictError
        Names the first one of the shard, and why.
    """
    state = shard_pass.state
    needed = state.plan.needed((), everything=True)
    outcome = walk(state, needed, np.arange(state.count), PassStats())
    failed = np.flatnonzero(outcome.failed)
    if len(failed):
        row = int(failed[0])
        name = f"{sample_id_prefix(state.shard, state.plan.images)}{outcome.positions[row]}"
        raise StrictError.because(
            f"sample {name} failed: {outcome.reasons[row]}",
            "without strict it would be a row of the ledger with this reason",
        )
