"""A YAML file read with the line of each of its parts, and what is wrong with it as one sentence."""

from __future__ import annotations

import codecs
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from imagecurate.errors import ImageCurateError, ParameterError, listed, near_miss

__all__ = ["QUOTE", "Source", "misread", "parsed", "problem_of", "read"]

#: What YAML 1.1 takes ``on``, ``off``, ``yes`` and ``no`` for, and what these are as keys.
_BOOL, _TEXT = "tag:yaml.org,2002:bool", "tag:yaml.org,2002:str"

#: Values of a pipeline, a hundred times what the longest has.
_MOST_VALUES = 100_000

#: What helps where YAML took text for a number, a date, true or false.
QUOTE = "put it in quotes"


@dataclass(frozen=True)
class Source:
    """Where the parts of a pipeline stand in its file; without a file, of one made in Python, nowhere.

    All are equal: pipelines that say the same are the same, wherever they were written.
    """

    path: str = field(default="", compare=False)
    root: yaml.Node | None = field(default=None, compare=False)
    #: Parts that were changed since, with what was typed to change them.
    changed: Mapping[tuple[Any, ...], str] = field(default_factory=dict, compare=False)

    def at(self, *place: Any) -> str:
        """``file:line`` of the part with these keys and indices, or of the nearest part around it."""
        line = self._node(*place)[1]
        typed = [text for part, text in self.changed.items() if part[: len(place)] == place]
        return f"{self.path}:{line + 1}" + (f" with {', '.join(typed)}" if typed else "")

    def _node(self, *place: Any) -> tuple[yaml.Node | None, int]:
        """The part, and the number of its line."""
        node = self.root
        line = node.start_mark.line if node else 0
        for name in place:
            if isinstance(node, yaml.MappingNode):
                found = [(key, value) for key, value in node.value if key.value == str(name)]
                if not found:
                    break
                key, node = found[-1]  # what is merged with << comes first
                line = key.start_mark.line
            elif isinstance(node, yaml.SequenceNode) and name < len(node.value):
                node = node.value[name]
                line = node.start_mark.line
        return node, line

    def _parameter(self, place: tuple[Any, ...], message: str) -> tuple[Any, ...]:
        """The place of the parameter that a message about a step names first, or the place of the step."""
        node = self._node(*place)[0]
        if not (isinstance(node, yaml.MappingNode) and len(node.value) == 1):
            return place
        step, parameters = node.value[0]
        if not isinstance(parameters, yaml.MappingNode):
            return place
        sentence = message.partition("\n\nHint:")[0]
        names = [key.value for key, _ in parameters.value if isinstance(key, yaml.ScalarNode)]
        said = {name: re.search(rf"(?<!\w){re.escape(name)}(?=['=\s])", sentence) for name in names}
        first = min((found.start(), name) for name, found in said.items() if found) if any(said.values()) else None
        return (*place, step.value, first[1]) if first else place

    @contextmanager
    def naming(self, *place: Any, but: Mapping[type[ImageCurateError], str] | None = None) -> Iterator[None]:
        """Put ``file:line`` in front of an error about a part; its class stays.

        ``but`` names other parts for errors of some classes.
        """
        try:
            yield
        except ImageCurateError as error:
            if self.root is None:
                raise
            other = (but or {}).get(type(error))
            at = (other,) if other else self._parameter(place, str(error))
            raise type(error)(f"{self.at(*at)}: {error}") from error

    def error(self, error: ValidationError, values: Any, keys: Mapping[str, Iterable[str]]) -> ParameterError:
        """Say in one sentence what pydantic found wrong.

        Parameters
        ----------
        error : pydantic.ValidationError
        values : mapping
            What was checked.
        keys : mapping of str to str
            The keys that there are in each part that has a fixed set of them; those of the whole under "".
        """
        found = sorted(error.errors(), key=lambda problem: problem["type"] == "missing")  # it may just be misspelt
        problems = [(_place(problem["loc"], values), problem) for problem in found]
        # Of a union every member complains; the one that was meant got farthest.
        place = max((at for at, _ in problems if at[:1] == problems[0][0][:1]), key=len)
        here = [problem for at, problem in problems if at == place]
        kind, name = here[0]["type"], str(here[0]["loc"][-1])
        where = f"{self.at(*place)}: " if self.root is not None else ""
        if kind in ("extra_forbidden", "unexpected_keyword_argument", "invalid_key"):
            known = list(keys[str(place[0]) if len(place) > 1 else ""])
            guess = near_miss(name, known)
            message = f"{where}unknown key {name!r}" + (f"; did you mean {guess!r}?" if guess else "")
            return ParameterError.because(message, None if guess else f"known are {listed(known, 20)}")
        if kind == "missing":
            return ParameterError(f"{where}the key {name!r} is missing")
        if kind == "value_error":
            return ParameterError(f"{where}{here[0]['ctx']['error']}")
        expected = " or ".join(dict.fromkeys(problem["msg"].removeprefix("Input should be ") for problem in here))
        value = here[0]["input"]
        given = "" if place[0] == "storage_options" else f", but is {value!r:.200}"  # there may be a secret in it
        return ParameterError.because(
            f"{where}{'.'.join(map(str, place))} should be {expected}{given}",
            QUOTE if kind == "string_type" and misread(value) else None,
        )


def read(path: str | os.PathLike[str]) -> tuple[dict[Any, Any], Source]:
    """Read a YAML file that holds a mapping.

    Raises
    ------
    ParameterError
        There is no such file, or it is not UTF-8, not YAML, not a mapping, or has a key twice.
    """
    try:
        data = Path(path).read_bytes().removeprefix(codecs.BOM_UTF8)
        text = data.decode()
    except FileNotFoundError:
        raise ParameterError(f"there is no pipeline file {str(path)!r}") from None
    except OSError as error:
        raise ParameterError(f"the pipeline file {str(path)!r} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        message = f"{path}:{line}: expected UTF-8 text, but found the byte 0x{data[error.start]:02x}"
        raise ParameterError.because(message, "a pipeline is a text file such as curate.yaml") from None
    try:
        values, root = parsed(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ParameterError(f"{path}:{line}: not well-formed YAML: {problem_of(error)}") from None
    if not isinstance(values, dict):
        raise ParameterError.because(f"{path}:1: a pipeline is a mapping", "begin with 'input: …' and 'output: …'")
    return values, Source(str(path), root)


def parsed(text: str) -> tuple[Any, yaml.Node | None]:
    """Read YAML that may have been written to do harm: what it says, and the nodes that know their lines.

    Raises
    ------
    yaml.MarkedYAMLError
        It is no YAML, or has a key twice, a tag that asks for code, a character that no text has, or more in it than
        anybody writes.
    """
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        if root is not None:
            _check_size(root, {}, set())
        return loader.construct_document(root) if root else None, root
    except yaml.reader.ReaderError as error:
        start = yaml.Mark("", error.position, text.count("\n", 0, error.position), 0, None, 0)
        raise yaml.MarkedYAMLError(problem=error.reason, problem_mark=start) from None
    except RecursionError:
        raise yaml.MarkedYAMLError(problem="lists and mappings are nested too deeply") from None


def problem_of(error: yaml.MarkedYAMLError) -> str:
    """Say in one line what is wrong with YAML."""
    return ", ".join(filter(None, [error.context, error.problem]))


def misread(value: Any) -> bool:
    """Tell whether YAML may have made this of a word that was meant as text."""
    return value is not None and not isinstance(value, str | list | dict)


class _Loader(yaml.SafeLoader):
    """Tells the line of what YAML's own loader lets pass, or stumbles over; a key is never true or false."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Refuse a key that is there twice, of which the last would win; keep ``on`` and the like as text."""
        node = super().compose_mapping_node(anchor)
        for place, (key, value) in enumerate(node.value):
            if key.tag == _BOOL:
                text = yaml.ScalarNode(_TEXT, key.value, key.start_mark, key.end_mark)
                node.value[place] = text, value
        lines: dict[Any, int] = {}
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in lines:
                problem = f"the key {key.value!r} stands in line {lines[key.value] + 1} already"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            lines[key.value] = key.start_mark.line
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Give the line of what looks like a number or date and is none, or is a text that can be no name or path."""
        try:
            value = super().construct_object(node, deep)
        except ValueError as error:
            raise yaml.MarkedYAMLError(problem=str(error), problem_mark=node.start_mark) from None
        if isinstance(value, str) and "\0" in value:
            raise yaml.MarkedYAMLError(problem="a text holds the character NUL", problem_mark=node.start_mark)
        return value


def _check_size(node: yaml.Node, sizes: dict[yaml.Node, int], around: set[yaml.Node]) -> int:
    """Give how many values a part has with its aliases written out; raise where a few lines mean billions."""
    if node in around:
        raise yaml.MarkedYAMLError(problem="an alias stands within what it names", problem_mark=node.start_mark)
    if node not in sizes:
        parts = [node.value] if isinstance(node, yaml.SequenceNode) else []
        if isinstance(node, yaml.MappingNode):
            parts = list(zip(*node.value, strict=True))
        around.add(node)
        sizes[node] = 1 + sum(_check_size(each, sizes, around) for part in parts for each in part)
        around.remove(node)
        if sizes[node] > _MOST_VALUES:
            problem = f"with its aliases written out this has more than {_MOST_VALUES:,} values"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)
    return sizes[node]


def _place(loc: Iterable[Any], values: Any) -> tuple[Any, ...]:
    """Leave out what pydantic writes between keys and indices: the members of a union, a key that is missing."""
    place = []
    for part in loc:
        if (isinstance(values, dict) and part in values) or (isinstance(values, list) and isinstance(part, int)):
            place.append(part)
            values = values[part]
    return tuple(place)
