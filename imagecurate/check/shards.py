"""Check every shard: index it if nobody did, and compare it with what the files beside it say."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from imagecurate.check.beside import read_errors, sentence_of
from imagecurate.check.found import Found
from imagecurate.check.promises import Asked, broken_promises, compare_with_stats, promised_of
from imagecurate.columns import KEY
from imagecurate.errors import OutputError
from imagecurate.export.keys import RepeatedKeys, hashes
from imagecurate.plan.execute import in_order
from imagecurate.plan.outcome import PassStats
from imagecurate.plan.shard_state import ShardState, Work
from imagecurate.progress import Progress
from imagecurate.shards import Shard
from imagecurate.shards.samples import SAMPLE
from imagecurate.shards.sources import UnpackedSource
from imagecurate.store import ERROR

__all__ = ["check_shards", "noticed"]

#: Columns of numbers that say nothing odd, or that are told as problems.
_NOT_NOTICED = {"samples", "images", "failed", "bytes", "parquet_rows", "parquet_unreadable", "places_damaged"}


def check_shards(
    work: Work, shards: Sequence[Shard], *, digests: bool = False, progress: bool | None = None
) -> pd.DataFrame:
    """Check every shard.

    Indexes the shards that nobody has looked at yet, decodes nothing, and costs the client a row and 8 bytes a key on
    disk.  A shard that cannot be read is a problem in its row, never an exception.

    Parameters
    ----------
    work : Work
        Its plan is resolved; the steps do not matter.
    shards : sequence of Shard
    digests : bool, default=False
        Read every file that a manifest lists, and compare its digest.
    progress : bool, optional
        False for silence.

    Returns
    -------
    pandas.DataFrame
        A row for each shard, in their order; then one for each that a manifest promises and that is not there.
        ``shard``, ``source``; ``samples``; ``images`` and ``failed``, the rows of these that are sound as far as can be
        told without decoding, and those that are not; ``bytes``; a column for each count of ``docs/input.md``;
        ``notes``, what was noticed and is no fault; ``problems``, empty where all is well.  ``attrs["notes"]`` lists
        what was noticed of the dataset as a whole.

    Raises
    ------
    OutputError
        The store cannot be written.
    """
    asked, missing = promised_of(shards, work.storage_options)
    found: list[Found] = []
    with (
        tempfile.TemporaryDirectory(prefix="imagecurate-") as folder,
        Progress("checking", len(asked), progress) as bar,
    ):
        keys = RepeatedKeys(Path(folder))
        for one in in_order(CheckShard(work, digests), asked):
            keys.add(one.keys)
            one.keys = one.keys[:0]
            found.append(one)
            bar.shard(PassStats())
        repeated = len(keys.repeated())
    found += missing
    none = {name: 0 for one in found for name in one.counts}
    table = pd.DataFrame([one.row(none) for one in found])
    again = f"keys that occur in several shards: {repeated:,}; an export tells them apart"
    table.attrs["notes"] = [*work.differences, *([again] if repeated else [])]
    return table


def noticed(table: pd.DataFrame) -> dict[str, int]:
    """Sum over all shards what was noticed and is no fault; only what is not zero."""
    sums = table.select_dtypes("number").sum()
    return {name: int(total) for name, total in sums.items() if total and name not in _NOT_NOTICED}


@dataclass(frozen=True)
class CheckShard:
    """Check one shard."""

    work: Work
    digests: bool

    def __call__(self, asked: Asked) -> Found:
        shard, options = asked.shard, self.work.storage_options
        found = Found(shard.name, shard.source, shard.size, notes=list(asked.notes))
        try:
            with closing(ShardState(self.work, shard)) as state:
                _look_into(state, found)
        except OutputError:
            raise
        except read_errors(shard.url) as error:
            found.problems.append(f"cannot be read: {sentence_of(error)}")
        else:
            compare_with_stats(shard, found, options)
        if asked.promise is not None:
            found.problems += broken_promises(asked.promise, shard, found, self.digests, options)
        return found


def _look_into(state: ShardState, found: Found) -> None:
    """Take down what the index of a shard says."""
    schema = state.work.schemas[found.source]
    positions = np.arange(state.count)
    keys, errors = (state.incoming(name, positions).to_pylist() for name in (KEY, ERROR))
    is_sample = np.array([key is not None for key in keys], np.bool_)
    rows = found.samples = int(is_sample.sum())
    if schema.images == "all":
        found.samples = len(np.unique(state.incoming(SAMPLE, positions).to_numpy()[is_sample]))
    found.keys = np.unique(hashes([key for key in keys if key is not None]))
    failures: dict[str, list[tuple[str, str]]] = {}
    for key, error in zip(keys, errors, strict=True):
        if key is None:
            found.problems.append(error)
        elif error is not None:
            failures.setdefault(error.partition(": ")[0], []).append((key, error))
    found.problems += [_failure(kind, failed) for kind, failed in failures.items()]
    found.failed = sum(map(len, failures.values()))
    found.images = rows - found.failed

    found.notes += ["compressed: read slowly"] if isinstance(state.bytes(), UnpackedSource) else []
    found.counts = {name: count for name, count in state.index_counts().items() if name != "samples"}
    odd = {name: count for name, count in found.counts.items() if count and name not in _NOT_NOTICED}
    found.notes += [f"{name.replace('_', ' ')}: {count:,}" for name, count in odd.items()]
    if found.counts["parquet_unreadable"]:
        found.problems.append(f"the parquet is damaged or has no column {schema.id_col!r}")
    if rows and not found.counts["parquet_rows"] and found.counts["samples_without_parquet_row"]:
        found.notes.append("the parquet has no rows")
    elif rows and found.counts["samples_without_parquet_row"] == rows:
        found.problems.append(f"no row of the parquet has the key of a sample in its column {schema.id_col!r}")
    if not rows and not found.problems:
        found.notes.append("no sample in it")


def _failure(kind: str, failed: Sequence[tuple[str, str]]) -> str:
    """Say what failed for a reason: of one sample the whole story, of several the first."""
    key, error = failed[0]
    return f"sample {key!r}: {error}" if len(failed) == 1 else f"{len(failed):,} samples: {kind}, first {key!r}"
