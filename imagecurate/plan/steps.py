"""The plan: ordered stages and named filters, what columns exist after them, and which steps a question needs.

A plan is immutable and knows no data.  ``resolve`` names each stage's columns by what produced them; only that looks
at model weights.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from imagecurate.columns import IMAGE_ERROR, IMAGE_HEIGHT, IMAGE_WIDTH
from imagecurate.errors import ColumnExistsError, ColumnNotFoundError, ParameterError
from imagecurate.expressions import Expression
from imagecurate.images import DecodePolicy
from imagecurate.plan.facts import PixelFacts
from imagecurate.plan.stage import ImageStage, Stage
from imagecurate.store.fingerprint import digest

__all__ = ["FilterStep", "MaskStep", "Plan", "StageStep", "Step", "WithColumnStep"]

#: In a filter these mean the size of the decoded image, unless the data brought its own.
_PIXEL_NAMES = {"width": IMAGE_WIDTH, "height": IMAGE_HEIGHT}


@dataclass(frozen=True)
class StageStep:
    """A stage.

    ``rows`` names the rows that a dataset stage saw: its result is theirs alone.  ``fingerprint`` is known once the
    plan is resolved.
    """

    stage: Stage
    rows: str | None = None
    fingerprint: str | None = None
    #: Whether what it computes depends on incoming columns, once resolved.
    reads_metadata: bool = False


@dataclass(frozen=True)
class FilterStep:
    """A named filter: rows where the expression is not true are dropped."""

    expression: Expression
    name: str


@dataclass(frozen=True)
class WithColumnStep:
    """A column computed from others whenever it is read."""

    name: str
    expression: Expression


@dataclass(frozen=True)
class MaskStep:
    """A raw mask; its rows lie in the store under ``token``."""

    name: str
    token: str


Step = StageStep | FilterStep | WithColumnStep | MaskStep


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
    """

    inputs: pa.Schema
    inputs_fingerprint: str
    policy: DecodePolicy
    steps: tuple[Step, ...] = ()

    @functools.cached_property
    def producers(self) -> dict[str, int]:
        """For each column that a step makes, the number of the step."""
        return {name: number for number, step in enumerate(self.steps) for name in _columns_of(step)}

    @functools.cached_property
    def schema(self) -> dict[str, pa.DataType]:
        """All columns after the last step: incoming ones, then each step's."""
        schema = {field.name: field.type for field in self.inputs}
        for step in self.steps:
            if isinstance(step, StageStep):
                schema |= step.stage.adds()
            elif isinstance(step, WithColumnStep):
                schema[step.name] = step.expression.check(schema)
        return schema

    def with_stage(self, stage: Stage, rows: str | None = None) -> Plan:
        """Add a stage; ``rows`` names the rows that a dataset stage sees.

        Raises
        ------
        ColumnExistsError
            The stage would write a column that is there already.
        ColumnNotFoundError
            The stage reads a column that is not there.
        """
        plan = self._with_pixels() if isinstance(stage, ImageStage) else self
        for column in stage.adds():
            plan._refuse_existing(column, type(stage).__name__)
        for column in stage.reads():
            if column not in plan.schema:
                raise ColumnNotFoundError.among(column, plan.schema, _maker(column))
        stage.check_inputs({column: plan._stage_of(column) for column in stage.reads()})
        return plan._then(StageStep(stage, rows))

    def with_filter(self, text: str | Expression, name: str | None) -> Plan:
        """Add a named filter; the name defaults to the expression's text."""
        plan, expression = self._expression(text)
        expression.check_condition(plan.schema)
        return plan._then(FilterStep(expression, plan._filter_name(name, expression.text)))

    def with_mask(self, token: str, name: str | None) -> Plan:
        """Add a raw mask whose rows will lie in the store under ``token``."""
        masks = sum(isinstance(step, MaskStep) for step in self.steps)
        return self._then(MaskStep(self._filter_name(name, f"mask-{masks + 1}"), token))

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
            if isinstance(step, FilterStep | MaskStep):
                needed.add(number)
                needed |= self._behind(_reads(step))
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
            waiting += _reads(step)
            if isinstance(step, StageStep) and isinstance(step.stage, ImageStage):
                waiting.append(IMAGE_ERROR)  # the facts come with the pixels, and say which samples failed
        return needed

    @functools.cached_property
    def resolved(self) -> Plan:
        """The same plan with the fingerprint of every stage.

        Looks at model weights, which may fetch them.
        """
        if all(step.fingerprint for step in self.steps if isinstance(step, StageStep)):
            return self
        origins = {field.name: digest([self.inputs_fingerprint, str(field)]) for field in self.inputs}
        incoming = set(origins)  # columns that depend on incoming ones
        steps: list[Step] = []
        for step in self.steps:
            depends = bool(incoming & set(_reads(step)))
            if isinstance(step, StageStep):
                fingerprint = self._fingerprint(step, origins)
                depends = depends or step.rows is not None
                step = dataclasses.replace(step, fingerprint=fingerprint, reads_metadata=depends)
                origins |= dict.fromkeys(step.stage.adds(), fingerprint)
            elif isinstance(step, WithColumnStep):
                read = [origins[column] for column in step.expression.columns]
                origins[step.name] = digest([str(step.expression), read])
            if depends:
                incoming.update(_columns_of(step))
            steps.append(step)
        return dataclasses.replace(self, steps=tuple(steps))

    @functools.cached_property
    def fingerprint(self) -> str:
        """Name of all that decides rows and columns, given the shards."""
        inputs = [self.inputs_fingerprint, *(str(field) for field in self.inputs)]
        return digest([inputs, [_record(step) for step in self.resolved.steps]])

    def stage_record(self, number: int) -> dict[str, Any]:
        """What is written beside a stage's columns for people to read."""
        step = self.resolved.steps[number]
        if not isinstance(step, StageStep):
            raise TypeError(f"step {number} is no stage")
        return {
            "fingerprint": step.fingerprint,
            "stage": repr(step.stage),
            "adds": {name: str(kind) for name, kind in step.stage.adds().items()},
            "reads": list(step.stage.reads()),
            **step.stage.identity(),
        }

    def _fingerprint(self, step: StageStep, origins: Mapping[str, str]) -> str:
        inputs = {column: origins[column] for column in step.stage.reads()}
        if isinstance(step.stage, ImageStage):
            inputs["pixels"] = digest(self.policy.identity())
        if step.rows is not None:
            inputs["rows"] = step.rows
        return step.stage.fingerprint(inputs)

    def _expression(self, text: str | Expression) -> tuple[Plan, Expression]:
        expression = text if isinstance(text, Expression) else Expression.parse(text)
        plain = {name: target for name, target in _PIXEL_NAMES.items() if name not in self.schema}
        expression = expression.rename({name: plain[name] for name in expression.columns if name in plain})
        asks_pixels = any(column in expression.columns for column in PixelFacts(policy=self.policy).adds())
        plan = self._with_pixels() if asks_pixels else self
        for column in expression.columns:
            if column not in plan.schema and _maker(column) is not None:
                raise ColumnNotFoundError.among(column, plan.schema, _maker(column))
        return plan, expression

    def _with_pixels(self) -> Plan:
        if IMAGE_ERROR in self.schema:
            return self
        return self._then(StageStep(PixelFacts(policy=self.policy)))

    def _then(self, step: Step) -> Plan:
        return dataclasses.replace(self, steps=(*self.steps, step))

    def _filter_name(self, name: str | None, default: str) -> str:
        taken = {step.name for step in self.steps if isinstance(step, FilterStep | MaskStep)}
        if name is None:
            numbered = (default if count == 1 else f"{default} ({count})" for count in range(1, len(taken) + 2))
            return next(candidate for candidate in numbered if candidate not in taken)
        if name in taken:
            raise ParameterError.because(
                f"there is a filter named {name!r} already", "give each filter its own name: the ledger reports by it"
            )
        return name

    def _stage_of(self, column: str) -> Stage | None:
        number = self.producers.get(column)
        step = None if number is None else self.steps[number]
        return step.stage if isinstance(step, StageStep) else None

    def _refuse_existing(self, column: str, writer: str) -> None:
        if not isinstance(column, str) or not column or column.startswith("_"):
            raise ParameterError.because(
                f"{writer} cannot write a column named {column!r}",
                "a name is text that does not begin with an underscore: those are kept for internal columns",
            )
        if column not in self.schema:
            return
        if column in self.inputs.names:
            raise ColumnExistsError.because(
                f"{writer} would overwrite the column {column!r} that came with the data",
                f"give the new column another name, or filter on the {column!r} that is there",
            )
        raise ColumnExistsError.because(
            f"{writer} would write the column {column!r}, which {_describe(self.steps[self.producers[column]])} writes "
            "already",
            "give one of the two another column name",
        )


def _columns_of(step: Step) -> tuple[str, ...]:
    if isinstance(step, StageStep):
        return tuple(step.stage.adds())
    return (step.name,) if isinstance(step, WithColumnStep) else ()


def _reads(step: Step) -> tuple[str, ...]:
    if isinstance(step, StageStep):
        return step.stage.reads()
    return () if isinstance(step, MaskStep) else step.expression.columns


def _record(step: Step) -> Any:
    if isinstance(step, StageStep):
        return ["stage", step.fingerprint]
    if isinstance(step, MaskStep):
        return ["mask", step.name, step.token]
    return [type(step).__name__, step.name, str(step.expression)]


def _describe(step: Step) -> str:
    return type(step.stage).__name__ if isinstance(step, StageStep) else "with_column"


def _maker(column: str) -> str | None:
    makers = {
        "image_embedding": "run an embedder such as TimmImageEmbedder(...) first",
        "aesthetic_score": "run AestheticClassifier() first",
        "nsfw_score": "run NsfwClassifier() first",
    }
    return makers.get(column)
