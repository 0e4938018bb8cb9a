"""Computing an expression for some rows, in three-valued logic.

Numbers carry null as NaN, so arithmetic and comparison pass it on by themselves.  A truth value is a pair of arrays
(where true, where false), and null is where neither holds: ``and`` is then (both true, either false), ``not`` swaps.
The backend reads columns and knows strings; all else is NumPy functions, which CuPy arrays answer too.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from imagecurate.backend.cpu import Numbers, Truth
from imagecurate.expressions.types import Kind, Typed

__all__ = ["evaluate"]

#: Numbers, a pair of truth values, or the backend's strings or lists, by the node's kind.
Value: TypeAlias = Any

_OPPOSITES = {"<": ">=", ">=": "<", ">": "<=", "<=": ">"}
_ORDER: Mapping[str, Callable[..., NDArray[np.bool_]]] = {
    "<": np.less,
    "<=": np.less_equal,
    ">": np.greater,
    ">=": np.greater_equal,
}


def evaluate(node: Typed, columns: Mapping[str, Any], backend: ModuleType) -> Value:
    """Compute the value of a node.

    Parameters
    ----------
    node : Typed
    columns : mapping of str to column
        Of one length and of the types for which the node was typed.
    backend : module
        The backend of the columns.

    Returns
    -------
    array, pair of arrays, or the backend's strings or lists
        One value a row, or what broadcasts to that where no column takes part.
    """
    if node.name == "column":
        return _read(columns[node.detail], node.kind, backend)
    if node.name == "constant":
        return _constant(node.detail, node.kind, backend)
    values = [evaluate(operand, columns, backend) for operand in node.operands]
    kind = node.operands[0].kind
    match node.name:
        case "and":
            return functools.reduce(_both, values)
        case "or":
            return _not(functools.reduce(_both, map(_not, values)))
        case "not":
            return _not(values[0])
        case "compare":
            pairs = zip(node.detail, values, values[1:], strict=False)
            return functools.reduce(_both, (_compare(op, left, right, kind, backend) for op, left, right in pairs))
        case "between":
            value, low, high = values
            return _both(_compare("<=", low, value, kind, backend), _compare("<=", value, high, kind, backend))
        case "in":
            return _in(values[0], node.detail, kind, backend)
        case "is null":
            null = _is_null(values[0], kind, backend)
            return null, ~null
        case "contains":
            return backend.strings_contain(values[0], node.detail)
        case "matches":
            return backend.strings_match(values[0], node.detail)
        case "len":
            return backend.string_lengths(values[0]) if kind is Kind.STRING else backend.list_lengths(values[0])
        case "arithmetic":
            result = values[0]
            for op, value in zip(node.detail, values[1:], strict=True):
                result = _ARITHMETIC[op](result, value)
            return result
        case "negate":
            return np.negative(values[0])
        case "abs":
            return np.abs(values[0])
    return functools.reduce(np.minimum if node.name == "min" else np.maximum, values)


def _read(column: Any, kind: Kind, backend: ModuleType) -> Value:
    match kind:
        case Kind.NUMBER:
            return backend.numbers(column)
        case Kind.BOOLEAN:
            return backend.truth(column)
        case Kind.STRING:
            return backend.strings(column)
        case Kind.TIME:
            return backend.times(column)
    return column


def _constant(value: Any, kind: Kind, backend: ModuleType) -> Value:
    if kind is Kind.STRING:
        return backend.string_constant(value)
    if kind is Kind.BOOLEAN:
        return np.bool_(value is True), np.bool_(value is False)
    return np.float64("nan" if value is None else value)


def _both(left: Truth, right: Truth) -> Truth:
    return left[0] & right[0], left[1] | right[1]


def _not(value: Truth) -> Truth:
    return value[1], value[0]


def _is_null(value: Value, kind: Kind, backend: ModuleType) -> NDArray[np.bool_]:
    null: NDArray[np.bool_]
    if kind in (Kind.NUMBER, Kind.TIME):
        null = np.isnan(value)
    elif kind is Kind.BOOLEAN:
        null = ~(value[0] | value[1])
    else:
        null = backend.is_null(value)
    return null


def _compare(op: str, left: Value, right: Value, kind: Kind, backend: ModuleType) -> Truth:
    if kind is Kind.STRING:
        truth: Truth = backend.compare_strings(op, left, right)
        return truth
    if op == "!=":
        return _not(_compare("==", left, right, kind, backend))
    if kind is Kind.BOOLEAN:
        return (left[0] & right[0]) | (left[1] & right[1]), (left[0] & right[1]) | (left[1] & right[0])
    if op == "==":
        return np.equal(left, right), np.less(left, right) | np.greater(left, right)
    return _ORDER[op](left, right), _ORDER[_OPPOSITES[op]](left, right)


def _in(value: Value, items: tuple[Any, ...], kind: Kind, backend: ModuleType) -> Truth:
    if kind is Kind.STRING:
        found = backend.strings_in(value, items)
    elif kind is Kind.BOOLEAN:
        found = (value[0] & (True in items)) | (value[1] & (False in items))
    else:
        found = backend.numbers_in(value, items)
    return found, ~(found | _is_null(value, kind, backend))


def _divided(function: Callable[..., Numbers]) -> Callable[[Numbers, Numbers], Numbers]:
    """Give null where the divisor is zero."""
    return lambda left, right: _where(np.equal(right, 0), np.nan, function(left, right))


def _quotient(left: Numbers, right: Numbers) -> Numbers:
    """Divide as Python's ``//``: CuPy would floor the rounded quotient, but 1 // 0.1 is 9."""
    rest = np.fmod(left, right)
    quotient = np.subtract(np.divide(np.subtract(left, rest), right), _turns(rest, right))
    whole = np.floor(quotient)
    return np.add(whole, np.greater(np.subtract(quotient, whole), 0.5))


def _remainder(left: Numbers, right: Numbers) -> Numbers:
    """Divide as Python's ``%``."""
    rest = np.fmod(left, right)
    return _where(_turns(rest, right), np.add(rest, right), rest)


def _turns(rest: Numbers, divisor: Numbers) -> NDArray[np.bool_]:
    """Tell where the rest of C's division, which has the sign of the dividend, lies on the other side of zero."""
    return np.not_equal(rest, 0) & np.not_equal(np.less(divisor, 0), np.less(rest, 0))


def _power(base: Numbers, exponent: Numbers) -> Numbers:
    """Raise to a power; NumPy gives 1 for null to the power of 0, and infinity for a division by zero."""
    null = np.isnan(base) | np.isnan(exponent) | (np.equal(base, 0) & np.less(exponent, 0))
    return _where(null, np.nan, np.power(base, exponent))


def _where(condition: Any, one: Any, other: Any) -> Numbers:
    """Choose; of constants comes a scalar, as of every other function: CuPy takes no NumPy array beside its own."""
    chosen: Numbers = np.where(condition, one, other)[()]
    return chosen


_ARITHMETIC: Mapping[str, Callable[..., Numbers]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": _divided(np.divide),
    "//": _divided(_quotient),
    "%": _divided(_remainder),
    "**": _power,
}
