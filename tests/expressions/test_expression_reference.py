"""Random expressions over random tables, against a naive evaluator in plain Python, row by row."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
from backends import BACKENDS, arrow, columns, host
from hypothesis import given, settings
from hypothesis import strategies as st

from imagecurate.expressions import Expression

COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
ARITHMETIC: dict[str, Callable[[float, float], float]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "%": operator.mod,
}
FUNCTIONS: dict[str, Callable[..., float]] = {"min": min, "max": max, "abs": abs}

small = st.integers(-3, 3).map(float) | st.floats(-100, 100, width=32)
words = st.text("ab'é.", max_size=3)


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


# Every node is (text, value of a row), so the reference never sees the parser.
numbers = st.deferred(
    lambda: (
        st.sampled_from(["i", "f", "odd col", "empty"]).map(lambda name: (f"`{name}`", lambda row: row[name]))
        | small.map(lambda value: (f"({value!r})", lambda row: value))
        | st.tuples(st.sampled_from(list(ARITHMETIC)), numbers, numbers).map(_arithmetic)
        | st.tuples(st.sampled_from(["min", "max"]), st.lists(numbers, min_size=2, max_size=3)).map(_function)
        | numbers.map(lambda node: _function(("abs", [node])))
        | numbers.map(lambda node: (f"-({node[0]})", lambda row: None if (v := node[1](row)) is None else -v))
        | strings.map(lambda node: (f"len({node[0]})", lambda row: None if (v := node[1](row)) is None else len(v)))
    )
)
strings = st.sampled_from(["s", "d", "empty"]).map(lambda name: (name, lambda row: row[name])) | words.map(
    lambda value: (quoted(value), lambda row: value)
)
conditions = st.deferred(
    lambda: (
        st.sampled_from(["b", "empty"]).map(lambda name: (name, lambda row: row[name]))
        | st.sampled_from([("true", True), ("false", False), ("null", None)]).map(lambda c: (c[0], lambda row: c[1]))
        | st.tuples(st.lists(numbers, min_size=2, max_size=3), st.data()).map(_chain)
        | st.tuples(st.lists(strings, min_size=2, max_size=3), st.data()).map(_chain)
        | st.tuples(numbers, numbers, numbers).map(_between)
        | st.tuples(strings, strings, strings).map(_between)
        | st.tuples(numbers, st.lists(small, max_size=3), st.just(repr)).map(_in)
        | st.tuples(strings, st.lists(words, max_size=3), st.just(quoted)).map(_in)
        | st.tuples(strings, words).map(_contains)
        | st.tuples(strings, words).map(_matches)
        | (numbers | strings | conditions).map(lambda node: (f"({node[0]}) is null", lambda row: node[1](row) is None))
        | conditions.map(lambda node: (f"not ({node[0]})", lambda row: _not(node[1](row))))
        | st.tuples(st.lists(conditions, min_size=2, max_size=3), st.booleans()).map(_joined)
    )
)


def _not(value: bool | None) -> bool | None:
    return None if value is None else not value


def _all(values: list[bool | None]) -> bool | None:
    return False if False in values else None if None in values else True


def _any(values: list[bool | None]) -> bool | None:
    return True if True in values else None if None in values else False


def _arithmetic(parts: Any) -> Any:
    name, left, right = parts

    def value(row: Any) -> float | None:
        a, b = left[1](row), right[1](row)
        if a is None or b is None or (name in ("/", "//", "%") and b == 0):
            return None
        result = ARITHMETIC[name](a, b)
        return None if math.isnan(result) else result

    return f"({left[0]}) {name} ({right[0]})", value


def _function(parts: Any) -> Any:
    name, arguments = parts

    def value(row: Any) -> float | None:
        given_values = [argument[1](row) for argument in arguments]
        return None if None in given_values else FUNCTIONS[name](*given_values)

    return f"{name}({', '.join(argument[0] for argument in arguments)})", value


def _chain(parts: Any) -> Any:
    operands, data = parts
    names = [data.draw(st.sampled_from(list(COMPARE))) for _ in operands[1:]]

    def value(row: Any) -> bool | None:
        given_values = [operand[1](row) for operand in operands]
        return _all(
            [
                None if a is None or b is None else COMPARE[name](a, b)
                for name, a, b in zip(names, given_values, given_values[1:], strict=False)
            ]
        )

    text = operands[0][0] if re.fullmatch(r"\W?\w+\W?", operands[0][0]) else f"({operands[0][0]})"
    return text + "".join(f" {name} ({node[0]})" for name, node in zip(names, operands[1:], strict=True)), value


def _between(parts: Any) -> Any:
    operand, low, high = parts

    def value(row: Any) -> bool | None:
        x, a, b = operand[1](row), low[1](row), high[1](row)
        return _all([None if a is None or x is None else a <= x, None if b is None or x is None else x <= b])

    return f"({operand[0]}) between ({low[0]}) and ({high[0]})", value


def _in(parts: Any) -> Any:
    operand, items, write = parts

    def value(row: Any) -> bool | None:
        return None if (x := operand[1](row)) is None else x in items

    return f"({operand[0]}) in [{', '.join(map(write, items))}]", value


def _contains(parts: Any) -> Any:
    operand, part = parts
    return f"({operand[0]}) contains {quoted(part)}", lambda row: None if (x := operand[1](row)) is None else part in x


def _matches(parts: Any) -> Any:
    operand, pattern = parts

    def value(row: Any) -> bool | None:
        return None if (x := operand[1](row)) is None else re.search(pattern, x, re.DOTALL) is not None

    return f"({operand[0]}) matches {quoted(pattern)}", value


def _joined(parts: Any) -> Any:
    nodes, every = parts
    combine = _all if every else _any
    text = (" and " if every else " or ").join(f"({node[0]})" for node in nodes)
    return text, lambda row: combine([node[1](row) for node in nodes])


rows_of = st.fixed_dictionaries(
    {
        "i": st.none() | st.integers(-5, 5),
        "f": st.none() | st.just(math.nan) | small,
        "odd col": st.none() | st.integers(0, 200),
        "b": st.none() | st.booleans(),
        "s": st.none() | words,
        "d": st.none() | st.sampled_from(["a", "ab", ""]),
        "empty": st.none(),
    }
)
TYPES = {
    "i": pa.int64(),
    "f": pa.float32(),
    "odd col": pa.uint8(),
    "b": pa.bool_(),
    "s": pa.string(),
    "empty": pa.null(),
}


def table(rows: list[dict[str, Any]]) -> dict[str, pa.Array]:
    plain = {name: pa.array([row[name] for row in rows], type_) for name, type_ in TYPES.items()}
    return plain | {"d": pa.array([row["d"] for row in rows], pa.string()).dictionary_encode()}


def plain(row: dict[str, Any]) -> dict[str, Any]:
    return {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in row.items()}


@pytest.mark.parametrize("backend", BACKENDS)
@settings(max_examples=400, deadline=None)
@given(node=numbers | strings | conditions, rows=st.lists(rows_of, max_size=6))
def test_values_are_those_of_plain_python(backend: str, node: Any, rows: list[dict[str, Any]]) -> None:
    """Any expression gives, for each row, what Python gives with None for null and for what is undefined."""
    text, reference = node
    expression = Expression.parse(text)
    given_rows = table(rows)
    there = columns(backend, given_rows)
    result = arrow(expression.values(there))
    assert result.to_pylist() == [reference(plain(row)) for row in rows]
    canonical = Expression.parse(str(expression))
    assert canonical == expression
    assert arrow(canonical.values(there)).equals(result)
    kind = expression.check({name: column.type for name, column in given_rows.items()})
    assert result.type == (pa.string() if pa.types.is_null(kind) and backend == "cudf" else kind)


@pytest.mark.parametrize("backend", BACKENDS)
@settings(max_examples=200, deadline=None)
@given(node=conditions, rows=st.lists(rows_of, min_size=1, max_size=6))
def test_a_condition_and_its_negation_partition_the_known_rows(
    backend: str, node: Any, rows: list[dict[str, Any]]
) -> None:
    """``e`` and ``not e`` hold in different rows, and in all where ``e`` is not null."""
    there = columns(backend, table(rows))
    holds, null = map(host, Expression.parse(node[0]).passes(there))
    opposite, null_too = map(host, Expression.parse(f"not ({node[0]})").passes(there))
    assert (null == null_too).all()
    assert (holds.astype(int) + opposite + null == 1).all()


@settings(max_examples=100, deadline=None)
@given(node=conditions, rows=st.lists(rows_of, min_size=1, max_size=6), names=st.permutations(["i", "f", "odd col"]))
def test_renaming_columns_renames_their_use(node: Any, rows: list[dict[str, Any]], names: list[str]) -> None:
    """A renamed expression on renamed columns gives the same."""
    mapping = dict(zip(["i", "f", "odd col"], names, strict=True))
    given_rows = table(rows)
    renamed = {mapping.get(name, name): column for name, column in given_rows.items()}
    expression = Expression.parse(node[0])
    assert expression.rename(mapping).values(renamed).equals(expression.values(given_rows))
