"""What the site says of stages, pipelines, commands and notebooks: Markdown, made from the code.

A page asks for the text of one of these functions with ``<!-- generated: name -->``; ``docs/conf.py`` puts it there.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from imagecurate import ImageTextPairDataset
from imagecurate.cli import app
from imagecurate.pipeline.json_schema import json_schema
from imagecurate.pipeline.steps import PLAIN_STEPS
from imagecurate.stages.catalogue import StageEntry, catalogue
from imagecurate.stages.installed import stage_named

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"

#: Keys of a pipeline that are no arguments of ``from_webdataset``.
KEYS = {
    "output": "Folder or URL to write; see [The output folder](output.md).",
    "stages": "Steps, in order; those [below](#steps).",
    "export": "Options of the output; those [below](#export).",
}
#: Methods of a dataset that do what a step does, with the same parameters.
METHODS = {
    "Filter": "filter",
    "WithColumn": "with_column",
    "DropDuplicates": "drop_duplicates",
    "Join": "join",
    "Exclude": "exclude",
    "Include": "exclude",
}
#: What a stage sees that reads no column.
SEES = {"pixels": "pixels", "bytes": "the image's file", None: "what its levels read"}
_SIGNS = {"exclusiveMinimum": ">", "minimum": ">=", "exclusiveMaximum": "<", "maximum": "<="}


def stages() -> str:
    """Every stage: what it does, the columns that it reads and adds, its parameters."""
    return "\n\n".join(part for entry in catalogue() for part in _stage(entry))


def keys() -> str:
    """Every key of a pipeline file."""
    described = {name: text for name, _, text in entries(ImageTextPairDataset.from_webdataset, "Parameters")}
    described |= {"input": described["path"]} | KEYS
    schema = json_schema()
    return _parameters(schema["properties"], schema["required"], described)


def export() -> str:
    """Every option under ``export``."""
    described = {name: text for name, _, text in entries(ImageTextPairDataset.to_webdataset, "Parameters")}
    return _parameters(json_schema()["$defs"]["ExportOptions"]["properties"], (), described)


def decode_policy() -> str:
    """Every limit under ``decode_policy``."""
    definition = json_schema()["$defs"]["DecodePolicy"]
    described = {name: text for name, _, text in _entries(definition["description"], "Parameters")}
    return _parameters(definition["properties"], (), described)


def steps() -> str:
    """Every step that is no stage, with its parameters."""
    definitions = json_schema()["$defs"]
    parts = []
    for name in PLAIN_STEPS:
        definition = definitions[f"step:{name}"]
        method = getattr(ImageTextPairDataset, METHODS[name])
        told = {each: text.replace("exclude(", f"{name.lower()}(") for each, _, text in entries(method, "Parameters")}
        described = {"name": "Of the column.", "path": told.get("ids", "")} | told
        described["expr"] = "An [expression](filters.md)."
        parts += [f"### {name}", _plain(definition["description"])]
        if definition["properties"]:
            parts.append(_parameters(definition["properties"], definition["required"], described))
    return "\n\n".join(parts)


def commands() -> str:
    """Every command: what it does, its arguments and options."""
    return "\n\n".join(part for names, command in walked() for part in _command(names, command))


def walked(command: Any = None, names: Sequence[str] = ("imagecurate",)) -> Iterator[tuple[Sequence[str], Any]]:
    """Every command that does something, with the words that call it."""
    command = command or typer.main.get_command(app)
    if not hasattr(command, "commands"):
        yield names, command
        return
    for name in command.commands:
        yield from walked(command.commands[name], (*names, name))


def notebooks() -> str:
    """Every notebook as it stands in the repository, without outputs."""
    return "\n\n".join(part for path in sorted(NOTEBOOKS.glob("*.ipynb")) for part in _notebook(path))


def entries(thing: Any, section: str) -> Iterator[tuple[str, str, str]]:
    """Name, type and text of each entry in a section of a numpydoc docstring; inherited ones are looked up."""
    docs = [vars(each).get("__doc__") for each in thing.__mro__] if isinstance(thing, type) else [thing.__doc__]
    seen: set[str] = set()
    for doc in docs:
        for name, kind, text in _entries(doc, section):
            if name not in seen and not re.fullmatch(r"See `\w+`\.", text):
                seen.add(name)
                yield name, kind, text


def _entries(doc: str | None, section: str) -> Iterator[tuple[str, str, str]]:
    found = re.search(rf"^{section}\n-+\n(.*?)(?=^\S[^\n]*\n-+$|\Z)", inspect.cleandoc(doc or ""), re.M | re.S)
    for entry in re.finditer(r"^(\S.*)\n((?:(?: .*)?(?:\n|\Z))*)", found[1] + "\n" if found else "", re.M):
        names, _, kind = entry[1].partition(" : ")
        for name in names.split(", "):
            yield _plain(name).strip("`"), kind, _plain(entry[2])


def _stage(entry: StageEntry) -> Iterator[str]:
    stage = stage_named(entry.name)
    assert stage is not None
    schema = stage.model_json_schema()
    yield f"## {entry.name}"
    yield f"{_plain(entry.summary)} {{py:class}}`API <imagecurate.{entry.name}>`"
    reads = ", ".join(f"`{name}`" for name in entry.reads) or SEES[getattr(stage, "looks_at", None)]
    usual = ", ".join(f"`{name}`" for name in entry.adds)
    facts = [("kind", entry.kind), ("reads", reads), ("adds", usual)]
    if entry.memory is not None and entry.memory.cpu is not None:
        facts.append(("memory on the CPU", f"{entry.memory.cpu / 1e6:,.0f} MB, {entry.memory.of}"))
    yield _table(("", "with defaults"), facts)
    added = [(f"`{name}`", kind, text) for name, kind, text in entries(stage, "Adds")]
    if added:
        yield _table(("column", "type", ""), added)
    required = {parameter.name for parameter in entry.parameters if parameter.required}
    described = {name: text for name, _, text in entries(stage, "Parameters")}
    properties = {parameter.name: schema["properties"][parameter.name] for parameter in entry.parameters}
    yield _parameters(properties, required, described)


def _parameters(properties: Mapping[str, Any], required: Iterable[str], described: Mapping[str, str]) -> str:
    rows = [
        (
            f"`{name}`",
            _type(schema),
            "needed" if name in required else _value(schema.get("default")),
            described.get(name, ""),
        )
        for name, schema in properties.items()
    ]
    return _table(("parameter", "type", "default", ""), rows)


def _value(default: Any) -> str:
    return "" if default is None else f"`{json.dumps(default)}`"


def _type(schema: Mapping[str, Any]) -> str:
    """A type as its JSON schema has it, in words."""
    if "anyOf" in schema:
        return ", or ".join(_type(each) for each in schema["anyOf"])
    if "$ref" in schema:
        return "mapping"
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{json.dumps(value)}`" for value in schema.get("enum", [schema.get("const")]))
    kind = {"object": "mapping", "array": "list"}.get(schema.get("type", "any"), schema.get("type", "any"))
    of = schema.get("items") or schema.get("additionalProperties")
    inner = ""
    if isinstance(of, dict) and schema.get("title") != "Stages":  # whose items are all steps there are
        inner = f" of ({_type(of)})" if "anyOf" in of else f" of {_type(of)}"
    bounds = ", ".join(f"{sign} {schema[name]:g}" for name, sign in _SIGNS.items() if name in schema)
    return f"{kind}{inner} {bounds}".strip()


def _command(names: Sequence[str], command: Any) -> Iterator[str]:
    yield f"## {' '.join(names)}"
    text = inspect.cleandoc(command.help or "").partition("\n\nExit codes:")[0]
    yield _dashed(_linked(re.sub(r"as in: (.+)\.$", r"as in: `\1`.", text, flags=re.MULTILINE)))
    for kind in ("argument", "option"):
        rows = [
            (_spelled(each), "needed" if each.required else _default(each), _dashed(_plain(each.help or "")))
            for each in command.params
            if each.param_type_name == kind and not {"--debug", "--log-json"} & {*each.opts}
        ]
        if rows:
            yield _table((kind, "default", ""), rows)


def _spelled(parameter: Any) -> str:
    names = [*parameter.opts, *parameter.secondary_opts]
    if parameter.param_type_name == "argument":
        names = [(parameter.metavar or parameter.name or "").upper()]
    return ", ".join(f"`{name}`" for name in names)


def _dashed(text: str) -> str:
    """Text with its options as code, lest their dashes become long ones."""
    return re.sub(r"`[^`]*`|(?<![\w-])--[a-z][\w-]*", lambda found: f"`{found[0].strip('`')}`", text)


def _default(parameter: Any) -> str:
    default = parameter.default
    return "" if default in (None, False, [], ()) or callable(default) else f"`{default}`"


def _notebook(path: Path) -> Iterator[str]:
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        text = "".join(cell["source"])
        yield f"```python\n{text}\n```" if cell["cell_type"] == "code" else re.sub(r"^#", "##", text, flags=re.M)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _plain(text: str) -> str:
    """Text of a docstring as Markdown, on one line."""
    return re.sub(r":\w+:`~?([^`]+)`", r"`\1`", re.sub(r"``([^`]+)``", r"`\1`", _linked(" ".join(text.split()))))


def _linked(text: str) -> str:
    return re.sub(r"`*docs/([\w-]+\.md)`*", r"[\1](\1)", text)
