"""What a pipeline may name under ``stages``: stages that are installed, and the plain steps of a dataset."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, TypeAlias

from imagecurate.dataset import ImageTextPairDataset
from imagecurate.dataset.yaml import entry_of
from imagecurate.errors import ParameterError, listed, near_miss
from imagecurate.expressions import Expression
from imagecurate.pipeline.renamed import our_name
from imagecurate.pipeline.source import QUOTE, misread
from imagecurate.plan.stage import Stage
from imagecurate.stages.installed import installed_stages, stage_named

__all__ = [
    "PLAIN_STEPS",
    "DropDuplicates",
    "Exclude",
    "Filter",
    "Include",
    "Join",
    "PlainStep",
    "Step",
    "WithColumn",
    "step_entry",
    "step_of",
    "title_of",
]


@dataclass(frozen=True)
class Filter:
    """Keep the samples for which an expression holds, as ``ds.filter`` does."""

    expr: str
    name: str | None = None

    def __post_init__(self) -> None:
        Expression.parse(self.expr)

    def __call__(self, dataset: ImageTextPairDataset) -> ImageTextPairDataset:
        """Add the filter to the plan of a dataset."""
        return dataset.filter(self.expr, name=self.name)


@dataclass(frozen=True)
class WithColumn:
    """Add a column that an expression computes, as ``ds.with_column`` does."""

    name: str
    expr: str

    def __post_init__(self) -> None:
        Expression.parse(self.expr)

    def __call__(self, dataset: ImageTextPairDataset) -> ImageTextPairDataset:
        """Add the column to the plan of a dataset."""
        return dataset.with_column(self.name, self.expr)


@dataclass(frozen=True)
class DropDuplicates:
    """Drop what any deduplicator marked, as ``ds.drop_duplicates`` does."""

    def __call__(self, dataset: ImageTextPairDataset) -> ImageTextPairDataset:
        """Add the filter to the plan of a dataset."""
        return dataset.drop_duplicates()


@dataclass(frozen=True)
class Join:
    """Add columns of parquet files that lie elsewhere, as ``ds.join`` does."""

    path: str | list[str]
    on: str | list[str]
    columns: list[str] | dict[str, str] | None = None
    right_on: str | list[str] | None = None
    name: str | None = None

    def __call__(self, dataset: ImageTextPairDataset) -> ImageTextPairDataset:
        """Add the join to the plan of a dataset."""
        return dataset.join(self.path, self.on, self.columns, right_on=self.right_on, name=self.name)


@dataclass(frozen=True)
class Exclude:
    """Drop the samples whose id is in a file, as ``ds.exclude`` does."""

    path: str
    on: str
    name: str | None = None

    def __call__(self, dataset: ImageTextPairDataset) -> ImageTextPairDataset:
        """Add the filter to the plan of a dataset."""
        return dataset.exclude(self.path, self.on, self.name)


@dataclass(frozen=True)
class Include(Exclude):
    """Keep only the samples whose id is in a file, as ``ds.include`` does."""

    def __call__(self, dataset: ImageTextPairDataset) -> ImageTextPairDataset:
        """Add the filter to the plan of a dataset."""
        return dataset.include(self.path, self.on, self.name)


PlainStep: TypeAlias = Filter | WithColumn | DropDuplicates | Join | Exclude
#: What a pipeline does with a dataset, one after the other.
Step: TypeAlias = Stage | PlainStep

PLAIN_STEPS: dict[str, type[PlainStep]] = {
    kind.__name__: kind for kind in (Filter, WithColumn, DropDuplicates, Join, Exclude, Include)
}


def step_of(entry: Any) -> Step:
    """Make a step from its entry in a pipeline: a name, or a mapping of one name to its parameters.

    What is a step already, as in a pipeline that is made in Python, stays what it is.

    Raises
    ------
    ParameterError
        The entry has another form, or an unknown name, or a parameter that the step does not take.
    ExpressionError
        The text of a filter or column is no expression.
    StageError
        The stage belongs to a package that cannot be imported.
    """
    if isinstance(entry, Step):
        return entry
    one = {entry: None} if isinstance(entry, str) else entry
    if isinstance(one, dict) and "_target_" in one:
        name = str(one["_target_"]).rpartition(".")[2]
        raise our_name(name) or ParameterError.because(
            f"'_target_' is the form of another tool; a step is one name with its parameters, as in '- {name}: {{…}}'",
            "docs/migration.md has both forms side by side",
        )
    if not isinstance(one, dict) or len(one) != 1:
        found = listed(one) if isinstance(one, dict) and one else f"{entry!r:.200}"
        raise ParameterError.because(
            f"a step is one name, or one name with its parameters, but found {found}",
            "as in '- ThumbnailEmbedder' or '- Filter: {expr: width >= 200}', each with its own '- '",
        )
    ((name, given),) = one.items()
    parameters = {} if given is None else given
    if not isinstance(parameters, dict):
        raise ParameterError.because(
            f"the parameters of {name} must be a mapping, but are {given!r:.200}", f"{name}: {{parameter: value}}"
        )
    for parameter in parameters:
        if not isinstance(parameter, str):
            raise ParameterError(f"{name} takes its parameters by name, but was given {parameter!r}")
    if name in PLAIN_STEPS:
        return _plain_step(PLAIN_STEPS[name], parameters)
    stage = stage_named(name)
    if stage is None:
        raise _unknown(name)
    return stage(**parameters)


def step_entry(step: Step) -> Any:
    """Give the entry of a step in a pipeline file; the opposite of `step_of`.

    Raises
    ------
    ParameterError
        The step is a stage that is not installed, or holds what no file can.

    Examples
    --------
    >>> step_entry(Filter("width >= 200")), step_entry(DropDuplicates())
    ({'Filter': {'expr': 'width >= 200'}}, 'DropDuplicates')
    """
    if isinstance(step, Stage):
        return entry_of(step)
    given = {field.name: getattr(step, field.name) for field in fields(step)}
    changed = {field.name: given[field.name] for field in fields(step) if given[field.name] != field.default}
    return {type(step).__name__: changed} if changed else type(step).__name__


def title_of(step: Step) -> str:
    """Give the name by which people call a step: that of its filter or column, else of its class."""
    return getattr(step, "name", None) or type(step).__name__


def _unknown(name: Any) -> ParameterError:
    elsewhere = our_name(str(name).rpartition(".")[2])
    if elsewhere is not None:
        return elsewhere
    known = [*installed_stages(), *PLAIN_STEPS]
    guess = near_miss(str(name), known)
    message = f"unknown stage {name!r}" + (f"; did you mean {guess!r}?" if guess else "")
    return ParameterError.because(message, None if guess else f"installed are {listed(sorted(known), 30)}")


def _plain_step(kind: type[PlainStep], parameters: Mapping[str, Any]) -> PlainStep:
    """Make a step that is no stage; its parameters are text, or lists and mappings of text."""
    takes = {field.name: field for field in fields(kind)}
    for parameter, value in parameters.items():
        if parameter not in takes:
            guess = near_miss(parameter, takes)
            hint = f"did you mean {guess!r}?" if guess else f"its parameters are {listed(takes)}"
            if value is None and re.search(r"[^\w-]", parameter):  # what is behind the comma of {expr: min(a, b) > 3}
                hint = "between { and } a comma begins the next parameter: put an expression that has one in quotes"
            raise ParameterError.because(f"{kind.__name__} has no parameter {parameter!r}", hint)
    given = {parameter: value for parameter, value in parameters.items() if value is not None}
    for parameter, value in given.items():
        allowed = [name for name in ("list", "dict") if name in str(takes[parameter].type)]
        texts = [value]
        if type(value).__name__ in allowed:
            texts = [*value, *value.values()] if isinstance(value, dict) else value
        for text in texts:
            if not isinstance(text, str):
                forms = {"list": "a list of text", "dict": "a mapping of text to text"}
                should = " or ".join(["text", *(forms[name] for name in allowed)])
                message = f"{kind.__name__}: {parameter} should be {should}, but is {value!r:.200}"
                raise ParameterError.because(message, QUOTE if misread(text) else None)
    for parameter, field in takes.items():
        if parameter not in given and field.default is MISSING:
            raise ParameterError(f"{kind.__name__} needs the parameter {parameter!r}")
    return kind(**given)
