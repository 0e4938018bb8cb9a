"""A resolved plan as people read it."""

from __future__ import annotations

import json
from collections.abc import Iterator

from imagecurate.cli.display import as_bytes
from imagecurate.pipeline.resolved import PlannedStep, ResolvedPlan

__all__ = ["plan_lines"]


def plan_lines(plan: ResolvedPlan) -> Iterator[str]:
    """What a run would do, a line each."""
    settings = {name: value for name, value in plan.settings.items() if name not in ("export", "workdir")}
    settings["workdir"] = plan.workdir
    for name, value in settings.items():
        yield f"{name}: {_value(value)}"
    yield f"export: {_pairs(plan.settings['export'])}"
    yield ""
    several = len(plan.sources) > 1
    for name, each in plan.sources.items() if several else ():
        yield f"source {name}: {each['shards']:,} shards, {as_bytes(each['bytes'])}"
    yield f"{plan.shards:,} shards, {as_bytes(plan.bytes)}"
    yield f"columns of the data: {_types(plan.columns)}"
    for step in plan.steps:
        yield ""
        yield from _step_lines(step, plan.shards)
    if plan.steps:
        yield ""
        yield f"columns in the end: {', '.join(plan.steps[-1].columns)}"
    for name in plan.missing_weights:
        yield f"weights to be fetched: {name}; 'imagecurate models pull' fetches them ahead"


def _step_lines(step: PlannedStep, shards: int) -> Iterator[str]:
    yield f"{step.number} {step.step}" + (f" ({_pairs(step.parameters)})" if step.parameters else "")
    if step.reads:
        yield f"    reads {', '.join(step.reads)}"
    if step.adds:
        yield f"    adds {_types(step.adds)}"
    for name, stored in step.stored.items():
        if stored is None:
            yield f"    store: not known for {name}, as weights are missing"
        else:
            yield f"    store: {name} of {stored:,} of {shards:,} shards"
    for number, line in enumerate((step.comparison or "").splitlines()):
        yield f"    {'pairs: ' if number == 0 else '       '}{line}"


def _types(columns: dict[str, str]) -> str:
    return ", ".join(f"{name} {kind}" for name, kind in columns.items())


def _pairs(values: dict[str, object]) -> str:
    return ", ".join(f"{name}={_value(value)}" for name, value in values.items())


def _value(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
