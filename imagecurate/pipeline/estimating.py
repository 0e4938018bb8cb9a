"""What a curation will take, from a look at some shards and a sample of the work itself on this machine."""

from __future__ import annotations

import dataclasses
import resource
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from imagecurate.columns import IMAGE_FORMAT
from imagecurate.dataset import ImageTextPairDataset
from imagecurate.errors import ShardError, WeightsError
from imagecurate.plan.facts import PixelFacts
from imagecurate.plan.plan import Plan
from imagecurate.plan.shard_pass import ShardPass
from imagecurate.plan.shard_state import ShardState, Work
from imagecurate.plan.stage import DatasetStage, ImageStage
from imagecurate.plan.steps import MaskStep, StageStep, Step
from imagecurate.plan.threads import cores
from imagecurate.remote import local_path
from imagecurate.shards import Shard
from imagecurate.store import PART_ROWS
from imagecurate.store.inventory import files_below
from imagecurate.workdir import open_store

__all__ = ["Estimate", "estimate"]

#: Shards looked into; behind a URL a look costs the whole shard.
LOCAL_SHARDS, REMOTE_SHARDS = 4, 1
#: Seconds of work that are measured, where there are as many pictures.
MEASURED_S = 10.0


@dataclass(frozen=True)
class Estimate:
    """What a curation will take; None for what is not known.

    Attributes
    ----------
    shards, bytes : int
        Of the input: counted.
    samples : int
        About how many.
    formats : dict of str to float
        Share of each format among the pictures that were looked at.
    images_per_s : float or None
        Of the whole work, on all GPUs or on this machine.
    measured : bool
        Whether that was measured here; else it was given.
    seconds, gpu_hours, cost : float or None
    memory_bytes, gpu_memory_bytes : int or None
        Peak of this process while it did the sample.
    kept : float or None
        Share of the sample that its filters kept.
    store_bytes, output_bytes : int or None
    assumptions : list of str
        What the numbers rest on.
    """

    shards: int
    bytes: int
    samples: int
    formats: dict[str, float]
    images_per_s: float | None
    measured: bool
    seconds: float | None
    gpus: int | None
    gpu_hours: float | None
    cost: float | None
    memory_bytes: int | None
    gpu_memory_bytes: int | None
    kept: float | None
    store_bytes: int | None
    output_bytes: int | None
    assumptions: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain values."""
        return dataclasses.asdict(self)


@dataclass
class _Sample:
    """What was measured."""

    rows: int = 0
    seconds: float = 0.0
    kept: int = 0
    stored: int = 0
    formats: Counter[str] = field(default_factory=Counter)


def estimate(
    dataset: ImageTextPairDataset,
    plan: Plan | None = None,
    *,
    gpus: int | None = None,
    images_per_s: float | None = None,
    price_per_gpu_hour: float | None = None,
) -> Estimate:
    """Estimate time, memory, sizes and cost.

    Reads the headers of a few shards and does the work on pictures of one of them, for some seconds, in a store of its
    own.

    Parameters
    ----------
    dataset : ImageTextPairDataset
        Without a step.
    plan : Plan, optional
        The work; by default pictures are decoded and nothing else.
    gpus : int, optional
        GPUs that share the work.
    images_per_s : float, optional
        Of one GPU, or of this machine where no GPUs are named; else it is measured.
    price_per_gpu_hour : float, optional

    Raises
    ------
    ShardError
        There are no samples.
    """
    shards = dataset._shards
    work = dataclasses.replace(dataset._work, store=open_store(None, None), plan=_per_row(plan or dataset._plan))
    chosen = _spread(shards)
    counts = [_count(work, shard) for shard in chosen]
    looked = sum(shard.size for shard in chosen)
    total = sum(shard.size for shard in shards)
    samples = round(sum(counts) / max(looked, 1) * total)
    if not samples:
        raise ShardError(f"there are no samples in the {len(chosen)} shards that were looked into")
    notes = [f"samples: {sum(counts):,} in {len(chosen)} of {len(shards):,} shards, scaled by bytes"]
    sample, reason = _measured(work, chosen[int(np.argmax(counts))])
    notes += [f"the work was not measured: {reason}"] if reason else _of_sample(sample, work.plan, plan)
    rate, measured = _rate(sample, gpus, images_per_s, notes)
    seconds = None if rate is None else samples / rate
    hours = None if seconds is None or gpus is None else gpus * seconds / 3600
    rows = max(sample.rows, 1)
    kept = sample.kept / rows if sample.rows else None
    stored = sample.stored / rows * samples if sample.rows else None
    return Estimate(
        len(shards),
        total,
        samples,
        {name: count / sample.formats.total() for name, count in sample.formats.most_common()},
        rate,
        measured,
        seconds,
        gpus,
        hours,
        None if hours is None or price_per_gpu_hour is None else hours * price_per_gpu_hour,
        _peak() if sample.rows else None,
        _gpu_peak() if sample.rows else None,
        kept,
        None if stored is None else round(stored),
        None if kept is None or stored is None else round(kept * (total + stored)),
        notes,
    )


def _per_row(plan: Plan) -> Plan:
    """The steps that can be done for some rows alone, and in any case a decode: dataset stages need all."""
    steps: list[Step] = []
    lost: set[str] = set()
    for step in plan.steps:
        needs_all = isinstance(step, MaskStep) or (isinstance(step, StageStep) and isinstance(step.stage, DatasetStage))
        if needs_all or lost & set(step.reads):
            lost.update(step.adds(plan.schema))
        else:
            steps.append(step)
    if not any(isinstance(step, StageStep) and isinstance(step.stage, ImageStage) for step in steps):
        steps.append(StageStep(PixelFacts(policy=plan.policy)))
    return dataclasses.replace(plan, steps=tuple(steps))


def _spread(shards: Sequence[Shard]) -> list[Shard]:
    """A few shards from all over the list."""
    wanted = LOCAL_SHARDS if local_path(shards[0].url) is not None else REMOTE_SHARDS
    places = np.linspace(0, len(shards) - 1, min(wanted, len(shards))).round().astype(int)
    return [shards[place] for place in dict.fromkeys(places.tolist())]


def _count(work: Work, shard: Shard) -> int:
    state = ShardState(work, shard)
    state.close()
    return state.count


def _measured(work: Work, shard: Shard) -> tuple[_Sample, str | None]:
    """Do the work on pictures of a shard, the first ones unmeasured: models are loaded and processes begun on them."""
    sample = _Sample()
    try:
        work = dataclasses.replace(work, plan=work.plan.resolved)
    except WeightsError as error:
        return sample, str(error).partition("\n\nHint:")[0]
    needed = work.plan.needed((), everything=True)
    columns = work.store.root / "columns"
    with ShardPass(work, shard, needed) as warming:
        count = warming.state.count
        first = min(PART_ROWS, max(count // 4, 1))
        warming.run(np.arange(first))
    before, start = sum(file.size for file in files_below(columns)), first
    while start < count and sample.seconds < MEASURED_S:
        rows = np.arange(start, min(start + PART_ROWS * cores(), count))
        began = time.perf_counter()
        with ShardPass(work, shard, needed) as working:
            outcome = working.run(rows)
            if IMAGE_FORMAT in work.plan.schema:  # a stage that looks at bytes alone decodes nothing
                formats = working.state.column(IMAGE_FORMAT, rows).to_pylist()
                sample.formats.update(name or "unreadable" for name in formats)
        sample.seconds += time.perf_counter() - began
        sample.rows += len(rows)
        sample.kept += len(outcome.survivors)
        start += len(rows)
    sample.stored = sum(file.size for file in files_below(columns)) - before
    return sample, None if sample.rows else "the shards are too small"


def _of_sample(sample: _Sample, measured: Plan, whole: Plan | None) -> list[str]:
    """Say what was measured and what was not."""
    threads = cores()
    notes = [
        f"images/s: {sample.rows:,} pictures of one shard in {sample.seconds:.1f} s on this machine ({threads} cores), "
        "after a first block that loaded the models",
        f"sizes: those of the sample, of which filters kept {sample.kept:,}",
    ]
    if whole is None:
        notes.append("the work is decoding alone; give a pipeline to measure its models")
    left_out = [step.title[1] for step in (whole.steps if whole else ()) if step not in measured.steps]
    if left_out:
        notes.append(f"not in the time, for it needs all samples: {', '.join(dict.fromkeys(left_out))}")
    return notes


def _rate(sample: _Sample, gpus: int | None, given: float | None, notes: list[str]) -> tuple[float | None, bool]:
    """Images a second, and whether they were measured."""
    if given is not None:
        notes.append(f"images/s: {given:g} as given" + (f", times {gpus} GPUs" if gpus else ""))
        return given * (gpus or 1), False
    measured = sample.rows / sample.seconds if sample.rows else None
    if gpus is None or measured is None:
        return measured, measured is not None
    if _gpu_peak() is None:
        notes.append("images/s of a GPU are not known, for this machine has none: give --images-per-s")
        return None, False
    notes.append(f"images/s: measured on one GPU, times {gpus}")
    return measured * gpus, True


def _peak() -> int:
    """Peak resident memory of this process, bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS gives bytes, Linux kilobytes


def _gpu_peak() -> int | None:
    """Peak of what torch took on the GPU, bytes; None where there is none."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return None
    return int(torch.cuda.max_memory_reserved())
