"""What exploration asks of a dataset: its rows, a column by name or expression, what to show and what to cover."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Self

import pyarrow as pa

from imagecurate.backend.machines import connected_client
from imagecurate.columns import CAPTION, DUPLICATE_OF, KEY, SAMPLE_ID, SHARD, SOURCE
from imagecurate.dataset.steps import Steps
from imagecurate.errors import ColumnNotFoundError, ExpressionError, ParameterError, listed, near_miss
from imagecurate.explore.blur import Blur, blur_of
from imagecurate.explore.kinds import is_number, is_vectors
from imagecurate.explore.levels import GROUP_OF
from imagecurate.explore.look import ALL, Look
from imagecurate.explore.rows import Rows
from imagecurate.expressions import Expression
from imagecurate.frame import ShardList, settle_mask
from imagecurate.plan.execute import in_order
from imagecurate.plan.facts import PixelFacts
from imagecurate.plan.plan import Plan
from imagecurate.plan.steps import Filtering, MaskStep, StageStep, WithColumnStep
from imagecurate.progress import Progress
from imagecurate.stages.image_digest import ImageDigest, PixelDigest
from imagecurate.stages.perceptual_hash import PerceptualHash

__all__ = ["Asking"]

#: Columns that a tile shows by itself.
_MOST_COLUMNS = 6
#: Stages whose columns it does not show unless asked: facts of the file, digests and hashes.
_DULL = (PixelFacts, ImageDigest, PixelDigest, PerceptualHash)


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
        _check_name(asked)
        if asked in self._plan.schema:
            return self, asked
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
        if not (is_number(kind) or dataset._is_truth(column)):
            raise ParameterError.because(
                f"{column!r} holds {kind}, but a threshold needs numbers",
                "ds.show(by=…) groups pictures by a column of any kind",
            )
        return dataset, column, _quoted(column) if dataset is self else f"({asked})"

    def _is_truth(self, column: str) -> bool:
        return bool(pa.types.is_boolean(self._plan.schema[column]))

    def _vectors(self, column: str | None) -> str:
        """The column of embeddings."""
        schema = self._plan.schema
        vectors = [name for name, kind in schema.items() if is_vectors(kind)]
        if column is not None:
            _check_name(column)
        else:
            column = vectors[0] if len(vectors) == 1 else "image_embedding"
        if column not in schema:
            hint = "run an embedder such as TimmImageEmbedder(...) or ThumbnailEmbedder() first"
            raise ColumnNotFoundError.among(column, schema, None if near_miss(column, schema) else hint)
        if column not in vectors:
            raise ParameterError(f"{column!r} holds {schema[column]}, but an embedding is a list of floats")
        return column

    def _blur(self, above: float | None, unscored: bool) -> Blur:
        return blur_of(self._plan, above, unscored)

    def _shown(self, first: Sequence[str], asked: Sequence[str] | None) -> list[str]:
        """Columns of a tile: those that were asked for, or what steps made for people to read."""
        if asked is not None:
            if not isinstance(asked, str | Sequence):
                raise ParameterError(f"columns is a list of names, but got {asked!r}")
            asked = [asked] if isinstance(asked, str) else list(asked)
            for name in asked:
                _check_name(name)
                if name not in self._plan.schema:
                    raise ColumnNotFoundError.among(name, self._plan.schema)
            return list(dict.fromkeys([*first, *asked]))
        several = len({shard.source for shard in self._shards}) > 1
        return list(dict.fromkeys([KEY, *([SOURCE] if several else []), *first, *self._made()[:_MOST_COLUMNS]]))

    def _made(self) -> list[str]:
        """Scalar columns that steps made, but for what the decoder says and what is for machines."""
        steps = [
            step
            for step in self._plan.steps
            if isinstance(step, WithColumnStep) or (isinstance(step, StageStep) and not isinstance(step.stage, _DULL))
        ]
        made = [(name, self._plan.schema[name]) for step in steps for name in step.adds(self._plan.schema)]
        return [
            name for name, kind in made if not pa.types.is_nested(kind) and not name.endswith((DUPLICATE_OF, GROUP_OF))
        ]

    def _empty(self, look: Look = ALL) -> str:
        """What to say where there is nothing to show."""
        if look.share < 1:
            return "No sample of those that were drawn can be shown; a larger sample=… draws more."
        filters = [step.title[1] for step in self._plan.steps if isinstance(step, Filtering)]
        if not filters:
            return "There is no sample to show."
        return f"No sample passes: {listed(filters)}. ds.counts() says how many each of them dropped."

    def _read_with(self, shown: Sequence[str], blur: Blur) -> list[str]:
        """All columns that are read for showing some."""
        names = [SAMPLE_ID, KEY, SOURCE, SHARD, CAPTION, *shown, *blur.columns]
        return [name for name in dict.fromkeys(names) if name in self._plan.schema]


def _quoted(column: str) -> str:
    """A column as an expression, in back-ticks only where it must be."""
    return str(Expression.parse(f"`{column.replace('`', '``')}`"))


def _check_name(name: Any) -> None:
    if not isinstance(name, str):
        raise ParameterError(f"a column is named by a text, not by {name!r}")
