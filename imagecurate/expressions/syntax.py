"""Tokens to a tree, by operator precedence.

Nothing is ever evaluated as Python, and no input reaches the limit of Python's stack: what nests deeper than
``MAX_DEPTH`` is an error with a position, like any other mistake.
"""

from __future__ import annotations

import math

import pyarrow as pa
import pyarrow.compute as pc

from imagecurate.errors import ExpressionError, ImageCurateError, listed, near_miss
from imagecurate.expressions.tokens import FOREIGN, Token, error_at, tokens
from imagecurate.expressions.tree import COMPARISONS, FUNCTIONS, LEVELS, Column, Constant, Node, Operation

__all__ = ["MAX_DEPTH", "parsed"]

#: Levels of nesting: more than anyone writes; a level costs a few frames of Python's 1,000.
MAX_DEPTH = 64

_COMPARISON = LEVELS["in"]
_AFTER_NOT = ("in", "between", "contains", "matches")


def parsed(text: str) -> Node:
    """Parse an expression.

    Raises
    ------
    ExpressionError
        The text is no expression: what was expected, what was found, where, and what to write instead.

    Examples
    --------
    >>> parsed("width > 2 *")
    Traceback (most recent call last):
    ...
    imagecurate.errors.ExpressionError: expected a value, found the end of the expression
      width > 2 *
                 ^
    """
    if not isinstance(text, str):
        raise ExpressionError.because(f"an expression is a string, found {type(text).__name__}")
    if not text.strip():
        raise ExpressionError.because("the expression is empty", "write a condition, as in 'width >= 200'")
    return _Parser(text).whole()


class _Parser:
    """Reads from the left; ``self.token`` is the next token that has not been taken."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.coming = iter(tokens(text))
        self.token = next(self.coming)
        self.depth = 0

    def error(self, at: int, message: str, hint: str | None = None) -> ImageCurateError:
        return error_at(self.text, at, message, hint)

    def expected(self, what: str, hint: str | None = None) -> ImageCurateError:
        hint = FOREIGN.get(self.token.text.lower(), hint)
        return self.error(self.token.at, f"expected {what}, found {self.token}", hint)

    def take(self) -> Token:
        taken = self.token
        if taken.kind != "end":
            self.token = next(self.coming)
        return taken

    def at(self, *texts: str) -> bool:
        """Whether the next token is one of these keywords or symbols."""
        return self.token.kind in ("keyword", "symbol") and self.token.text in texts

    def require(self, *texts: str, hint: str | None = None) -> Token:
        if not self.at(*texts):
            raise self.expected(" or ".join(map(repr, texts)), hint)
        return self.take()

    def operation(self, name: str, operands: list[Node], at: int, operators: tuple[str, ...] = ()) -> Operation:
        made = Operation(name, tuple(operands), at, operators)
        if made.depth > MAX_DEPTH:
            raise self.too_deep(at)
        return made

    def too_deep(self, at: int) -> ImageCurateError:
        message = f"an expression nests at most {MAX_DEPTH} levels deep"
        return self.error(at, message, "split it into several filters or columns")

    def whole(self) -> Node:
        node = self.expression(0)
        if self.token.kind != "end":
            raise self.expected("an operator or the end of the expression")
        return node

    def nested(self, level: int) -> Node:
        """Read an expression one level deeper: in parentheses, or after a prefix."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self.too_deep(self.token.at)
        node = self.expression(level)
        self.depth -= 1
        return node

    def expression(self, level: int) -> Node:
        """Read a value and the operators after it that bind at least as tightly as ``level``."""
        node = self.prefix(level)
        previous = max(LEVELS.values()) + 1
        while (binds := self.level_here()) >= max(level, 1):
            if binds >= previous:
                raise self.expected("'and', 'or' or the end of the comparison", "put one comparison in parentheses")
            node = self.infix(node, binds)
            previous = binds
        return node

    def level_here(self) -> int:
        """How tightly the operator that comes next binds; 0 where none comes."""
        if self.token.kind not in ("keyword", "symbol"):
            return 0
        return _COMPARISON if self.token.text == "not" else LEVELS.get(self.token.text, 0)

    def prefix(self, level: int) -> Node:
        token = self.token
        match token.kind, token.text:
            case "number", _:
                return self.number(token.at)
            case "string", _:
                return self.string()
            case "name", _:
                return Column(self.take().text[1:-1].replace("``", "`"), token.at)
            case "word", _:
                self.take()
                return self.call(token) if self.at("(") else Column(token.text, token.at)
            case "keyword", "true" | "false" | "null":
                self.take()
                return Constant({"true": True, "false": False, "null": None}[token.text], token.at)
            case "keyword", "not" if level <= LEVELS["not"]:
                self.take()
                return self.operation("not", [self.nested(LEVELS["not"])], token.at)
            case "keyword", "not":
                raise self.expected("a value", "put the negation in parentheses: (not x)")
            case "symbol", "-":
                self.take()
                return self.operation("negate", [self.nested(LEVELS["negate"])], token.at)
            case "symbol", "(":
                self.take()
                node = self.nested(0)
                self.require(")")
                return node
            case "symbol", "[":
                raise self.expected("a value", "a list stands after in: x in [1, 2]")
            case "symbol", ">" if self.text[token.at - 1 : token.at] == "<":
                raise self.expected("a value", "'is not equal' is written !=")
            case "keyword", _:
                raise self.expected("a value", f"a column of that name goes into back-ticks: `{token.text}`")
        raise self.expected("a value")

    def string(self) -> Constant:
        token = self.take()
        quote = token.text[0]
        return Constant(token.text[1:-1].replace(quote * 2, quote), token.at)

    def number(self, at: int, sign: int = 1) -> Constant:
        token = self.take()
        digits = token.text.replace("_", "")
        try:
            value = float(token.text)
            held = value < math.inf and not (digits.isdecimal() and int(digits) != value)
        except ValueError:
            hint = "numbers are written 200, 0.5, 1e6 or 1_000_000"
            raise self.error(token.at, f"{token} is not a number", hint) from None
        if not held:
            hint = "whole numbers are exact up to 2**53; keep longer identifiers as strings"
            raise self.error(token.at, f"numbers are float64, which does not hold {token}", hint)
        return Constant(sign * value, at)

    def call(self, function: Token) -> Operation:
        name = function.text.lower()
        if name not in FUNCTIONS:
            guess = near_miss(name, FUNCTIONS)
            hint = f"did you mean {guess!r}?" if guess else f"there are {listed(FUNCTIONS)}"
            raise self.error(function.at, f"unknown function {function.text!r}", FOREIGN.get(name, hint))
        self.require("(")
        arguments: list[Node] = []
        while not self.at(")"):
            if arguments:
                self.require(",", ")")
            arguments.append(self.nested(0))
        self.require(")")
        fewest, most = FUNCTIONS[name]
        if not fewest <= len(arguments) <= most:
            takes = "one value" if most == 1 else "two or more values of the same row"
            raise self.error(function.at, f"{name} takes {takes}, found {len(arguments)}")
        return self.operation(name, arguments, function.at)

    def infix(self, left: Node, level: int) -> Node:
        token = self.token
        if token.text == "**":
            self.take()
            return self.operation("arithmetic", [left, self.nested(level)], token.at, ("**",))
        if level == _COMPARISON and token.text not in COMPARISONS:
            return self.predicate(left)
        operands, operators = [left], []
        while self.level_here() == level and (level != _COMPARISON or self.at(*COMPARISONS)):
            operators.append(self.take().text)
            operands.append(self.expression(level + 1))
        if token.kind == "keyword":
            return self.operation(token.text, operands, token.at)
        name = "compare" if level == _COMPARISON else "arithmetic"
        return self.operation(name, operands, token.at, tuple(operators))

    def predicate(self, left: Node) -> Operation:
        """Read what follows a value in words: as in ``x is not null`` or ``x between 1 and 5``."""
        at = self.token.at
        negated = self.at("not") and bool(self.take())
        choices = _AFTER_NOT if negated else (*_AFTER_NOT, "is")
        word = self.require(*choices, hint="null is tested with `x is not null`").text
        if word == "is":
            negated = self.at("not") and bool(self.take())
            self.require("null", hint="is only tests for null; compare values with ==")
            made = self.operation("is null", [left], at)
        elif word == "in":
            made = self.operation("in", [left, *self.items()], at)
        elif word == "between":
            low = self.expression(_COMPARISON + 1)
            self.require("and", hint="the two bounds are joined by and: x between 1 and 5")
            made = self.operation("between", [left, low, self.expression(_COMPARISON + 1)], at)
        else:
            made = self.operation(word, [left, self.pattern(word)], at)
        return self.operation("not", [made], at) if negated else made

    def items(self) -> list[Node]:
        hint = "a list is written [1, 2]; a substring is found by `caption contains 'text'`"
        opening = self.require("[", "(", hint=hint)
        closing = "]" if opening.text == "[" else ")"
        items: list[Node] = []
        while not self.at(closing):
            if items:
                self.require(",", closing)
                if self.at(closing):  # a trailing comma, as Python prints a tuple of one
                    break
            items.append(self.item())
        self.require(closing)
        return items

    def item(self) -> Constant:
        at = self.token.at
        negative = self.at("-") and bool(self.take())
        if self.token.kind == "number":
            return self.number(at, -1 if negative else 1)
        if negative:
            raise self.expected("a number")
        if self.token.kind == "string":
            return self.string()
        if self.at("true", "false"):
            return Constant(self.take().text == "true", at)
        apart, quoted = "test null apart: `x in [1] or x is null`", "a string is written in quotes: 'text'"
        raise self.expected("a number or string in the list", apart if self.at("null") else quoted)

    def pattern(self, word: str) -> Constant:
        if self.token.kind != "string":
            raise self.expected(f"a string after {word!r}", "it is written in quotes: 'text'")
        pattern = self.string()
        if word == "matches":
            try:
                pc.match_substring_regex(pa.scalar(""), pattern.value)
            except pa.ArrowInvalid as error:
                message = f"not a regular expression: {str(error).removeprefix('Invalid regular expression: ')}"
                hint = "the syntax is RE2's, without look-around and back-references"
                raise self.error(pattern.at, message, hint) from None
        return pattern
