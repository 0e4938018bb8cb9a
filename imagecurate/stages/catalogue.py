"""What is to be known of each stage before it is used: kind, columns, parameters, and the memory that it took."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from imagecurate.plan.stage import ColumnStage, DatasetStage, ImageStage, Stage
from imagecurate.stages.installed import installed_stages, stage_named
from imagecurate.stages.memory import MEASURED, Measured

__all__ = ["Parameter", "StageEntry", "catalogue"]

_BOUNDS = {"exclusiveMinimum": ">", "minimum": ">=", "exclusiveMaximum": "<", "maximum": "<="}
_KINDS = {ImageStage: "image", ColumnStage: "column", DatasetStage: "dataset"}


@dataclass(frozen=True)
class Parameter:
    """A parameter of a stage; ``default`` is None with ``required``."""

    name: str
    type: str
    required: bool
    default: Any


@dataclass(frozen=True)
class StageEntry:
    """A stage.

    Attributes
    ----------
    name : str
    kind : str
        ``"image"`` (sees pixels), ``"column"`` (sees columns of some rows), ``"dataset"`` (sees columns of all rows) or
        ``"several"`` (stands for several stages).
    summary : str
        First line of its documentation.
    reads, adds : list of str
        Columns, with every parameter at its default.
    parameters : list of Parameter
    memory : Measured or None
        None where nobody measured.
    """

    name: str
    kind: str
    summary: str
    reads: list[str]
    adds: list[str]
    parameters: list[Parameter]
    memory: Measured | None


def catalogue() -> list[StageEntry]:
    """Give every installed stage, by kind and name.

    Raises
    ------
    StageError
        A package announces a stage that cannot be imported.
    """
    found = [(name, stage_named(name)) for name in sorted(installed_stages())]
    entries = [_entry(name, stage) for name, stage in found if stage is not None]
    order = [*_KINDS.values(), "several"]
    return sorted(entries, key=lambda entry: order.index(entry.kind))


def _entry(name: str, stage: type[Stage]) -> StageEntry:
    usual = _with_defaults(stage)
    kind = next((kind for base, kind in _KINDS.items() if issubclass(stage, base)), "several")
    properties = stage.model_json_schema()["properties"]
    parameters = [
        Parameter(field, _type_of(properties[field]), info.is_required(), None if info.is_required() else info.default)
        for field, info in stage.model_fields.items()
        if not info.exclude
    ]
    summary = (inspect.getdoc(stage) or "").partition("\n\n")[0].replace("\n", " ")
    return StageEntry(name, kind, summary, list(usual.reads()), list(usual.adds()), parameters, MEASURED.get(name))


def _with_defaults(stage: type[Stage]) -> Stage:
    """Make a stage without the parameters that it needs, and without what looks at them: only for its columns."""
    made = stage.__new__(stage)
    defaults = {name: info.default for name, info in stage.model_fields.items() if not info.is_required()}
    object.__setattr__(made, "__dict__", defaults)
    return made


def _type_of(schema: Mapping[str, Any]) -> str:
    """Write the type of a parameter, as its JSON schema has it.

    >>> _type_of({"anyOf": [{"type": "number", "exclusiveMinimum": 0, "maximum": 1}, {"type": "null"}]})
    'number > 0, <= 1, or null'
    """
    if "anyOf" in schema:
        return ", or ".join(_type_of(each) for each in schema["anyOf"])
    if "enum" in schema or "const" in schema:
        return " | ".join(json.dumps(value) for value in schema.get("enum", [schema.get("const")]))
    kind = str(schema.get("type", "any"))
    if kind == "array":
        kind = f"list of {_type_of(schema.get('items', {}))}"
    bounds = [f"{sign} {schema[name]:g}" for name, sign in _BOUNDS.items() if name in schema]
    return " ".join([kind, ", ".join(bounds)]).strip()
