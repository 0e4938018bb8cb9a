"""What an expression is once it is read: constants, columns and operations, and the text they are written back as."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

__all__ = [
    "COMPARISONS",
    "FUNCTIONS",
    "KEYWORDS",
    "LEVELS",
    "Column",
    "Constant",
    "Node",
    "Operation",
    "leaves",
    "replaced",
    "written",
]

#: Words that cannot name a column without back-ticks, in lower case.
KEYWORDS = frozenset(
    ["and", "or", "not", "in", "between", "is", "null", "contains", "matches", "true", "false", "none", "nan"]
)
#: Functions, with the fewest and the most arguments each takes.
FUNCTIONS: Mapping[str, tuple[int, float]] = {"abs": (1, 1), "len": (1, 1), "max": (2, math.inf), "min": (2, math.inf)}
COMPARISONS = frozenset(["==", "!=", "<", "<=", ">", ">="])

#: How tightly each operator binds its operands.
LEVELS: Mapping[str, int] = (
    {"or": 1, "and": 2, "not": 3}
    | dict.fromkeys(COMPARISONS | {"in", "between", "is", "contains", "matches"}, 4)
    | {"+": 5, "-": 5, "*": 6, "/": 6, "//": 6, "%": 6, "negate": 7, "**": 8}
)
_LEAF = 9

#: Operations whose negation is written inside: ``x not in [1]``.
_PREDICATES = frozenset(["in", "between", "is null", "contains", "matches"])
_BARE_NAME = re.compile(r"[^\W\d]\w*")


@dataclass(frozen=True, slots=True)
class Constant:
    """A number, string, truth value or null, found at position ``at`` of the text."""

    value: float | str | bool | None
    at: int


@dataclass(frozen=True, slots=True)
class Column:
    """A column, found at position ``at`` of the text."""

    name: str
    at: int


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation on operands, found at position ``at`` of the text.

    Parameters
    ----------
    name : str
        ``and``, ``or``, ``not``, ``compare``, ``in``, ``between``, ``is null``, ``contains``, ``matches``,
        ``arithmetic``, ``negate`` or a function.
    operands : tuple of Node
        Any number for ``and`` and ``or``; the operand and then the items for ``in``.
    operators : tuple of str
        What stands between the operands of ``compare`` and ``arithmetic``.  Long chains stay flat, so that their
        length is not bounded by the depth of Python's stack.
    """

    name: str
    operands: tuple[Node, ...]
    at: int
    operators: tuple[str, ...] = ()
    depth: int = field(init=False)

    def __post_init__(self) -> None:
        below = (operand.depth for operand in self.operands if isinstance(operand, Operation))
        object.__setattr__(self, "depth", 1 + max(below, default=0))


Node: TypeAlias = Constant | Column | Operation


def leaves(node: Node) -> Iterator[Constant | Column]:
    """Give the constants and columns in the order in which they are written."""
    if isinstance(node, Operation):
        for operand in node.operands:
            yield from leaves(operand)
    else:
        yield node


def replaced(node: Node, others: Mapping[str, Node]) -> Node:
    """Put other trees in the place of columns."""
    if isinstance(node, Column):
        return others.get(node.name, node)
    if isinstance(node, Operation):
        operands = tuple(replaced(operand, others) for operand in node.operands)
        return Operation(node.name, operands, node.at, node.operators)
    return node


def written(node: Node, names: Mapping[str, str] | None = None) -> str:
    r"""Write a tree as text that parses to an equal tree.

    Parameters
    ----------
    node : Node
    names : mapping of str to str, optional
        Other names for columns.

    Examples
    --------
    >>> from imagecurate.expressions.syntax import parsed
    >>> written(parsed('NOT(width>=1.50)  or "it\'s" != `my col`'))
    "not width >= 1.5 or 'it''s' != `my col`"
    """
    if isinstance(node, Constant):
        return _constant(node.value)
    if isinstance(node, Column):
        return _name((names or {}).get(node.name, node.name))
    operands, level = node.operands, _level(node)
    match node.name:
        case "and" | "or":
            return f" {node.name} ".join(_operand(operand, level + 1, names) for operand in operands)
        case "not" if isinstance(operands[0], Operation) and operands[0].name in _PREDICATES:
            return _predicate(operands[0], "not ", names)
        case "not":
            return f"not {_operand(operands[0], level, names)}"
        case "negate":
            return f"-{_operand(operands[0], level, names)}"
        case "arithmetic" if node.operators == ("**",):
            return f"{_operand(operands[0], _LEAF, names)} ** {_operand(operands[1], LEVELS['negate'], names)}"
        case "arithmetic" | "compare":
            texts = [_operand(operand, level + 1, names) for operand in operands]
            pairs = zip(node.operators, texts[1:], strict=True)
            return texts[0] + "".join(f" {operator} {text}" for operator, text in pairs)
        case name if name in _PREDICATES:
            return _predicate(node, "", names)
    return f"{node.name}({', '.join(written(argument, names) for argument in operands)})"


def _operand(node: Node, level: int, names: Mapping[str, str] | None) -> str:
    text = written(node, names)
    return text if _level(node) >= level else f"({text})"


def _predicate(node: Operation, negation: str, names: Mapping[str, str] | None) -> str:
    first, *others = (_operand(operand, LEVELS["in"] + 1, names) for operand in node.operands)
    match node.name:
        case "is null":
            return f"{first} is {negation}null"
        case "in":
            return f"{first} {negation}in [{', '.join(others)}]"
    return f"{first} {negation}{node.name} {' and '.join(others)}"


def _level(node: Node) -> int:
    if not isinstance(node, Operation):
        return _LEAF
    if node.operators:
        return LEVELS[node.operators[0]]
    return LEVELS["in"] if node.name in _PREDICATES else LEVELS.get(node.name, _LEAF)


def _constant(value: float | str | bool | None) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return str(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)


def _name(name: str) -> str:
    if _BARE_NAME.fullmatch(name) and name.lower() not in KEYWORDS:
        return name
    return "`" + name.replace("`", "``") + "`"
