"""Finding a sample by what people call it: its id or its key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from imagecurate.columns import KEY
from imagecurate.errors import ParameterError, listed
from imagecurate.explore.look import Seen
from imagecurate.explore.picked import SHARD_NUMBER
from imagecurate.explore.report.cards import refs_of_ids
from imagecurate.explore.rows import Rows
from imagecurate.plan.runs import CountSamples
from imagecurate.plan.shard_state import sample_id_prefix
from imagecurate.store import POSITION

__all__ = ["locate"]


def locate(rows: Rows, name: Any) -> pa.Table:
    """Say where a sample lies: ``_shard_number`` and ``_position``, one row.

    An id says it; for a key the index of every shard is looked at.

    Raises
    ------
    ParameterError
        No sample is called so, or several are.
    """
    if not isinstance(name, str):
        raise ParameterError(f"a sample is named by its key or its sample_id, but got {name!r}")
    images = rows.work.plan.images
    known = refs_of_ids([name], rows.shards, images).values()
    found = [(ref.shard, ref.row) for ref in known if ref.row < CountSamples(rows.work)(rows.shards[ref.shard])]
    if not found:
        parts = rows.map("looking for a key", _WithKey(name), (KEY,))
        found = [(number, position) for number, positions in parts for position in positions.tolist()]
    if not found:
        raise ParameterError.because(
            f"no sample has the key or the sample_id {name!r}",
            "ds.head() shows both; ds.ledger() has every sample, those that failed too",
        )
    if len(found) > 1:
        ids = [f"{sample_id_prefix(rows.shards[number], images)}{position}" for number, position in found]
        raise ParameterError.because(f"{len(found)} samples have the key {name!r}", f"name one of {listed(ids)}")
    ((number, position),) = found
    return pa.table({SHARD_NUMBER: pa.array([number], pa.int64()), POSITION: pa.array([position], pa.int64())})


@dataclass(frozen=True)
class _WithKey:
    """Finds the rows of a shard with a key."""

    key: str

    def __call__(self, seen: Seen) -> tuple[int, np.ndarray]:
        here = pc.fill_null(pc.equal(seen.columns[KEY].cast(pa.string()), self.key), False)
        return seen.number, seen.positions[here.to_numpy(zero_copy_only=False)]
