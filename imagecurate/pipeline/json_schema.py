"""The JSON schema of pipeline files: what editors complete and underline."""

from __future__ import annotations

import inspect
from dataclasses import MISSING, fields
from typing import Any

from imagecurate.errors import StageError
from imagecurate.pipeline.pipeline import Pipeline
from imagecurate.pipeline.steps import PLAIN_STEPS, PlainStep
from imagecurate.plan.stage import Stage
from imagecurate.stages.installed import installed_stages, stage_named

__all__ = ["json_schema"]

_TEXT: dict[str, Any] = {"type": "string"}
_TEXTS: dict[str, Any] = {"type": "array", "items": _TEXT}
_NAMES: dict[str, Any] = {"type": "object", "additionalProperties": _TEXT}


def json_schema() -> dict[str, Any]:
    """Give the schema: every key, every installed stage with its parameters, every plain step."""
    schema: dict[str, Any] = Pipeline.model_json_schema(by_alias=True)
    schema |= {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "imagecurate pipeline"}
    schema["description"] = "A curation: see docs/pipeline.md."
    schema["required"] = ["input", "output"]
    definitions = schema.setdefault("$defs", {})
    steps = []
    for name in sorted({*installed_stages(), *PLAIN_STEPS}):
        parameters = _plain_parameters(PLAIN_STEPS[name]) if name in PLAIN_STEPS else _parameters(name, definitions)
        if parameters is not None:
            definitions[f"step:{name}"] = parameters
            steps.append((name, parameters))
    bare = [name for name, parameters in steps if not parameters.get("required")]
    named = [
        {
            "type": "object",
            "properties": {name: {"anyOf": [{"$ref": f"#/$defs/step:{name}"}, *_nothing(name in bare)]}},
            "required": [name],
            "additionalProperties": False,
        }
        for name, _ in steps
    ]
    items = {"anyOf": [{"type": "string", "enum": bare}, *named]}
    schema["properties"]["stages"] = {"anyOf": [{"type": "array", "items": items}, {"type": "null"}]}
    schema["properties"]["export"] = {"anyOf": [{"$ref": "#/$defs/ExportOptions"}, {"type": "null"}]}
    return schema


def _nothing(allowed: bool) -> list[dict[str, str]]:
    """``- Name:`` with nothing behind it is ``- Name``."""
    return [{"type": "null"}] if allowed else []


def _parameters(name: str, definitions: dict[str, Any]) -> dict[str, Any] | None:
    """Parameters of a stage; None for one of a package that cannot be imported, which hinders nobody else."""
    try:
        stage = stage_named(name)
    except StageError:
        return None
    if stage is None:
        return None
    schema = stage.model_json_schema()
    definitions.update(schema.pop("$defs", {}))
    for field, info in stage.model_fields.items():
        if info.exclude:
            schema["properties"].pop(field, None)
    return schema | {"description": _first_line(stage), "additionalProperties": False}


def _plain_parameters(kind: type[PlainStep]) -> dict[str, Any]:
    """Parameters of a step that is no stage: text, or lists and mappings of text."""
    properties, required = {}, []
    for field in fields(kind):
        forms = [_TEXT]
        forms += [_TEXTS] if "list" in str(field.type) else []
        forms += [_NAMES] if "dict" in str(field.type) else []
        forms += [{"type": "null"}] if field.default is None else []
        properties[field.name] = forms[0] if len(forms) == 1 else {"anyOf": forms}
        if field.default is MISSING:
            required.append(field.name)
    schema: dict[str, Any] = {"type": "object", "description": _first_line(kind), "properties": properties}
    return schema | {"required": required, "additionalProperties": False}


def _first_line(kind: type[Stage | PlainStep]) -> str:
    return (inspect.getdoc(kind) or "").partition("\n")[0]
