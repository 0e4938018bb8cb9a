"""What a dataset is, and what of it is computed: told without running anything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress

import numpy as np
import pyarrow as pa

from imagecurate.columns import IDENTITY
from imagecurate.explore.html import Html, framed, joined, quoted, tag
from imagecurate.explore.shown import table
from imagecurate.explore.wording import plural
from imagecurate.plan.plan import Plan
from imagecurate.plan.shard_state import Work
from imagecurate.plan.steps import StageStep, Stored
from imagecurate.shards import Shard
from imagecurate.stages.needed_weights import weights_of
from imagecurate.store import ERROR
from imagecurate.store.index_file import IndexFile

__all__ = ["overview"]

#: Shards whose files in the store are looked at, spread over all.
_MOST_SHARDS = 100
#: Sources that are listed.
_MOST_SOURCES = 20


def overview(work: Work, shards: Sequence[Shard]) -> Html:
    """Show samples, shards, sources, columns, plan, and what is computed.

    Nothing is computed, fetched or indexed for it, and of many shards only some are looked up in the store.
    """
    looked = [shards[int(number)] for number in np.linspace(0, len(shards) - 1, min(len(shards), _MOST_SHARDS))]
    return framed(
        tag("p", tag("strong", "ImageTextPairDataset"), f": {_samples(work, shards, looked)}"),
        _sources(shards),
        _plan(work, looked, len(shards)),
        _columns(work.plan),
        label="Dataset",
    )


def _samples(work: Work, shards: Sequence[Shard], looked: Sequence[Shard]) -> str:
    size = sum(shard.size for shard in shards)
    said = f"{plural(len(shards), 'shard')}, {size / 1e6:,.1f} MB"
    known = [count for shard in looked if (count := _count(work, shard)) is not None]
    if not known:
        return f"{said}; samples are counted when somebody looks"
    if len(known) == len(shards):
        return f"{plural(sum(known), 'sample')} in {said}"
    return f"about {round(sum(known) / len(known) * len(shards)):,} samples in {said}"


def _count(work: Work, shard: Shard) -> int | None:
    """Samples of a shard that was indexed."""
    with suppress(FileNotFoundError, pa.ArrowInvalid):
        return len(IndexFile.open(work.index(shard)).column(ERROR))
    return None


def _sources(shards: Sequence[Shard]) -> Html | None:
    counts = Counter(shard.source for shard in shards)
    if len(counts) < 2:
        return None
    sizes: Counter[str] = Counter()
    for shard in shards:
        sizes[shard.source] += shard.size
    rows = [[source, count, f"{sizes[source] / 1e6:,.1f} MB"] for source, count in counts.most_common(_MOST_SOURCES)]
    rest = len(counts) - len(rows)
    more = tag("p", f"and {plural(rest, 'source')} more", class_="ic-quiet") if rest else None
    return joined(table(["source", "shards", "size"], rows), more)


def _plan(work: Work, looked: Sequence[Shard], shards: int) -> Html:
    if not work.plan.steps:
        return tag("p", "No step was added yet.", class_="ic-quiet")
    steps = _resolved(work.plan).steps
    rows = [
        [place, *step.title, _computed(work, step, looked, shards) if isinstance(step, Stored) else ""]
        for place, step in enumerate(steps, start=1)
    ]
    return table(["step", "kind", "name", "computed"], rows)


def _resolved(plan: Plan) -> Plan:
    """The plan with fingerprints, unless weights would have to be fetched to know them."""
    stages = [step.stage for step in plan.steps if isinstance(step, StageStep)]
    return plan if any(weights.path is None for weights in weights_of(stages)) else plan.resolved


def _computed(work: Work, step: Stored, looked: Sequence[Shard], shards: int) -> str:
    if step.fingerprint is None:
        return "its weights are not here yet"
    files = work.store.stage(step.fingerprint, reads_metadata=step.reads_metadata)
    there = sum(files.has(shard) for shard in looked)
    if len(looked) == shards:
        return f"{there} of {plural(shards, 'shard')}"
    return f"about {100 * there / len(looked):.0f} % of {plural(shards, 'shard')}"


def _columns(plan: Plan) -> Html:
    rows = [
        [name, str(kind), "came with the data" if name not in plan.producers else _maker(plan, name)]
        for name, kind in plan.schema.items()
        if name not in IDENTITY
    ]
    always = tag("p", "Every row has ", joined(*_commas(IDENTITY)), ".", class_="ic-quiet")
    listed = table(["column", "type", "from"], rows)
    return tag("details", tag("summary", plural(len(plan.schema), "column")), always, listed)


def _maker(plan: Plan, name: str) -> str:
    return plan.steps[plan.producers[name]].title[1]


def _commas(names: Sequence[str]) -> list[Html | str]:
    return [part for name in names for part in (", ", quoted(name))][1:]
