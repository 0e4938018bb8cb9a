"""How long each stage took, by the times of its files in the store."""

from __future__ import annotations

from collections.abc import Iterator

from imagecurate.explore.report.material import Timed
from imagecurate.plan.plan import Plan
from imagecurate.plan.stage import ImageStage
from imagecurate.plan.steps import StageStep, Stored
from imagecurate.store import Store, StorePath
from imagecurate.store.files import open_finished
from imagecurate.store.inventory import StoredFile, shard_files

__all__ = ["timings_of"]

#: Footers read of a stage: the rows of more files are estimated from so many.
_FOOTERS = 200


def timings_of(store: Store, plan: Plan) -> Iterator[Timed]:
    """Give the time from the first file of each stage to its last, and for stages that see pictures the pace.

    A stage that was computed in several runs took the time from the first to the last of them; of one with a single
    file nothing is known.
    """
    for step in plan.resolved.steps:
        if not isinstance(step, Stored) or step.fingerprint is None:
            continue
        folder = store.root / "columns" / step.fingerprint
        files = sorted(
            (file for file in shard_files(folder) if file.part is None),
            key=lambda file: file.modified,
        )
        seconds = files[-1].modified - files[0].modified if files and files[0].modified else 0.0
        if seconds <= 0:
            continue
        sees = isinstance(step, StageStep) and isinstance(step.stage, ImageStage)
        rate = _rows(folder, files[1:]) / seconds if sees else None  # the first had begun before the clock
        yield Timed(step.title[1], seconds, rate)


def _rows(folder: StorePath, files: list[StoredFile]) -> float:
    """Rows in some files, or about so many."""
    some = files[:: -(-len(files) // _FOOTERS)]
    counts = []
    for file in some:
        parquet = open_finished(folder, file.path)
        if parquet is not None:  # it did not go meanwhile
            with parquet:
                counts.append(parquet.metadata.num_rows)
    rows: float = sum(counts) * len(files) / max(len(counts), 1)
    return rows
