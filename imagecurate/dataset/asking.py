"""What exploration asks of a dataset: its rows, a column by name or expression, what to show and what to cover."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Self

import pyarrow as pa

from imagecurate.columns import CAPTION, KEY, SAMPLE_ID, SHARD, SOURCE
from imagecurate.dataset.steps import Steps
from imagecurate.errors import ColumnNotFoundError, ExpressionError, ParameterError, near_miss
from imagecurate.explore.rows import Rows
from imagecurate.explore.tiles import Blur
from imagecurate.expressions import Expression
from imagecurate.frame import ShardList, settle_mask
from imagecurate.plan.execute import connected_client, in_order
from imagecurate.plan.facts import PixelFacts
from imagecurate.plan.plan import Plan
from imagecurate.plan.steps import MaskStep, StageStep, WithColumnStep
from imagecurate.progress import Progress
from imagecurate.stages.laion import NsfwClassifier

__all__ = ["Asking", "check_count", "check_keep", "share_of"]

#: NSFW scores that come with the data: ours, and that of LAION-5B.
_NSFW_NAMES = ("nsfw_score", "punsafe")
#: Columns that a tile shows by itself.
_MOST_COLUMNS = 6


class Asking(Steps):
    """What the methods for looking and choosing share."""

    def _rows(self, plan: Plan | None = None) -> Rows:
        """The rows for a look at all of them."""
        self._settle()
        return self._rows_unsettled(plan)

    def _rows_unsettled(self, plan: Plan | None = None) -> Rows:
        work = self._ready if plan is None else dataclasses.replace(self._work, plan=plan.resolved)
        return Rows(work, self._shards, self._run_tasks, self._settle_shard)

    def _run_tasks(
        self, title: str | None, task: Any, items: Iterable[Any], one_by_one: int | None = None
    ) -> Iterator[Any]:
        """Run tasks of exploration, with progress; each gives a result and what it took."""
        items = items if one_by_one is not None else list(items)
        total = one_by_one if one_by_one is not None else len(items)  # type: ignore[arg-type]
        with Progress(title or "", total, None if title else False) as bar:
            if connected_client() is None:
                task = dataclasses.replace(task, on_block=bar.block)
            groups = ([item] for item in items) if one_by_one is not None else [items]
            for group in groups:
                for result, stats in in_order(task, group):
                    bar.shard(stats)
                    self.all_runs.add(stats)
                    yield result

    def _settle_shard(self, number: int) -> None:
        """Put what each raw mask keeps of one shard into the store."""
        steps = [step for step in self._plan.steps if isinstance(step, MaskStep)]
        for step, survivors in zip(steps, self._survivors, strict=True):
            one = ShardList([self._shards[number]])
            settle_mask(self._work.store, step.token, survivors.partitions[[number]], one)

    def _column(self, asked: str) -> tuple[Self, str]:
        """A dataset that has a column, and its name: an expression becomes one."""
        if asked in self._plan.schema:
            return self, asked
        if not isinstance(asked, str):
            raise ParameterError(f"a column is named by a text, not by {asked!r}")
        try:
            Expression.parse(asked)
        except ExpressionError:
            if re.fullmatch(r"[\w .-]+", asked):  # the name of a column, and no attempt at more
                raise ColumnNotFoundError.among(asked, self._plan.schema) from None
            raise
        taken = next(name for name in (asked, f"({asked})") if not name.startswith("_"))
        return self.with_column(taken, asked), taken

    def _quantity(self, asked: str) -> tuple[Self, str, str]:
        """The same of numbers, and the column as an expression over the dataset that it was asked of."""
        dataset, column = self._column(asked)
        kind = dataset._plan.schema[column]
        kind = kind.value_type if pa.types.is_dictionary(kind) else kind
        is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
        if not (is_number or pa.types.is_boolean(kind)):
            raise ParameterError.because(
                f"{column!r} holds {kind}, but a threshold needs numbers",
                "ds.show(by=…) groups pictures by a column of any kind",
            )
        return dataset, column, _quoted(column) if dataset is self else f"({asked})"

    def _vectors(self, column: str | None) -> str:
        """The column of embeddings."""
        schema = self._plan.schema
        vectors = [
            name for name, kind in schema.items() if pa.types.is_list(kind) and pa.types.is_floating(kind.value_type)
        ]
        if column is None:
            column = vectors[0] if len(vectors) == 1 else "image_embedding"
        if column not in schema:
            hint = "run an embedder such as TimmImageEmbedder(...) or ThumbnailEmbedder() first"
            raise ColumnNotFoundError.among(column, schema, None if near_miss(column, schema) else hint)
        if column not in vectors:
            raise ParameterError(f"{column!r} holds {schema[column]}, but an embedding is a list of floats")
        return column

    def _blur(self, above: float | None, unscored: bool) -> Blur:
        if above is not None and (isinstance(above, bool) or not isinstance(above, int | float)):
            raise ParameterError(f"blur is an NSFW score above which pictures are blurred, or None, but got {above!r}")
        steps = self._plan.steps
        stages = [step.stage for step in steps if isinstance(step, StageStep)]
        made = [stage.pred_column for stage in stages if isinstance(stage, NsfwClassifier)]
        there = [name for name in _NSFW_NAMES if name in self._plan.schema]
        return Blur(next(iter([*made, *there]), None), above, unscored)

    def _shown(self, first: Sequence[str], asked: Sequence[str] | None) -> list[str]:
        """Columns of a tile: those that were asked for, or what steps made of numbers, truth values and text."""
        if asked is not None:
            asked = [asked] if isinstance(asked, str) else list(asked)
            for name in asked:
                if name not in self._plan.schema:
                    raise ColumnNotFoundError.among(name, self._plan.schema)
            return list(dict.fromkeys([*first, *asked]))
        several = len({shard.source for shard in self._shards}) > 1
        return list(dict.fromkeys([KEY, *([SOURCE] if several else []), *first, *self._made()[:_MOST_COLUMNS]]))

    def _made(self) -> list[str]:
        """Scalar columns that steps made."""
        facts = [
            step for step in self._plan.steps if isinstance(step, StageStep) and isinstance(step.stage, PixelFacts)
        ]
        dull = {name for step in facts for name in step.adds({})}
        steps = [step for step in self._plan.steps if isinstance(step, StageStep | WithColumnStep)]
        made = [(name, self._plan.schema[name]) for step in steps for name in step.adds(self._plan.schema)]
        return [
            name
            for name, kind in made
            if name not in dull
            and not pa.types.is_nested(kind)
            and not name.endswith(("_duplicate_of", "_duplicate_group"))
        ]

    def _read_with(self, shown: Sequence[str], blur: Blur) -> list[str]:
        """All columns that are read for showing some."""
        names = [SAMPLE_ID, KEY, SOURCE, SHARD, CAPTION, *shown, *blur.columns]
        return [name for name in dict.fromkeys(names) if name in self._plan.schema]


def _quoted(column: str) -> str:
    """A column as an expression, in back-ticks only where it must be."""
    return str(Expression.parse(f"`{column.replace('`', '``')}`"))


def share_of(sample: float | None) -> float | None:
    """Check a share of the rows; None stays None."""
    if sample is None:
        return None
    if isinstance(sample, bool) or not isinstance(sample, int | float) or not 0 < sample <= 1:
        raise ParameterError.because(
            f"sample is a share of the rows, above 0 and at most 1, but got {sample!r}", "sample=0.01 looks at 1 %"
        )
    return float(sample)


def check_keep(keep: Any) -> None:
    """Check a share of the samples to keep."""
    if isinstance(keep, bool) or not isinstance(keep, int | float) or not 0 < keep <= 1:
        raise ParameterError.because(
            f"keep is a share of the samples, above 0 and at most 1, but got {keep!r}", "keep=0.3 keeps 30 %"
        )


def check_count(count: Any, name: str) -> None:
    """Check the number of something to show."""
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise ParameterError(f"{name} is a whole number of at least 1, but got {count!r}")
