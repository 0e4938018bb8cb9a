"""How far a run is, from what lies in its store: nothing is asked of the processes that work on it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from imagecurate.columns import IMAGE_ERROR
from imagecurate.pipeline.record import PlanRecord, StoredStage
from imagecurate.store import ERROR, PART_ROWS, StorePath
from imagecurate.store.files import open_finished
from imagecurate.store.inventory import StoredFile, shard_files

__all__ = ["ShardTime", "StageStatus", "Status", "status_of"]

#: Seconds over which images a second are counted: long enough that several shards end in it.
WINDOW_S = 600.0
#: Seconds without a new file after which nobody seems to be working; the slowest models write a part in less.
QUIET_S = 300.0
#: Footers read of a stage: those of more files are a sample, and counts are scaled.
MOST_FOOTERS = 2_000
#: Shards that are shown as the slowest.
SLOWEST = 5


@dataclass(frozen=True)
class StageStatus:
    """A stage, or another step of which the store keeps columns.

    Attributes
    ----------
    name : str
    shards : int
        Finished.  A shard of which no row reaches the stage has no file.
    parts : int
        Parts of shards in work.
    rows : int
        Computed so far, those in parts included.
    failed : int
        Rows that the stage failed.
    about : bool
        Whether rows and failed are estimates from some of the files.
    """

    name: str
    shards: int
    parts: int
    rows: int
    failed: int
    about: bool


@dataclass(frozen=True)
class ShardTime:
    """How long a shard took, or is taking."""

    shard: str
    seconds: float
    done: bool


@dataclass(frozen=True)
class Status:
    """A run.

    Attributes
    ----------
    state : str
        ``"finished"``, ``"stopped"`` or ``"failed"``, as the run itself said; else ``"running"``, or ``"not running"``
        where no file was written for some minutes.
    shards, done : int
        In all, and those of which every stage that has begun is finished.
    images : int
        Looked at so far.
    failed : int
        Samples that a stage failed so far.
    images_per_s : float or None
        Over the last minutes, or since the start.
    left_s : float or None
        Seconds until the images of all shards are looked at, at this pace.
    last_write : float or None
        When the last file was written, in seconds since 1970.
    """

    record: PlanRecord
    state: str
    shards: int
    done: int
    images: int
    failed: int
    images_per_s: float | None
    left_s: float | None
    last_write: float | None
    stages: list[StageStatus] = field(default_factory=list)
    slowest: list[ShardTime] = field(default_factory=list)


def status_of(record: PlanRecord, now: float | None = None) -> Status:
    """Look at the files of a run.

    Parameters
    ----------
    record : PlanRecord
    now : float, optional
        Seconds since 1970.
    """
    now = time.time() if now is None else now
    started = datetime.fromisoformat(record.started).timestamp()
    ended = None if record.ended is None else datetime.fromisoformat(record.ended).timestamp()
    columns = record.store / "columns"
    found = {stage: _files(columns / stage.fingerprint) for stage in record.stages}
    stages = [_stage_status(columns / stage.fingerprint, stage, files) for stage, files in found.items()]
    written = [file.modified for files in found.values() for file in files]
    begun = [files for files in found.values() if files]
    done = min((sum(file.part is None for file in files) for files in begun), default=0)
    images, rate, left = 0, None, None
    looked = next((stage for stage in record.stages if stage.sees_images), None)
    if looked is not None:
        status = stages[record.stages.index(looked)]
        images = status.rows
        rate = _rate(found[looked], status, started, ended or now)
        if rate and status.shards:
            a_shard = (status.rows - status.parts * PART_ROWS) / status.shards
            left = max(a_shard * record.shards - status.rows, 0) / rate
    last = max(written, default=None)
    state = _state(record, started, ended, last, now)
    return Status(
        record,
        state,
        record.shards,
        done,
        images,
        sum(stage.failed for stage in stages),
        rate,
        0.0 if state == "finished" else left,
        last,
        stages,
        _slowest(record, found, started, now),
    )


def _state(record: PlanRecord, started: float, ended: float | None, last: float | None, now: float) -> str:
    if record.end is not None and ended is not None and (last is None or last <= ended + 1):
        return record.end  # but where files are newer, others work on it still
    return "running" if now - max(started, last or 0.0) < QUIET_S else "not running"


def _files(folder: StorePath) -> list[StoredFile]:
    return list(shard_files(folder))


def _stage_status(folder: StorePath, stage: StoredStage, files: list[StoredFile]) -> StageStatus:
    finished = [file for file in files if file.part is None]
    parts = len(files) - len(finished)
    looked = finished[:: -(-len(finished) // MOST_FOOTERS)] if finished else []
    counts = [_rows_and_failures(folder, file.path) for file in looked]
    scale = len(finished) / max(len(counts), 1)
    rows, failed = (round(sum(each) * scale) for each in zip(*counts, strict=True)) if counts else (0, 0)
    about = len(counts) < len(finished) or parts > 0
    return StageStatus(stage.name, len(finished), parts, rows + parts * PART_ROWS, failed, about)


def _rows_and_failures(folder: StorePath, name: str) -> tuple[int, int]:
    """Rows of a file, and those with an error of the stage or of the decoder: both are in its footer."""
    file = open_finished(folder, name)
    if file is None:  # it went, or was cut off by a power loss
        return 0, 0
    with file:
        footer, names = file.metadata, file.schema_arrow.names
        groups = [footer.row_group(number) for number in range(footer.num_row_groups)]
        columns = [
            group.column(names.index(name)) for group in groups for name in (ERROR, IMAGE_ERROR) if name in names
        ]
        failed = sum(column.num_values - column.statistics.null_count for column in columns if column.statistics)
        return footer.num_rows, failed


def _rate(files: Iterable[StoredFile], status: StageStatus, started: float, end: float) -> float | None:
    """Rows a second over the last minutes; over the whole run where nothing was finished in these."""
    finished = [file for file in files if file.part is None]
    if not finished and not status.parts:
        return None
    a_shard = (status.rows - status.parts * PART_ROWS) / max(len(finished), 1)
    for since in (max(started, end - WINDOW_S), started):
        new = [file for file in files if since <= file.modified <= end]
        rows = sum(a_shard if file.part is None else PART_ROWS for file in new)
        if rows and end > since:
            return rows / (end - since)
    return None


def _slowest(
    record: PlanRecord, found: dict[StoredStage, list[StoredFile]], started: float, now: float
) -> list[ShardTime]:
    """Shards in work since long, and finished ones that took long: from index or first part to the last file."""
    begun: dict[str, float] = {}
    ended: dict[str, float] = {}
    for fingerprint in record.indexes:
        for file in shard_files(record.store / "index" / fingerprint):
            if file.modified >= started:
                begun[str(file.shard)] = file.modified
    working: dict[str, float] = {}
    for files in found.values():
        for file in files:
            name = str(file.shard)
            if file.part is None:
                ended[name] = max(ended.get(name, 0.0), file.modified)
            else:
                working[name] = min(working.get(name, now), file.modified)
    times = [ShardTime(name, now - begun.get(name, first), False) for name, first in working.items()]
    times += [ShardTime(name, ended[name] - begun[name], True) for name in begun.keys() & ended.keys() - working.keys()]
    usual = statistics.median(each.seconds for each in times) if times else 0.0
    slow = sorted((each for each in times if each.seconds >= usual), key=lambda each: -each.seconds)
    return slow[:SLOWEST]
