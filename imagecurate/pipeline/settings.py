"""Values of a pipeline that are set beside its file: ``stages.0.batch_size=64``."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from imagecurate.errors import ParameterError, listed, near_miss
from imagecurate.pipeline.source import parsed, problem_of

__all__ = ["with_settings"]


def with_settings(
    values: Mapping[str, Any], settings: Sequence[str]
) -> tuple[dict[str, Any], dict[tuple[Any, ...], str]]:
    """Put values into what was read from a pipeline file.

    Parameters
    ----------
    values : mapping
        As YAML has them.
    settings : sequence of str
        ``key=value`` or ``key.key=value``; a step is named by its number from 0 or, where there is one such, by its
        name.  The value is read as YAML.

    Returns
    -------
    values : dict
        A copy with the values in it.
    places : dict
        The place of each value, and what was typed.

    Raises
    ------
    ParameterError
        No ``=``, a value that is no YAML, or a step that is not there.

    Examples
    --------
    >>> with_settings({"stages": [{"Filter": {"expr": "a"}}, "TimmImageEmbedder"]}, ["stages.1.batch_size=64"])[0]
    {'stages': [{'Filter': {'expr': 'a'}}, {'TimmImageEmbedder': {'batch_size': 64}}]}
    """
    changed = copy.deepcopy(dict(values))
    places: dict[tuple[Any, ...], str] = {}
    for setting in settings:
        path, equals, text = setting.partition("=")
        keys = path.strip().split(".")
        if not equals or not all(keys):
            raise ParameterError.because(
                f"--set expects key=value, but got {setting!r}", "as in --set stages.0.batch_size=64"
            )
        try:
            value, _ = parsed(text)
        except yaml.MarkedYAMLError as error:
            raise ParameterError(f"--set {setting}: the value is no YAML: {problem_of(error)}") from None
        place = _place(changed, keys, setting)
        _put(changed, place, value, setting)
        places[place] = f"--set {setting}"
    return changed, places


def _place(values: Mapping[str, Any], keys: Sequence[str], setting: str) -> tuple[Any, ...]:
    """Keys and indices that lead to a value; ``stages.0.batch_size`` goes through the name of the step."""
    if keys[0] != "stages" or len(keys) == 1:
        return tuple(keys)
    stages = values.get("stages") or []
    names = [_name_of(entry) for entry in stages]
    if keys[1].isdecimal() and int(keys[1]) < len(stages):
        number = int(keys[1])
    elif names.count(keys[1]) == 1:
        number = names.index(keys[1])
    else:
        known = ", ".join(f"{number} {name}" for number, name in enumerate(names)) or "none"
        guess = near_miss(keys[1], filter(None, names))
        several = f"; {keys[1]!r} stands there several times" if names.count(keys[1]) > 1 else ""
        hint = f"did you mean {guess!r}?" if guess and not several else None
        raise ParameterError.because(f"--set {setting}: there is no step {keys[1]!r}{several}; there are {known}", hint)
    rest = tuple(keys[2:])
    return ("stages", number, names[number], *rest) if rest else ("stages", number)


def _put(values: dict[str, Any], place: tuple[Any, ...], value: Any, setting: str) -> None:
    part: Any = values
    for number, key in enumerate(place[:-1]):
        if isinstance(part, list):
            if isinstance(part[key], str):
                part[key] = {part[key]: None}
            part = part[key]
            continue
        if part.get(key) is None:
            part[key] = {}
        if not isinstance(part[key], dict | list):
            there = ".".join(map(str, place[: number + 1]))
            raise ParameterError(f"--set {setting}: {there} is {part[key]!r:.200}, which has no parts")
        part = part[key]
        if isinstance(part, list) and not (isinstance(place[number + 1], int)):
            raise ParameterError(f"--set {setting}: {listed(place[: number + 1])} is a list; set it as a whole")
    part[place[-1]] = value


def _name_of(entry: Any) -> str | None:
    """Name of a step as its entry has it; None where the entry has another form, which is told when it is read."""
    if isinstance(entry, str):
        return entry
    return str(next(iter(entry))) if isinstance(entry, dict) and len(entry) == 1 else None
