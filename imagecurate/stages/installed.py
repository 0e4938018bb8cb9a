"""Stages by the names that a pipeline and the command line know: the built-in ones, and those of installed packages."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping
from importlib import metadata

import imagecurate.stages
from imagecurate.errors import ParameterError, StageError
from imagecurate.plan.stage import Stage

__all__ = ["GROUP", "familiar_stages", "installed_stages", "name_of", "stage_named"]

#: The entry-point group in which packages announce stages.
GROUP = "imagecurate.stages"

#: Other tools' names for ours: a pipeline may use them, but nobody is told to.
_FAMILIAR = ("ImageAestheticFilterStage", "ImageEmbeddingStage", "ImageNSFWFilterStage")


@functools.cache
def installed_stages() -> Mapping[str, type[Stage] | metadata.EntryPoint]:
    """Stages that a pipeline may name: the built-in ones, and those of installed packages as they announce them."""
    announced = {entry.name: entry for entry in metadata.entry_points(group=GROUP)}
    public = {name: getattr(imagecurate.stages, name) for name in imagecurate.stages.__all__}
    built_in = {name: value for name, value in public.items() if isinstance(value, type) and _fits_in_a_file(value)}
    return announced | built_in


@functools.cache
def familiar_stages() -> Mapping[str, type[Stage]]:
    """Stages under the names that other tools have for them."""
    from imagecurate.stages import curator

    return {name: getattr(curator, name) for name in _FAMILIAR}


def stage_named(name: str) -> type[Stage] | None:
    """Give the stage of a name; that of a package is imported now, so that a broken one harms no other.

    Returns
    -------
    type or None
        None where no stage has this name.

    Raises
    ------
    StageError
        What a package announces cannot be imported, or is no stage.
    """
    found = installed_stages().get(name) or familiar_stages().get(name)
    if found is None or isinstance(found, type):
        return found
    where = f"stage {name!r}, which is announced as {found.value!r}" + (f" by {found.dist.name}" if found.dist else "")
    try:
        stage = found.load()
    except Exception as error:  # of whatever the package does when it is imported
        raise StageError(f"{where}, cannot be imported: {type(error).__name__}: {error}") from error
    if not isinstance(stage, type) or not issubclass(stage, Stage):
        raise StageError(f"{where}, is no stage but {stage!r}")
    return stage


def name_of(stage: type[Stage]) -> str:
    """Give the name by which a pipeline knows a stage.

    Raises
    ------
    ParameterError
        It knows none: the stage is from a notebook or a script, or of a package that does not announce it.
    """
    for name, found in {**familiar_stages(), **installed_stages()}.items():
        if found is stage:
            return name
        announced = None if isinstance(found, type) else found.value
        if announced == f"{stage.__module__}:{stage.__qualname__}" and stage_named(name) is stage:
            return name
    raise ParameterError.because(
        f"the stage {stage.__name__} cannot be written to a pipeline, which may name installed stages alone",
        f"put it into a package that announces it in the entry-point group {GROUP!r}",
    )


def _fits_in_a_file(value: type) -> bool:
    """True for a stage whose parameters are all plain values: one that needs another dataset is for Python."""
    if not issubclass(value, Stage) or inspect.isabstract(value):
        return False
    return not any(field.is_required() and field.exclude for field in value.model_fields.values())
