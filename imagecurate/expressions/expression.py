"""The public object: an expression over columns, parsed once and computed for any rows."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from imagecurate.backend import backend_of
from imagecurate.errors import ExpressionError
from imagecurate.expressions.evaluate import evaluate
from imagecurate.expressions.syntax import parsed
from imagecurate.expressions.tokens import error_at
from imagecurate.expressions.tree import Column, Node, leaves, replaced, written
from imagecurate.expressions.types import Kind, Typed, typed

__all__ = ["Expression"]

_ARROW_TYPES = {
    Kind.NUMBER: pa.float64(),
    Kind.STRING: pa.string(),
    Kind.BOOLEAN: pa.bool_(),
    Kind.NULL: pa.null(),
}


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Expression:
    """A condition or a computed value, in the language of ``docs/filters.md``.

    It never runs as Python.  Two expressions are equal where their canonical texts are; ``str`` gives that text.

    Parameters
    ----------
    text : str
        As written.

    Attributes
    ----------
    columns : tuple of str
        Names of the columns it reads, in the order of first use.

    Raises
    ------
    ExpressionError
        The text is no expression: what was expected, what was found, where, and what to write instead.

    Examples
    --------
    >>> quality = Expression.parse("aesthetic_score>=5.0 AND not (caption is null)")
    >>> str(quality), quality.columns
    ('aesthetic_score >= 5 and caption is not null', ('aesthetic_score', 'caption'))
    >>> rows = {"aesthetic_score": pa.array([6.5, 3.0, None]), "caption": pa.array(["a", "b", "c"])}
    >>> holds, null = quality.passes(rows)
    >>> holds.tolist(), null.tolist()
    ([True, False, False], [False, False, True])
    """

    text: str
    columns: tuple[str, ...] = field(init=False)
    _tree: Node = field(init=False)
    _canonical: str = field(init=False)

    def __post_init__(self) -> None:
        tree = parsed(self.text)
        names = dict.fromkeys(leaf.name for leaf in leaves(tree) if isinstance(leaf, Column))
        object.__setattr__(self, "columns", tuple(names))
        object.__setattr__(self, "_tree", tree)
        object.__setattr__(self, "_canonical", written(tree))

    @classmethod
    def parse(cls, text: str) -> Expression:
        """Parse an expression; the same as calling the class."""
        return cls(text)

    def __str__(self) -> str:
        return self._canonical

    def __repr__(self) -> str:
        return f"Expression({self.text!r})"

    def __eq__(self, other: object) -> bool:
        return self._canonical == other._canonical if isinstance(other, Expression) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._canonical)

    def __reduce__(self) -> tuple[type[Expression], tuple[str]]:
        return type(self), (self.text,)

    def rename(self, mapping: Mapping[str, str]) -> Expression:
        """Read other columns: those that the mapping names, all at once.

        >>> str(Expression.parse("width > 2 * height").rename({"width": "image width"}))
        '`image width` > 2 * height'
        """
        return Expression(written(self._tree, mapping)) if mapping.keys() & set(self.columns) else self

    def replace(self, mapping: Mapping[str, Expression]) -> Expression:
        """Put expressions in the place of the columns that the mapping names, all at once.

        >>> marks = Expression("a is not null or b")
        >>> str(Expression("not is_duplicate").replace({"is_duplicate": marks}))
        'not (a is not null or b)'
        """
        if not mapping.keys() & set(self.columns):
            return self
        return Expression(written(replaced(self._tree, {name: other._tree for name, other in mapping.items()})))

    def check(self, schema: Mapping[str, pa.DataType]) -> pa.DataType:
        """Give the type of the result: float64, bool, string or, where everything is null, null.

        Parameters
        ----------
        schema : mapping of str to pyarrow.DataType
            Types of the columns there are, of which the expression may read some.

        Raises
        ------
        ColumnNotFoundError
            A column that is not in the schema.
        ExpressionError
            Values that do not compare, or that an operation does not take.
        """
        return _ARROW_TYPES[self._typed(schema).kind]

    def check_condition(self, schema: Mapping[str, pa.DataType]) -> None:
        """Check that the expression can filter rows.

        Raises
        ------
        ColumnNotFoundError
            A column that is not in the schema.
        ExpressionError
            As `check`, and where the result is neither true nor false.
        """
        self._typed_condition(schema)

    def values(self, columns: Mapping[str, Any]) -> pa.Array:
        """Compute the result for some rows.

        Parameters
        ----------
        columns : mapping of str to pyarrow.Array of shape (n,)
            At least the columns that the expression reads; any column where it reads none.

        Returns
        -------
        pyarrow.Array of shape (n,)
            Of the type that `check` gives; null where a value is unknown.

        Raises
        ------
        ColumnNotFoundError, ExpressionError
            As `check`.
        """
        kind, result, backend, rows = self._evaluated(columns, condition=False)
        match kind:
            case Kind.NUMBER:
                return backend.number_column(result, rows)
            case Kind.BOOLEAN:
                return backend.boolean_column(result, rows)
            case Kind.STRING:
                return backend.string_column(result, rows)
        return backend.null_column(rows)

    def passes(self, columns: Mapping[str, Any]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Tell in which rows the condition holds.

        Parameters
        ----------
        columns : mapping of str to pyarrow.Array of shape (n,)
            At least the columns that the expression reads; any column where it reads none.

        Returns
        -------
        holds : array of shape (n,), bool
            True where the condition is true.
        null : array of shape (n,), bool
            True where it is unknown.

        Raises
        ------
        ColumnNotFoundError, ExpressionError
            As `check_condition`.
        """
        _, (true, false), backend, rows = self._evaluated(columns, condition=True)
        return backend.mask(true, rows), backend.mask(~(true | false), rows)

    def _evaluated(self, columns: Mapping[str, Any], condition: bool) -> tuple[Kind, Any, ModuleType, int]:
        if not columns:
            raise ExpressionError.because(f"{self.text!r} was given no column, so the number of rows is unknown")
        some = next(iter(columns.values()))
        backend = backend_of(some)
        if any(name not in columns for name in self.columns):
            self._typed({name: backend.type_of(column) for name, column in columns.items()})
        types = tuple([backend.type_of(columns[name]) for name in self.columns])
        node = _typed_for(self, types, condition)
        with np.errstate(all="ignore"):
            return node.kind, evaluate(node, columns, backend), backend, len(some)

    def _typed(self, schema: Mapping[str, pa.DataType]) -> Typed:
        node = typed(self._tree, schema, self.text)
        if node.kind not in _ARROW_TYPES:
            message = f"an expression gives a number, a string or a boolean, but {self} is {node.kind}"
            raise error_at(self.text, 0, message)
        return node

    def _typed_condition(self, schema: Mapping[str, pa.DataType]) -> Typed:
        node = self._typed(schema)
        if node.kind is Kind.NULL:
            return Typed("constant", Kind.BOOLEAN)
        if node.kind is not Kind.BOOLEAN:
            hint = {
                Kind.NUMBER: f"compare it, as in `{self} > 0`",
                Kind.STRING: f"compare it, as in `{self} == 'text'`",
            }
            raise error_at(self.text, 0, f"a filter is a condition, but {self} is {node.kind}", hint[node.kind])
        return node


@functools.lru_cache(maxsize=1024)
def _typed_for(expression: Expression, types: tuple[pa.DataType, ...], condition: bool) -> Typed:
    """Type an expression once for the many shards whose columns have these types."""
    schema = dict(zip(expression.columns, types, strict=True))
    return expression._typed_condition(schema) if condition else expression._typed(schema)
