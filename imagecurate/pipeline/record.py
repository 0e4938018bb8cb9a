"""What a run leaves in its store when it begins: enough for somebody else to see how far it is."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Self

from imagecurate.dataset import ImageTextPairDataset
from imagecurate.errors import OutputError, Stopped
from imagecurate.plan.stage import ImageStage
from imagecurate.plan.steps import StageStep, Step, Stored
from imagecurate.store import StorePath, write_atomically
from imagecurate.store.inventory import files_below

__all__ = ["PlanRecord", "StoredStage", "records_in"]

#: Folder of the records, below the store.
_FOLDER = "runs"


@dataclass(frozen=True)
class StoredStage:
    """A step of which the store keeps columns."""

    #: Kind and name, as ``counts`` shows them.
    kind: str
    name: str
    #: Name of its folder in the store.
    fingerprint: str
    #: Whether it looks at pictures: their number is what takes the time.
    sees_images: bool


@dataclass(frozen=True)
class PlanRecord:
    """A run: what it works on and what will be in the store when it is done."""

    pipeline: str
    fingerprint: str
    output: str | None
    shards: int
    bytes: int
    #: Folders of the indexes, one or more.
    indexes: tuple[str, ...]
    stages: tuple[StoredStage, ...]
    started: str
    host: str
    process: int
    #: When this or, where several work on it, another process came to an end with it, and which.
    ended: str | None = None
    end: Literal["finished", "stopped", "failed"] | None = None
    #: The store; where the record lies says it, so it is not in the file.
    store: StorePath = field(default=Path(), compare=False)

    @classmethod
    def begin(cls, planned: ImageTextPairDataset, output: str | None, pipeline: str) -> Self:
        """Write the record of a run that begins.

        Parameters
        ----------
        planned : ImageTextPairDataset
            With all steps; none of them need have run.
        output : str, optional
            Folder that will be written.
        pipeline : str
            Path of the pipeline file, or "".
        """
        work, shards = planned._ready, planned._shards
        stages = [
            StoredStage(*step.title, step.fingerprint, _sees_images(step))
            for step in work.plan.steps
            if isinstance(step, Stored) and step.fingerprint is not None
        ]
        start = len(f"{work.store.root}/index/")
        indexes = dict.fromkeys(str(work.index(shard))[start:].partition("/")[0] for shard in shards)
        record = cls(
            pipeline,
            planned.fingerprint,
            output,
            len(shards),
            sum(shard.size for shard in shards),
            tuple(indexes),
            tuple(stages),
            _now(),
            platform.node(),
            os.getpid(),
            store=work.store.root,
        )
        record._write()
        return record

    @contextmanager
    def ending(self) -> Iterator[None]:
        """Keep how the run inside comes to its end; a process that is killed keeps nothing."""
        try:
            yield
        except BaseException as error:
            stopped = isinstance(error, Stopped | KeyboardInterrupt)
            dataclasses.replace(self, ended=_now(), end="stopped" if stopped else "failed")._write()
            raise
        dataclasses.replace(self, ended=_now(), end="finished")._write()

    def _write(self) -> None:
        values = {name: value for name, value in dataclasses.asdict(self).items() if name != "store"}
        path = self.store / _FOLDER / f"{self.fingerprint}.json"
        write_atomically(path, lambda temporary: temporary.write_text(json.dumps(values, indent=1) + "\n"))


def records_in(store: StorePath) -> list[PlanRecord]:
    """Read the records in a store, the newest first.

    Raises
    ------
    OutputError
        A record cannot be read.
    """
    files = [file.path for file in files_below(store / _FOLDER) if file.path.endswith(".json")]
    records = [_read(store, store / _FOLDER / name) for name in files]
    return sorted(records, key=lambda each: each.started, reverse=True)


def _read(store: StorePath, path: StorePath) -> PlanRecord:
    try:
        values: dict[str, Any] = json.loads(path.read_bytes())
        stages = tuple(StoredStage(**stage) for stage in values.pop("stages"))
        indexes = tuple(values.pop("indexes"))
        return PlanRecord(**values, stages=stages, indexes=indexes, store=store)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise OutputError.because(
            f"the record {str(path)!r} of a run cannot be read: {error}", "remove it: it serves nothing but 'status'"
        ) from error


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _sees_images(step: Step) -> bool:
    return isinstance(step, StageStep) and isinstance(step.stage, ImageStage)
