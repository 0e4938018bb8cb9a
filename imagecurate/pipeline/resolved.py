"""What a run would do: every default filled in, the columns at each step, and what the store has of it already."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from imagecurate.dataset import ImageTextPairDataset
from imagecurate.pipeline.cautions import cautions
from imagecurate.pipeline.pipeline import Pipeline
from imagecurate.pipeline.rehearsal import Rehearsal
from imagecurate.pipeline.steps import Step
from imagecurate.plan.stage import Stage
from imagecurate.plan.steps import StageStep, Stored
from imagecurate.shards import Shard
from imagecurate.stages import SemanticDeduplicator
from imagecurate.stages.needed_weights import weights_of
from imagecurate.store import StageFiles
from imagecurate.store.inventory import shard_files

__all__ = ["PlannedStep", "ResolvedPlan", "resolve"]


@dataclass(frozen=True)
class PlannedStep:
    """A step of a pipeline, as it would run.

    Attributes
    ----------
    number : int
        From 0, as ``--set`` and ``--until`` count.
    step : str
        Name of the step.
    parameters : dict
        All of them, defaults included.
    reads : list of str
        Columns that it needs; those that it brings along by itself are not among them.
    adds : dict of str to str
        Columns that it adds, with their types; those that come with the first look at pixels too.
    columns : list of str
        All columns behind it.
    stored : dict of str to int
        For each stage that it puts into the plan, the shards of which the store has everything; None where that is not
        known, since weights are missing.
    comparison : str or None
        Of a semantic deduplicator, how it would find pairs, where the store has what it reads.
    """

    number: int
    step: str
    parameters: dict[str, Any]
    reads: list[str]
    adds: dict[str, str]
    columns: list[str]
    stored: dict[str, int | None]
    comparison: str | None = None


@dataclass(frozen=True)
class ResolvedPlan:
    """A pipeline that was rehearsed, and what is known of it without running anything."""

    settings: dict[str, Any]
    workdir: str
    sources: dict[str, dict[str, int]]
    shards: int
    bytes: int
    columns: dict[str, str]
    steps: list[PlannedStep]
    #: Weights that a run would have to fetch.
    missing_weights: list[str]
    cautions: list[str]

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain values."""
        return dataclasses.asdict(self)


def resolve(pipeline: Pipeline, rehearsal: Rehearsal, steps: list[Step]) -> ResolvedPlan:
    """Look at what a run would do.

    Reads no picture, fetches no weights and computes nothing, but looks for the files of each shard in the store.

    Parameters
    ----------
    pipeline : Pipeline
    rehearsal : Rehearsal
        Of these steps.
    steps : list of Step
    """
    shards = rehearsal.opened._shards
    missing = [each for each in weights_of(_stages(rehearsal)) if each.path is None]
    store = rehearsal.opened._work.store.root
    sources: dict[str, dict[str, int]] = {}
    for shard in shards:
        sums = sources.setdefault(shard.source, {"shards": 0, "bytes": 0})
        sums["shards"] += 1
        sums["bytes"] += shard.size
    settings = pipeline.model_dump(by_alias=True, exclude={"storage_options", "stages"}, mode="json")
    settings["decode_policy"] = dataclasses.asdict(rehearsal.opened._plan.policy)
    return ResolvedPlan(
        settings,
        str(store).removesuffix("/store"),
        sources,
        len(shards),
        sum(shard.size for shard in shards),
        {name: str(kind) for name, kind in rehearsal.opened._plan.schema.items()},
        _planned(rehearsal, steps, known=not missing),
        [f"{each.name} ({each.source})" for each in missing],
        [f"{pipeline.place_of(number)}{sentence}" for number, sentence in cautions(rehearsal)],
    )


def _planned(rehearsal: Rehearsal, steps: list[Step], *, known: bool) -> list[PlannedStep]:
    """Each step; where all weights are here, with what the store has."""
    plan = rehearsal.opened._plan
    whole = rehearsal.planned()._ready if known else rehearsal.opened._work
    shards = rehearsal.opened._shards
    planned, before, complete = [], 0, True
    for number, (step, added) in enumerate(zip(steps, rehearsal.added, strict=True)):
        comparison = None
        plan = dataclasses.replace(plan, steps=(*plan.steps, *added))
        stored: dict[str, int | None] = {}
        for place, each in enumerate(added, start=before):
            if not isinstance(each, Stored):
                continue
            name = each.title[1]
            if not known:
                stored[name] = None
                continue
            if complete and isinstance(each, StageStep) and isinstance(each.stage, SemanticDeduplicator):
                comparison = _comparison(rehearsal, each.stage, place)
            resolved = whole.plan.steps[place]
            assert isinstance(resolved, Stored)
            files = whole.store.stage(str(resolved.fingerprint), reads_metadata=resolved.reads_metadata)
            stored[name] = _finished(files, shards)
            complete = complete and stored[name] == len(shards)
        before += len(added)
        parameters = step.model_dump(mode="json") if isinstance(step, Stage) else dataclasses.asdict(step)
        adds = {name: str(kind) for each in added for name, kind in each.adds(plan.schema).items()}
        made = {name for each in added for name in each.adds(plan.schema)}
        reads = list(dict.fromkeys(name for each in added for name in each.reads if name not in made))
        columns = list(plan.schema)
        planned.append(PlannedStep(number, type(step).__name__, parameters, reads, adds, columns, stored, comparison))
    return planned


def _comparison(rehearsal: Rehearsal, stage: SemanticDeduplicator, place: int) -> str:
    """How pairs would be found: reads a sample of the embeddings, which are in the store."""
    planned = rehearsal.planned()
    plan = dataclasses.replace(planned._plan, steps=planned._plan.steps[:place])
    before: ImageTextPairDataset = planned._with(plan=plan)
    return str(stage.plan(before))


def _stages(rehearsal: Rehearsal) -> list[Stage]:
    return [step.stage for step in rehearsal.plan.steps if isinstance(step, StageStep)]


def _finished(files: StageFiles, shards: Sequence[Shard]) -> int:
    """Count the shards that have a finished file; one listing instead of a question a shard."""
    start = len(f"{files.folder}/")
    there = {file.path for file in shard_files(files.folder)}
    return sum(str(files.path(shard))[start:] in there for shard in shards)
