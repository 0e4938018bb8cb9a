"""What shards answer to the report, which adds up: the memory does not grow with the samples."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from imagecurate.explore.report.clusters import Clusters, clusters_of
from imagecurate.explore.report.fates import Fate, Fates, fates_of
from imagecurate.explore.report.groups import Level, level_of
from imagecurate.explore.report.histogram import Histogram
from imagecurate.explore.report.limits import Limit
from imagecurate.explore.report.picks import drawn, lowest, picks
from imagecurate.explore.report.properties import Properties, properties_of
from imagecurate.explore.report.questions import Questions
from imagecurate.expressions import Expression
from imagecurate.plan.execute import in_order
from imagecurate.plan.shard_pass import ShardPass
from imagecurate.plan.shard_state import Work
from imagecurate.shards import Shard

__all__ = ["EXAMPLES", "Answers", "answers_of", "ask", "examples_of"]

#: Fates of which samples are known by place: reasons of failures are as many as the data likes.
_FATES = 200
#: Samples of each fate, and on each side of a threshold, that are known by place.
EXAMPLES = 24
_BORDERLINE = 6


@dataclass
class Answers:
    """What shards answered.

    Parameters
    ----------
    examples : dict of Fate to array of PICK
        Samples drawn at random.
    histograms : dict of str to Histogram
        By quantity.
    borderline : dict of (Limit, bool) to array of PICK
        Samples nearest to a threshold, on the side that passes and on the other.
    passing : Counter of Limit
        Samples on the side that passes.
    levels : dict of str to Level
    clusters : Clusters or None
    properties : Properties
    """

    examples: dict[Fate, NDArray[np.void]] = field(default_factory=dict)
    histograms: dict[str, Histogram] = field(default_factory=dict)
    borderline: dict[tuple[Limit, bool], NDArray[np.void]] = field(default_factory=dict)
    passing: Counter[Limit] = field(default_factory=Counter)
    levels: dict[str, Level] = field(default_factory=dict)
    clusters: Clusters | None = None
    properties: Properties = field(default_factory=Properties)

    def plus(self, other: Answers) -> Self:
        """Count other shards in."""
        return dataclasses.replace(
            self,
            examples=examples_of([self.examples, other.examples]),
            histograms={
                name: self.histograms[name].plus(each) if name in self.histograms else each
                for name, each in other.histograms.items()
            },
            borderline={
                key: lowest(np.concatenate([self.borderline.get(key, found[:0]), found]), _BORDERLINE)
                for key, found in other.borderline.items()
            },
            passing=self.passing + other.passing,
            levels={
                name: self.levels[name].plus(each) if name in self.levels else each
                for name, each in other.levels.items()
            },
            clusters=other.clusters
            if self.clusters is None or other.clusters is None
            else self.clusters.plus(other.clusters),
            properties=self.properties.plus(other.properties),
        )


def answers_of(asked: Questions, shard: int, name: str, columns: Mapping[str, pa.Array], fates: Fates) -> Answers:
    """Answer for one shard.

    Parameters
    ----------
    asked : Questions
    shard : int
        Its number.
    name : str
        Its name.
    columns : mapping of str to pyarrow.Array
        Of all its rows: those that the questions ask for.
    fates : Fates
    """
    found = Answers(properties=properties_of(columns, asked.sizes))
    luck = drawn(shard, name, len(fates.codes))
    for code in np.unique(fates.codes).tolist():
        rows = np.flatnonzero(fates.codes == code)
        found.examples[fates.names[code]] = lowest(picks(shard, rows, luck[rows]), EXAMPLES)
    found.examples = examples_of([found.examples])
    kept = fates.kept
    for quantity in asked.quantities:
        rows, values = _numbers(quantity, columns)
        limits = [limit for limit in asked.limits if limit.quantity == quantity]
        found.histograms[quantity] = Histogram.of(
            values, kept[rows], anchor=limits[0].value if limits else 0.0, missing=len(kept) - len(rows)
        )
        for limit in limits:
            finite = np.isfinite(values)
            passes = limit.passes(values)
            found.passing[limit] = int(passes.sum())
            for side in (True, False):
                some = finite & (passes == side)
                near = picks(shard, rows[some], np.abs(values[some] - limit.value), values[some])
                found.borderline[limit, side] = lowest(near, _BORDERLINE)
    found.levels = {level.name: level_of(level, shard, columns) for level in asked.levels}
    if asked.clusters is not None:
        found.clusters = clusters_of(asked.clusters, shard, name, columns)
    return found


def ask(work: Work, shards: Sequence[Shard], asked: Questions, called: Mapping[str, str]) -> Answers:
    """Ask all shards, several at a time, on the workers where a Dask client is connected.

    Everything is computed before: this only reads.

    Parameters
    ----------
    work : Work
    shards : sequence of Shard
    asked : Questions
    called : mapping of str to str
        What columns are really called, where that is another name.
    """
    answers = Answers()
    for each in in_order(_AskShard(work, asked, called), enumerate(shards)):
        answers = answers.plus(each)
    return answers


@dataclass(frozen=True)
class _AskShard:
    work: Work
    asked: Questions
    called: Mapping[str, str]

    def __call__(self, item: tuple[int, Shard]) -> Answers:
        number, shard = item
        with ShardPass(self.work, shard, self.work.plan.needed((), everything=True)) as shard_pass:
            outcome = shard_pass.run()
            really = {name: self.called.get(name, name) for name in self.asked.columns}
            read = shard_pass.columns(really.values(), outcome.positions)
            columns = {name: read[there] for name, there in really.items()}
            return answers_of(self.asked, number, shard.name, columns, fates_of(shard_pass.state.plan, outcome))


def examples_of(several: Sequence[dict[Fate, NDArray[np.void]]]) -> dict[Fate, NDArray[np.void]]:
    """Put examples together, and let go of fates where there are too many."""
    found: dict[Fate, NDArray[np.void]] = {}
    for each in several:
        for fate, some in each.items():
            found[fate] = lowest(np.concatenate([found[fate], some]), EXAMPLES) if fate in found else some
    if len(found) > _FATES:  # what was kept or dropped stays: only failures are as many as the data likes
        order = sorted(found, key=lambda fate: (fate[0] == "failed", -len(found[fate]), fate))
        found = {fate: found[fate] for fate in order[:_FATES]}
    return found


def _numbers(quantity: str, columns: Mapping[str, pa.Array]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Rows that have a value, and these."""
    values = Expression(quantity).values(columns)
    rows = np.flatnonzero(values.is_valid().to_numpy(zero_copy_only=False))
    return rows, values.drop_null().to_numpy(zero_copy_only=False).astype(np.float64)
