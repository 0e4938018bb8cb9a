"""What a pipeline may name under ``stages``: stages that are installed, and the plain steps of a dataset."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from importlib import metadata
from typing import Any, TypeAlias

from imagecurate.dataset import ImageTextPairDataset
from imagecurate.errors import ParameterError, listed, near_miss
from imagecurate.expressions import Expression
from imagecurate.pipeline.source import QUOTE, misread
from imagecurate.plan.stage import Stage

__all__ = ["Filter", "Step", "WithColumn", "installed_stages", "step_of"]

Step: TypeAlias = Callable[[ImageTextPairDataset], ImageTextPairDataset]

_BUILT_IN = ("AestheticClassifier", "NsfwClassifier", "ThumbnailEmbedder", "TimmImageEmbedder")


@functools.cache
def installed_stages() -> Mapping[str, type[Stage]]:
    """Stages that a pipeline may name: the built-in ones and those of installed packages."""
    import imagecurate.stages

    found: dict[str, type[Stage]] = {name: getattr(imagecurate.stages, name) for name in _BUILT_IN}
    for entry in metadata.entry_points(group="imagecurate.stages"):
        found.setdefault(entry.name, entry.load())
    return found


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


_PLAIN_STEPS: dict[str, type[Filter | WithColumn]] = {"Filter": Filter, "WithColumn": WithColumn}


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
    return stages[name](**parameters)


def _plain_step(kind: type[Filter | WithColumn], parameters: Mapping[str, Any]) -> Step:
    """Make a step that is no stage; all of its parameters are text."""
    given = {parameter: value for parameter, value in parameters.items() if value is not None}
    takes = [field.name for field in fields(kind)]
    for parameter, value in given.items():
        if parameter not in takes:
            guess = near_miss(parameter, takes)
            hint = f"did you mean {guess!r}?" if guess else f"its parameters are {listed(takes)}"
            raise ParameterError.because(f"{kind.__name__} has no parameter {parameter!r}", hint)
        if not isinstance(value, str):
            message = f"{kind.__name__}: {parameter} should be text, but is {value!r:.200}"
            raise ParameterError.because(message, QUOTE if misread(value) else None)
    for parameter in takes:
        if parameter not in given and not hasattr(kind, parameter):  # a default is an attribute of the class
            raise ParameterError(f"{kind.__name__} needs the parameter {parameter!r}")
    return kind(**given)
