"""The thresholds that filters hold: each ``quantity >= number`` that must be true for a sample to pass."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from imagecurate.expressions.syntax import parsed
from imagecurate.expressions.tree import Column, Constant, Node, Operation, leaves, written

__all__ = ["Limit", "limits_of"]

_TURNED = {">=": "<=", ">": "<", "<=": ">=", "<": ">"}


@dataclass(frozen=True)
class Limit:
    """A threshold of a filter.

    Parameters
    ----------
    filter : str
        Name of the filter.
    quantity : str
        What is compared: a column or an expression, in canonical form.
    operator : {">=", ">", "<=", "<"}
    value : float

    Examples
    --------
    >>> limit = Limit("quality", "score", ">=", 5.0)
    >>> str(limit), limit.passes(np.array([4.9, 5.0])).tolist()
    ('score >= 5', [False, True])
    """

    filter: str
    quantity: str
    operator: str
    value: float

    def __str__(self) -> str:
        return f"{self.quantity} {self.operator} {self.value:g}"

    def passes(self, values: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Tell which values pass."""
        holds: NDArray[np.bool_] = {
            ">=": np.greater_equal,
            ">": np.greater,
            "<=": np.less_equal,
            "<": np.less,
        }[self.operator](values, self.value)
        return holds


def limits_of(filters: Iterable[tuple[str, str]]) -> list[Limit]:
    """Read the thresholds out of filters, given as name and expression.

    Only what every sample must meet is one: in ``a >= 5 and (b < 1 or c)`` that is the first comparison.

    >>> [str(limit) for limit in limits_of([("quality", "0.2 < score <= 8 and min(w, h) >= 200 and (a > 1 or b)")])]
    ['score > 0.2', 'score <= 8', 'min(w, h) >= 200']
    """
    found = [limit for name, text in filters for limit in _limits(name, parsed(text))]
    return list(dict.fromkeys(found))


def _limits(name: str, node: Node) -> Iterator[Limit]:
    if not isinstance(node, Operation):
        return
    if node.name == "and":
        for operand in node.operands:
            yield from _limits(name, operand)
    elif node.name == "between":
        quantity, low, high = node.operands
        yield from _limit(name, quantity, ">=", low)
        yield from _limit(name, quantity, "<=", high)
    elif node.name == "compare":
        for left, operator, right in zip(node.operands, node.operators, node.operands[1:], strict=False):
            yield from _limit(name, left, operator, right)
            yield from _limit(name, right, _TURNED.get(operator, operator), left)


def _limit(name: str, quantity: Node, operator: str, bound: Node) -> Iterator[Limit]:
    value = _number(bound)
    reads = any(isinstance(leaf, Column) for leaf in leaves(quantity))
    if operator in _TURNED and value is not None and reads:
        yield Limit(name, written(quantity), operator, value)


def _number(node: Node) -> float | None:
    if isinstance(node, Operation) and node.name == "negate":
        value = _number(node.operands[0])
        return None if value is None else -value
    if isinstance(node, Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
        return float(node.value)
    return None
