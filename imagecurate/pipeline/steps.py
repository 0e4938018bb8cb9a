"""What a pipeline may name under ``stages``: stages that are installed, and the plain steps of a dataset."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from importlib import metadata
from typing import Any, TypeAlias

from imagecurate.dataset import ImageTextPairDataset
from imagecurate.errors import ParameterError, StageError, listed, near_miss
from imagecurate.expressions import Expression
from imagecurate.pipeline.source import QUOTE, misread
from imagecurate.plan.stage import Stage

__all__ = [
    "DropDuplicates",
    "Exclude",
    "Filter",
    "Include",
    "Join",
    "Step",
    "WithColumn",
    "installed_stages",
    "step_of",
]

Step: TypeAlias = Callable[[ImageTextPairDataset], ImageTextPairDataset]

_BUILT_IN = (
    "AestheticClassifier",
    "Deduplicate",
    "ExactDeduplicator",
    "ImageDigest",
    "NsfwClassifier",
    "PerceptualDeduplicator",
    "PerceptualHash",
    "PixelDigest",
    "SemanticDeduplicator",
    "ThumbnailEmbedder",
    "TimmImageEmbedder",
)


@functools.cache
def installed_stages() -> Mapping[str, type[Stage] | metadata.EntryPoint]:
    """Stages that a pipeline may name: the built-in ones, and those of installed packages as they announce them."""
    import imagecurate.stages

    announced = {entry.name: entry for entry in metadata.entry_points(group="imagecurate.stages")}
    return announced | {name: getattr(imagecurate.stages, name) for name in _BUILT_IN}


def _stage(name: str) -> type[Stage]:
    """Give the stage of a name; that of a package is imported now, so that a broken one harms no other.

    Raises
    ------
    StageError
        What a package announces cannot be imported, or is no stage.
    """
    found = installed_stages()[name]
    if isinstance(found, type):
        return found
    where = f"stage {name!r}, which is announced as {found.value!r}" + (f" by {found.dist.name}" if found.dist else "")
    try:
        stage = found.load()
    except Exception as error:
        raise StageError(f"{where}, cannot be imported: {type(error).__name__}: {error}") from error
    if not isinstance(stage, type) or not issubclass(stage, Stage):
        raise StageError(f"{where}, is no stage but {stage!r}")
    return stage


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


_PlainStep: TypeAlias = Filter | WithColumn | DropDuplicates | Join | Exclude

_PLAIN_STEPS: dict[str, type[_PlainStep]] = {
    kind.__name__: kind for kind in (Filter, WithColumn, DropDuplicates, Join, Exclude, Include)
}


def step_of(entry: Any) -> Step:
    """Make a step from its entry in a pipeline: a name, or a mapping of one name to its parameters.

    Raises
    ------
    ParameterError
        The entry has another form, or an unknown name, or a parameter that the step does not take.
    ExpressionError
        The text of a filter or column is no expression.
    """
    one = {entry: None} if isinstance(entry, str) else entry
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
    if name in _PLAIN_STEPS:
        return _plain_step(_PLAIN_STEPS[name], parameters)
    stages = installed_stages()
    if name not in stages:
        known = [*stages, *_PLAIN_STEPS]
        guess = near_miss(str(name), known)
        message = f"unknown stage {name!r}" + (f"; did you mean {guess!r}?" if guess else "")
        raise ParameterError.because(message, None if guess else f"installed are {listed(sorted(known), 30)}")
    return _stage(name)(**parameters)


def _plain_step(kind: type[_PlainStep], parameters: Mapping[str, Any]) -> Step:
    """Make a step that is no stage; its parameters are text, or lists and mappings of text."""
    given = {parameter: value for parameter, value in parameters.items() if value is not None}
    takes = {field.name: field for field in fields(kind)}
    for parameter, value in given.items():
        if parameter not in takes:
            guess = near_miss(parameter, takes)
            hint = f"did you mean {guess!r}?" if guess else f"its parameters are {listed(takes)}"
            raise ParameterError.because(f"{kind.__name__} has no parameter {parameter!r}", hint)
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
