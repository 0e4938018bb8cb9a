"""A dataset's plan as the text of a pipeline file: what was tried in a notebook, to be run elsewhere."""

from __future__ import annotations

import dataclasses
import logging
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from imagecurate.errors import OutputError, ParameterError
from imagecurate.images import DecodePolicy
from imagecurate.plan.facts import PixelFacts
from imagecurate.plan.stage import Stage
from imagecurate.plan.steps import FilterStep, JoinStep, ListStep, StageStep, Step, WithColumnStep
from imagecurate.shards.types import stated_type
from imagecurate.stages.installed import name_of
from imagecurate.store import write_atomically
from imagecurate.tables import Table
from imagecurate.tables.id_sources import IdFile

__all__ = ["entries_of", "entry_of", "opening_of", "text_of", "write_text"]

_log = logging.getLogger("imagecurate.dataset")

#: Of the keys that say how shards are opened.
_DEFAULTS = {
    "id_col": "key",
    "metadata": "auto",
    "workdir": "auto",
    "backend": "auto",
    "schema": None,
    "decode_policy": None,
    "shard_identity": "mtime",
    "images": "first",
}

#: Characters that mean something in a pattern of paths.
_PATTERN = set("*?[]{},")


def entry_of(stage: Stage) -> Any:
    """Give the entry of a stage under ``stages``: its name, with the parameters that are not at their default.

    Raises
    ------
    ParameterError
        The stage is not installed, or was given what no file can hold, as another dataset.
    """
    fields = type(stage).model_fields
    for name, field in fields.items():
        if field.exclude and getattr(stage, name) is not None:
            raise ParameterError(f"{name} of {type(stage).__name__} is no value that a pipeline file can hold")
    changed = {name for name, value in stage if fields[name].is_required() or value != fields[name].default}
    parameters = {name: value for name, value in stage.model_dump(mode="json").items() if name in changed}
    return _entry(name_of(type(stage)), parameters)


def entries_of(steps: Iterable[Step]) -> list[Any]:
    """Give the entries under ``stages`` that make these steps of a plan.

    Raises
    ------
    ParameterError
        A step is known only to this program: a raw mask, ids that were given in Python, a stage that is not installed.
    """
    return [
        _step_entry(step)
        for step in steps
        if not (isinstance(step, StageStep) and isinstance(step.stage, PixelFacts))  # which every plan adds by itself
    ]


def opening_of(path: Any, arguments: Mapping[str, Any] | None) -> dict[str, Any]:
    """Give the keys of a pipeline that say how a dataset was opened; those that are at their default are left out.

    Parameters
    ----------
    path : object
        What was opened.
    arguments : mapping or None
        The other arguments of ``from_webdataset``; None for what was put together of datasets.

    Raises
    ------
    ParameterError
        It was put together of datasets.
    """
    if arguments is None:
        raise ParameterError.because(
            "a dataset that was put together of others cannot be written to a pipeline",
            'open the folders together: from_webdataset({"cc12m": …, "relaion": …})',
        )
    given = dict(arguments)
    if given.pop("storage_options", None):
        _log.warning("storage_options are not written to the pipeline, for there may be secrets in them")
    if given.get("schema"):
        given["schema"] = {name: str(stated_type(name, kind)) for name, kind in given["schema"].items()}
    if given.get("decode_policy") is not None:
        given["decode_policy"] = changed_fields(given["decode_policy"]) or None
    if isinstance(given.get("workdir"), os.PathLike):
        given["workdir"] = os.fspath(given["workdir"])
    changed = {name: value for name, value in given.items() if value != _DEFAULTS[name]}
    return {"input": _plain(path), **changed}


def changed_fields(policy: DecodePolicy) -> dict[str, Any]:
    """Give the limits of a policy that are not at their default."""
    return {
        field.name: getattr(policy, field.name)
        for field in dataclasses.fields(policy)
        if getattr(policy, field.name) != field.default
    }


def text_of(values: Mapping[str, Any]) -> str:
    """Write a pipeline as YAML: a line for each key and step."""
    return "".join(_part(key, value) for key, value in values.items())


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a pipeline file, whole or not at all.

    Raises
    ------
    OutputError
        It cannot be written there.
    """
    place = Path(os.path.expanduser(path))  # noqa: PTH111  # a ~ that is no user's home stays as it is
    if place.is_dir():
        raise OutputError(f"a pipeline file cannot be written at {str(path)!r}: it is a folder")
    write_atomically(place, lambda temporary: temporary.write_text(text, encoding="utf-8"))


class _Dumper(yaml.SafeDumper):
    """Writes the parts of a pipeline over several lines, and the parameters of each step in one."""

    def represent_mapping(self, tag: str, mapping: Any, flow_style: bool | None = None) -> yaml.MappingNode:
        node = super().represent_mapping(tag, mapping, flow_style)
        if any(isinstance(value, yaml.CollectionNode) and not value.flow_style for _, value in node.value):
            node.flow_style = False
        return node

    def ignore_aliases(self, data: Any) -> bool:
        """Say a value again where it is there again: anchors are for people who write YAML by hand."""
        return True


def _part(key: str, value: Any) -> str:
    style = None if isinstance(value, dict | list) else False
    text: str = yaml.dump(
        {key: value}, Dumper=_Dumper, default_flow_style=style, sort_keys=False, allow_unicode=True, width=sys.maxsize
    )
    return text


def _entry(name: str, parameters: Mapping[str, Any]) -> Any:
    return {name: dict(parameters)} if parameters else name


def _step_entry(step: Step) -> Any:
    match step:
        case StageStep():
            return entry_of(step.stage)
        case FilterStep():
            text = str(step.expression)
            return _entry("Filter", {"expr": text} | ({} if step.name == text else {"name": step.name}))
        case WithColumnStep():
            return _entry("WithColumn", {"name": step.name, "expr": str(step.expression)})
        case JoinStep():
            columns = {in_files: name for name, (in_files, _) in step.table.columns.items()}
            other = {} if step.table.on == step.on else {"right_on": list(step.table.on)}
            parameters = {"path": _files_of(step.table), "on": list(step.on), "columns": columns, **other}
            return _entry("Join", parameters | {"name": step.name})
        case ListStep():
            return _entry(
                "Include" if step.keeps else "Exclude", {"path": _file_of(step), "on": step.on, "name": step.name}
            )
    what, name = step.title
    raise ParameterError.because(
        f"the {what} {name!r} cannot be written to a pipeline: a mask is known only to the program that made it",
        "write it as an expression: ds.filter('width >= 256')",
    )


def _files_of(table: Table) -> list[str]:
    return [_literal(file.url) for file in table.files]


def _file_of(step: ListStep) -> str:
    ids = step.ids.ids
    if isinstance(ids, IdFile):
        return ids.file.url
    if isinstance(ids, Table) and len(ids.files) == 1:
        return _literal(ids.files[0].url)
    if isinstance(ids, Table):
        return "{" + ",".join(_literal(file.url) for file in ids.files) + "}"
    raise ParameterError.because(
        f"the list of ids of {step.name!r} cannot be written to a pipeline: it was given in Python",
        "write the ids to a file and give its path",
    )


def _literal(path: str) -> str:
    if _PATTERN & set(path):
        raise ParameterError(f"{path!r} cannot be written to a pipeline, where it would be read as a pattern")
    return path


def _plain(path: Any) -> Any:
    if isinstance(path, Mapping):
        return {str(name): _plain(part) for name, part in path.items()}
    if isinstance(path, Sequence) and not isinstance(path, str):
        return [_plain(part) for part in path]
    return os.fspath(path)
