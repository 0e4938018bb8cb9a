"""Which kinds of value an expression combines: found from the columns' Arrow types before any row is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import pairwise
from typing import Any

import pyarrow as pa

from imagecurate.errors import ColumnNotFoundError, ImageCurateError, near_miss
from imagecurate.expressions.tokens import error_at
from imagecurate.expressions.tree import Column, Constant, Node, Operation, written

__all__ = ["Kind", "Typed", "kind_of", "typed"]


_IS_LIST = (
    pa.types.is_list,
    pa.types.is_large_list,
    pa.types.is_fixed_size_list,
    pa.types.is_list_view,
    pa.types.is_large_list_view,
)


class Kind(StrEnum):
    """What a value is to an expression; the value is the word that messages use."""

    NUMBER = "a number"
    STRING = "a string"
    BOOLEAN = "a boolean"
    TIME = "a time"
    LIST = "a list"
    NULL = "null"
    OTHER = "of a type that expressions cannot read"


@dataclass(frozen=True, slots=True)
class Typed:
    """A node whose kind is known, ready to be evaluated.

    Parameters
    ----------
    name : str
        ``constant``, ``column`` or the name of the operation.
    kind : Kind
        What it gives; never NULL below the root.
    operands : tuple of Typed
    detail : object
        The constant's value, the column's name, the operators of a chain, the items of ``in`` or the pattern of
        ``contains`` and ``matches``.
    """

    name: str
    kind: Kind
    operands: tuple[Typed, ...] = ()
    detail: Any = None


def kind_of(dtype: pa.DataType) -> Kind:
    """Give the kind of the values of an Arrow type.

    >>> kind_of(pa.dictionary(pa.int32(), pa.string())).value
    'a string'
    """
    is_ = pa.types
    if is_.is_dictionary(dtype):
        return kind_of(dtype.value_type)
    if is_.is_integer(dtype) or is_.is_floating(dtype) or is_.is_decimal(dtype):
        return Kind.NUMBER
    if is_.is_string(dtype) or is_.is_large_string(dtype) or is_.is_string_view(dtype):
        return Kind.STRING
    if is_.is_boolean(dtype):
        return Kind.BOOLEAN
    if is_.is_timestamp(dtype) or is_.is_date(dtype):
        return Kind.TIME
    if any(is_list(dtype) for is_list in _IS_LIST):
        return Kind.LIST
    return Kind.NULL if is_.is_null(dtype) else Kind.OTHER


def typed(node: Node, schema: Mapping[str, pa.DataType], text: str) -> Typed:
    """Find the kind of a tree and of all below it.

    Parameters
    ----------
    node : Node
    schema : mapping of str to pyarrow.DataType
        Types of the columns there are.
    text : str
        What the tree was parsed from, for messages.

    Raises
    ------
    ColumnNotFoundError
        A column that is not in the schema.
    ExpressionError
        Kinds that an operation does not take, or that do not compare.
    """
    return _Typer(schema, text).typed(node)


class _Typer:
    def __init__(self, schema: Mapping[str, pa.DataType], text: str) -> None:
        self.schema = schema
        self.text = text

    def error(self, node: Node, message: str, hint: str | None = None) -> ImageCurateError:
        return error_at(self.text, node.at, message, hint)

    def typed(self, node: Node) -> Typed:
        if isinstance(node, Constant):
            return Typed("constant", _kind_of_constant(node.value), detail=node.value)
        if isinstance(node, Column):
            return self.column(node)
        operands = node.operands
        match node.name:
            case "and" | "or" | "not":
                return Typed(node.name, Kind.BOOLEAN, self.all_of(node, Kind.BOOLEAN))
            case "is null":
                return Typed("is null", Kind.BOOLEAN, (_as(self.typed(operands[0]), Kind.NUMBER),))
            case "contains" | "matches":
                operand, pattern = self.all_of(node, Kind.STRING)
                return Typed(node.name, Kind.BOOLEAN, (operand,), pattern.detail)
            case "in":
                operand, *items = self.alike(node)
                return Typed("in", Kind.BOOLEAN, (operand,), tuple(item.detail for item in items))
            case "compare" | "between":
                return Typed(node.name, Kind.BOOLEAN, self.alike(node), node.operators)
            case "len":
                return Typed("len", Kind.NUMBER, self.all_of(node, Kind.STRING, Kind.LIST))
        return Typed(node.name, Kind.NUMBER, self.all_of(node, Kind.NUMBER), node.operators)

    def column(self, node: Column, hint: str | None = None) -> Typed:
        if node.name not in self.schema:
            raise ColumnNotFoundError.among(node.name, self.schema, hint)
        return Typed("column", kind_of(self.schema[node.name]), detail=node.name)

    def all_of(self, node: Operation, *kinds: Kind) -> tuple[Typed, ...]:
        """Type the operands, each of which must be of one of these kinds; nulls become of the first."""
        operands = tuple(_as(self.typed(operand), kinds[0]) for operand in node.operands)
        for operand, found in zip(node.operands, operands, strict=True):
            if found.kind not in kinds:
                name = node.operators[0] if node.operators else {"negate": "-"}.get(node.name, node.name)
                message = f"{name!r} takes {' or '.join(kinds)}, found {self.described(operand, found)}"
                hint = "a condition compares, as in `width > 0` or `caption is not null`"
                raise self.error(operand, message, hint if kinds == (Kind.BOOLEAN,) else None)
        return operands

    def alike(self, node: Operation) -> tuple[Typed, ...]:
        """Type the operands, which must all be of one kind that compares; nulls become of that kind."""
        for operand in node.operands:
            if isinstance(operand, Constant) and operand.value is None:
                raise self.error(operand, "a comparison with null is null in every row", "write `x is null`")
        operands = [self.typed(node.operands[0]), *map(self.compared, node.operands[1:])]
        if any(operand.kind is Kind.TIME for operand in operands):
            operands = [self.as_time(*pair) for pair in zip(node.operands, operands, strict=True)]
        known = [pair for pair in zip(node.operands, operands, strict=True) if pair[1].kind is not Kind.NULL]
        for (left, left_typed), (right, right_typed) in pairwise(known):
            if left_typed.kind is not right_typed.kind:
                sides = f"{self.described(left, left_typed)} with {self.described(right, right_typed)}"
                hint = _mismatch_hint(left_typed, right_typed) or _mismatch_hint(right_typed, left_typed)
                raise self.error(right, f"cannot compare {sides}", hint)
        kind = known[0][1].kind if known else Kind.NUMBER
        ordered = node.name == "between" or not set(node.operators) <= {"==", "!="}
        if kind in (Kind.LIST, Kind.OTHER) or (kind is Kind.BOOLEAN and ordered):
            able = "can only be equal or not" if kind is Kind.BOOLEAN else "cannot be compared"
            hint = "its length is `len(x)`" if kind is Kind.LIST else None
            raise self.error(known[0][0], f"{self.described(*known[0])} {able}", hint)
        return tuple(_as(operand, kind) for operand in operands)

    def compared(self, node: Node) -> Typed:
        """Type an operand on the right, where a string without its quotes looks like a column."""
        if isinstance(node, Column) and near_miss(node.name, self.schema) is None:
            return self.column(node, hint=f"a string is written in quotes: '{node.name}'")
        return self.typed(node)

    def as_time(self, node: Node, found: Typed) -> Typed:
        """Read a constant string that is compared with times."""
        if found.name != "constant" or found.kind is not Kind.STRING:
            return found
        try:
            return Typed("constant", Kind.TIME, detail=_microseconds(found.detail))
        except ValueError:
            message = f"{written(node)} is compared with times but is none"
            raise self.error(node, message, "write '2024-01-31' or '2024-01-31T12:00:00+01:00'") from None

    def described(self, node: Node, found: Typed) -> str:
        """Name one side of a comparison with its kind."""
        text = written(node)
        kind = str(self.schema[found.detail]) if found.kind is Kind.OTHER else str(found.kind)
        return f"{text if len(text) <= 40 else text[:39] + '…'} ({kind})"


def _kind_of_constant(value: float | str | bool | None) -> Kind:
    return {bool: Kind.BOOLEAN, str: Kind.STRING, float: Kind.NUMBER}.get(type(value), Kind.NULL)


def _as(operand: Typed, kind: Kind) -> Typed:
    return Typed("constant", kind) if operand.kind is Kind.NULL else operand


def _microseconds(text: str) -> float:
    """Read an ISO 8601 date or time, in UTC unless it names its zone, as microseconds since 1970."""
    time = datetime.fromisoformat(text)
    time = time.replace(tzinfo=UTC) if time.tzinfo is None else time
    return float((time - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1))


def _mismatch_hint(one: Typed, other: Typed) -> str | None:
    """What was probably meant by comparing these two."""
    match one.kind, other.kind:
        case Kind.NUMBER, Kind.STRING if other.name == "constant":
            try:
                float(other.detail)
            except ValueError:
                return "quotes make a string; a column is named without them, or in back-ticks"
            return f"a number is written without quotes: {other.detail.strip()}"
        case Kind.STRING, Kind.NUMBER:
            return "a string is written in quotes: '5'; the length of a string is `len(x)`"
        case Kind.BOOLEAN, _:
            return "a boolean stands for itself: `flag`, `not flag` or `flag == true`"
        case Kind.TIME, _:
            return "a time is written as a string: '2024-01-31'"
        case Kind.LIST, Kind.NUMBER:
            return "the length of a list is `len(x)`"
    return None
