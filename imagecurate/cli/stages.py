"""``imagecurate stages``: every stage, what it reads and adds, and its parameters."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imagecurate.cli.command import command
from imagecurate.cli.display import as_bytes, console, print_json, print_lines, table

if TYPE_CHECKING:
    from imagecurate.stages.catalogue import Parameter, StageEntry
    from imagecurate.stages.memory import Measured

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    command(app)(stages)


def stages(
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Also what each does, and its parameters.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """List the stages that a pipeline may name, as in: imagecurate stages --verbose.

    Image stages see pixels, column stages columns of some rows, dataset stages columns of all rows.  Memory is what was
    measured; docs/cli.md says how.
    """
    from imagecurate.stages.catalogue import catalogue

    entries = catalogue()
    if as_json:
        print_json({"stages": [dataclasses.asdict(entry) for entry in entries], "steps": _steps()})
    elif verbose:
        print_lines(line for entry in entries for line in _described(entry))
        print_lines(f"{each['name']} (step)\n    {each['summary']}" for each in _steps())
    else:
        rows = [(e.name, e.kind, ", ".join(e.reads), ", ".join(e.adds), _memory(e.memory)) for e in entries]
        rows += [(each["name"], "step", "", "", "") for each in _steps()]
        console().print(table(["stage", "kind", "reads", "adds", "memory"], rows))
        print_lines([f"{len(entries)} stages; --verbose shows their parameters"])


def _steps() -> list[dict[str, Any]]:
    """The steps of a pipeline that are no stages."""
    from imagecurate.pipeline.json_schema import json_schema
    from imagecurate.pipeline.steps import PLAIN_STEPS

    definitions = json_schema()["$defs"]
    found = [(name, definitions[f"step:{name}"]) for name in PLAIN_STEPS]
    return [
        {"name": name, "kind": "step", "summary": each["description"], "parameters": list(each["properties"])}
        for name, each in found
    ]


def _described(entry: StageEntry) -> Iterator[str]:
    yield f"{entry.name} ({entry.kind})"
    yield f"    {entry.summary}"
    yield f"    reads {', '.join(entry.reads) or ('pixels' if entry.kind == 'image' else 'what its levels read')}"
    yield f"    adds {', '.join(entry.adds)}"
    if entry.memory is not None:
        yield f"    memory {_memory(entry.memory)}, {entry.memory.of}"
    for parameter in entry.parameters:
        yield f"    {_shown(parameter)}"
    yield ""


def _shown(parameter: Parameter) -> str:
    value = "needed" if parameter.required else f"= {parameter.default!r}"
    return f"{parameter.name}: {parameter.type} {value}"


def _memory(measured: Measured | None) -> str:
    if measured is None:
        return ""
    parts = {"CPU": measured.cpu, "GPU": measured.gpu}
    return ", ".join(f"{name} {as_bytes(size)}" for name, size in parts.items() if size is not None)
