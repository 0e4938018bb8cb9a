"""The plan: ordered steps, what columns exist after them, and which steps a question needs.

A plan is immutable and knows no data.  ``resolved`` names the columns of stages and joins by what produced them; only
that looks at model weights.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from imagecurate.columns import DUPLICATE_OF, IMAGE_ERROR, IMAGE_HEIGHT, IMAGE_WIDTH, IS_DUPLICATE
from imagecurate.errors import ColumnExistsError, ColumnNotFoundError, ParameterError
from imagecurate.expressions import Expression
from imagecurate.images import DecodePolicy
from imagecurate.plan.facts import PixelFacts
from imagecurate.plan.stage import ImageStage, Stage
from imagecurate.plan.steps import (
    Filtering,
    FilterStep,
    JoinStep,
    ListStep,
    MaskStep,
    StageStep,
    Step,
    Stored,
    WithColumnStep,
)
from imagecurate.shards.schema import RESERVED
from imagecurate.store import digest
from imagecurate.tables import IdList, Table

__all__ = ["Plan"]

#: In a filter these mean the size of the decoded image, unless the data brought its own.
_PIXEL_NAMES = {"width": IMAGE_WIDTH, "height": IMAGE_HEIGHT}

_MAKERS = {
    "image_embedding": "run an embedder such as TimmImageEmbedder(...) first",
    "aesthetic_score": "run AestheticClassifier() first",
    "nsfw_score": "run NsfwClassifier() first",
}


@dataclass(frozen=True)
class Plan:
    """Steps over incoming columns.

    Parameters
    ----------
    inputs : pyarrow.Schema
        Incoming columns, ``sample_id``, ``key``, ``source`` and ``shard`` first.
    inputs_fingerprint : str
        How the incoming columns are read.
    policy : DecodePolicy
        How bytes become pixels.
    steps : tuple of Step
    images : {"first", "all"}, default="first"
        Which images of a sample are rows: it decides what stands at a position of a shard.
    """

    inputs: pa.Schema
    inputs_fingerprint: str
    policy: DecodePolicy
    steps: tuple[Step, ...] = ()
    images: str = "first"

    @functools.cached_property
    def producers(self) -> dict[str, int]:
        """For each column that a step makes, the number of the step."""
        return self._columns[1]

    @functools.cached_property
    def schema(self) -> dict[str, pa.DataType]:
        """All columns after the last step: incoming ones, then each step's."""
        return self._columns[0]

    @functools.cached_property
    def _columns(self) -> tuple[dict[str, pa.DataType], dict[str, int]]:
        schema = {field.name: field.type for field in self.inputs}
        producers: dict[str, int] = {}
        for number, step in enumerate(self.steps):
            added = step.adds(schema)
            schema |= added
            producers |= dict.fromkeys(added, number)
        return schema, producers

    def with_stage(self, stage: Stage, rows: str | None = None) -> Plan:
        """Add a stage; ``rows`` names the rows that a dataset stage sees.

        Raises
        ------
        ColumnExistsError
            The stage would write a column that is there already.
        ColumnNotFoundError
            The stage reads a column that is not there.
        """
        plan = self._with_pixels() if _sees_pixels(stage) else self
        for column in stage.adds():
            plan._refuse_existing(column, type(stage).__name__)
        plan.check_reads(stage)
        return plan._then(StageStep(stage, rows))

    def check_reads(self, stage: Stage) -> None:
        """Raise unless what a stage reads is there, and is what it can use.

        Raises
        ------
        ColumnNotFoundError
            A column is not there.
        StageError
            It was made by something that the stage cannot use.
        """
        self._check_columns(stage.reads())
        stage.check_inputs({column: self.stage_of(column) for column in stage.reads()})

    def with_filter(self, text: str | Expression, name: str | None) -> Plan:
        """Add a named filter; the name defaults to the expression's text."""
        written = text if isinstance(text, Expression) else Expression.parse(text)
        plan, expression = self._expression(written)
        expression.check_condition(plan.schema)
        return plan._then(FilterStep(plan._step_name(name, written.text), expression))

    def with_mask(self, token: str, name: str | None) -> Plan:
        """Add a raw mask whose rows will lie in the store under ``token``."""
        masks = sum(isinstance(step, MaskStep) for step in self.steps)
        return self._then(MaskStep(self._step_name(name, f"mask-{masks + 1}"), token))

    def with_list(self, on: str, ids: IdList, name: str | None, *, keeps: bool) -> Plan:
        """Add a filter by a list of ids; the name defaults to ``exclude(…)`` or ``include(…)``."""
        self._check_columns([on])
        name = self._step_name(name, f"{'include' if keeps else 'exclude'}({on})")
        return self._then(ListStep(name, on, ids, keeps))

    def with_join(self, table: Table, on: Sequence[str], name: str | None = None) -> Plan:
        """Add the columns of a table, looked up by one or several columns that together are the id.

        The name defaults to ``join on …``.
        """
        self._check_columns(on)
        for column, (in_files, _) in table.columns.items():
            hint = f"leave it out by columns=[…], or rename it by columns={{{in_files!r}: 'another_name'}}"
            self._refuse_existing(column, "join", hint)
        return self._then(JoinStep(table, tuple(on), self._step_name(name, f"join on {', '.join(on)}")))

    def with_column(self, name: str, text: str | Expression) -> Plan:
        """Add a column that an expression computes."""
        plan, expression = self._expression(text)
        plan._refuse_existing(name, "with_column")
        expression.check(plan.schema)
        return plan._then(WithColumnStep(name, expression))

    def needed(self, columns: Iterable[str], *, everything: bool = False) -> frozenset[int]:
        """Numbers of the steps that must run to know the surviving rows and these columns of them.

        ``everything`` asks for all steps: only then is it known of each sample whether a stage failed it.
        """
        if everything:
            return frozenset(range(len(self.steps)))
        needed: set[int] = set()
        for number, step in enumerate(self.steps):
            if isinstance(step, Filtering):
                needed.add(number)
                needed |= self._behind(step.reads)
        return frozenset(needed | self._behind(columns))

    def _behind(self, columns: Iterable[str]) -> set[int]:
        needed: set[int] = set()
        waiting = list(columns)
        while waiting:
            number = self.producers.get(waiting.pop())
            if number is None or number in needed:
                continue
            needed.add(number)
            step = self.steps[number]
            waiting += step.reads
            if isinstance(step, StageStep) and _sees_pixels(step.stage):
                waiting.append(IMAGE_ERROR)  # the facts come with the pixels, and say which samples failed
        return needed

    @functools.cached_property
    def resolved(self) -> Plan:
        """The same plan with every stage settled, and the fingerprint of every stage and join.

        Looks at model weights, which may fetch them, and may ask the workers what they compute on.
        """
        if all(step.fingerprint for step in self.steps if isinstance(step, Stored)):
            return self
        origins = {field.name: digest([self.inputs_fingerprint, str(field)]) for field in self.inputs}
        incoming = set(origins)  # columns that depend on incoming ones
        steps: list[Step] = []
        for step in self.steps:
            depends = bool(incoming & set(step.reads))
            added = step.adds(self.schema)
            if isinstance(step, StageStep):
                step = dataclasses.replace(step, stage=step.settled)
            if isinstance(step, Stored):
                fingerprint = self._fingerprint(step, origins)
                depends = depends or (isinstance(step, StageStep) and step.rows is not None)
                step = dataclasses.replace(step, fingerprint=fingerprint, reads_metadata=depends)
                origins |= dict.fromkeys(added, fingerprint)
            elif isinstance(step, WithColumnStep):
                read = [origins[column] for column in step.reads]
                origins[step.name] = digest([str(step.expression), read])
            if depends:
                incoming.update(added)
            steps.append(step)
        return dataclasses.replace(self, steps=tuple(steps))

    @functools.cached_property
    def fingerprint(self) -> str:
        """Name of all that decides rows and columns, given the shards."""
        inputs = [self.inputs_fingerprint, *(str(field) for field in self.inputs)]
        return digest([inputs, [step.identity() for step in self.resolved.steps]])

    def _fingerprint(self, step: Stored, origins: Mapping[str, str]) -> str:
        inputs = {column: origins[column] for column in step.reads}
        if isinstance(step, JoinStep):
            return f"Join-{digest([step.table.identity(), inputs])}"
        if not isinstance(step, StageStep):
            raise TypeError(f"{step!r} has no fingerprint")
        if _sees_pixels(step.stage):
            inputs["pixels"] = digest(self.policy.identity())
        if isinstance(step.stage, ImageStage) and self.images != "first":
            inputs["images"] = self.images
        if step.rows is not None:
            inputs["rows"] = step.rows
        return step.stage.fingerprint(inputs)

    def _expression(self, text: str | Expression) -> tuple[Plan, Expression]:
        expression = text if isinstance(text, Expression) else Expression.parse(text)
        plain = {name: target for name, target in _PIXEL_NAMES.items() if name not in self.schema}
        expression = expression.rename({name: plain[name] for name in expression.columns if name in plain})
        if IS_DUPLICATE in expression.columns and IS_DUPLICATE not in self.schema:
            expression = expression.replace({IS_DUPLICATE: self._any_duplicate()})
        asks_pixels = any(column in expression.columns for column in PixelFacts(policy=self.policy).adds())
        plan = self._with_pixels() if asks_pixels else self
        for column in expression.columns:
            if column not in plan.schema and column in _MAKERS:
                raise ColumnNotFoundError.among(column, plan.schema, _MAKERS[column])
        return plan, expression

    def _any_duplicate(self) -> Expression:
        """True where any level of deduplication names a sample that the row duplicates."""
        marks = [name.replace("`", "``") for name in self.schema if name.endswith(DUPLICATE_OF)]
        if not marks:
            hint = "run ExactDeduplicator(), PerceptualDeduplicator() or SemanticDeduplicator(...) first"
            raise ColumnNotFoundError.among(IS_DUPLICATE, self.schema, hint)
        return Expression(" or ".join(f"`{name}` is not null" for name in marks))

    def _with_pixels(self) -> Plan:
        if isinstance(self.stage_of(IMAGE_ERROR), PixelFacts):
            return self
        facts = PixelFacts(policy=self.policy)
        for column in facts.adds():
            self._refuse_overwriting(column, "decoding")
        return self._then(StageStep(facts))

    def _then(self, step: Step) -> Plan:
        return dataclasses.replace(self, steps=(*self.steps, step))

    def _step_name(self, name: str | None, default: str) -> str:
        taken = {step.name: step.title[0] for step in self.steps if isinstance(step, Filtering | JoinStep)}
        if name is None:
            numbered = (default if count == 1 else f"{default} ({count})" for count in range(1, len(taken) + 2))
            return next(candidate for candidate in numbered if candidate not in taken)
        if not isinstance(name, str) or not name:
            raise ParameterError(f"a step is named by a text, not by {name!r}")
        if name in taken:
            raise ParameterError.because(
                f"there is a {taken[name]} named {name!r} already",
                "give each filter and join its own name: ledger and counts report by it",
            )
        return name

    def stage_of(self, column: str) -> Stage | None:
        """The stage that makes a column; None where it came with the data, or another kind of step makes it."""
        number = self.producers.get(column)
        step = None if number is None else self.steps[number]
        return step.stage if isinstance(step, StageStep) else None

    def _check_columns(self, columns: Iterable[str]) -> None:
        for column in columns:
            if column not in self.schema:
                raise ColumnNotFoundError.among(column, self.schema, _MAKERS.get(column))

    def _refuse_existing(self, column: str, writer: str, hint: str | None = None) -> None:
        if not isinstance(column, str) or not column or column.startswith("_"):
            raise ParameterError.because(
                f"{writer} cannot write a column named {column!r}",
                hint or "a name is text that does not begin with an underscore: those are kept for internal columns",
            )
        self._refuse_overwriting(column, writer, hint)
        if column in RESERVED:
            raise ParameterError.because(
                f"{writer} cannot write a column named {column!r}, as one is that imagecurate writes itself",
                hint or "give the column another name",
            )

    def _refuse_overwriting(self, column: str, writer: str, hint: str | None = None) -> None:
        if column not in self.schema:
            return
        if column in self.inputs.names:
            raise ColumnExistsError.because(
                f"{writer} would overwrite the column {column!r} that came with the data",
                hint or f"give the new column another name, or filter on the {column!r} that is there",
            )
        maker = self.steps[self.producers[column]]
        named = type(maker.stage).__name__ if isinstance(maker, StageStep) else maker.title[1]
        raise ColumnExistsError.because(
            f"{writer} would write the column {column!r}, which {named} writes already",
            hint or "give one of the two another column name",
        )


def _sees_pixels(stage: Stage) -> bool:
    return isinstance(stage, ImageStage) and stage.looks_at == "pixels"
