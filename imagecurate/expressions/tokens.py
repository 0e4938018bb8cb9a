"""Text to tokens, and errors that point into the text."""

from __future__ import annotations

import re
from typing import NamedTuple

from imagecurate.errors import ExpressionError, ImageCurateError
from imagecurate.expressions.tree import KEYWORDS

__all__ = ["FOREIGN", "MAX_LENGTH", "Token", "error_at", "tokens"]

#: Characters of an expression: room for tens of thousands of names after ``in``.
MAX_LENGTH = 1_000_000

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<number>(?:[0-9][0-9_]*(?:\.[0-9_]*)?|\.[0-9][0-9_]*)(?:[eE][+-]?[0-9]+)?[A-Za-z0-9_]*)
      | (?P<word>[^\W\d]\w*)
      | (?P<name>`(?:[^`]+|``)++`)
      | (?P<string>'(?:[^']+|'')*+'|"(?:[^"]+|"")*+")
      | (?P<foreign>===|<>|&&?|\|\|?|=(?!=)|!(?!=)|[~^\u2264\u2265\u2260\u201c\u201d\u2018\u2019\u00b4.{}])
      | (?P<symbol>\*\*|//|[=!<>]=|[-+*/%<>()\[\],])
      | (?P<end>\Z)
    )""",
    re.VERBOSE,
)

#: What other languages write, and what is written here.
FOREIGN = {
    "=": "compare with ==",
    "===": "compare with ==",
    "<>": "write !=",
    "≠": "write !=",
    "≤": "write <=",
    "≥": "write >=",
    "&": "write and",
    "&&": "write and",
    "|": "write or",
    "||": "write or",
    "!": "write not",
    "~": "write not",
    "^": "a power is written **",
    ".": "a column name with other characters than letters, digits and _ goes into back-ticks: `my.col`",
    "{": "a list is written [1, 2]",
    "like": "write contains 'text', or matches 'regular expression'",
    "ilike": "write matches '(?i)text'",
    "startswith": "write matches '^text'",
    "endswith": "write matches 'text$'",
    "isin": "write in [1, 2]",
    "if": "write the condition alone; and, or and not combine conditions",
    "none": "nothing is written null, and tested with `x is null`",
    "nan": "NaN counts as null: test it with `x is null`",
} | dict.fromkeys("\u201c\u201d\u2018\u2019\u00b4", "a string is written in straight quotes: 'text'")


class Token(NamedTuple):
    """A piece of an expression at position ``at``; keywords are in lower case."""

    kind: str
    text: str
    at: int

    def __str__(self) -> str:
        if self.kind == "end":
            return "the end of the expression"
        return repr(self.text if len(self.text) <= 40 else f"{self.text[:39]}…")


def error_at(text: str, at: int, message: str, hint: str | None = None) -> ImageCurateError:
    """Make an error that points at a position of the text.

    Parameters
    ----------
    text : str
        The expression.
    at : int
        Where it is wrong, in characters from 0.
    message : str
        What was expected and what was found.
    hint : str, optional
        What to write instead.
    """
    start = text.rfind("\n", 0, at) + 1
    line = text[start:].split("\n", 1)[0].replace("\t", " ")
    cut = max(0, at - start - 60)
    shown = ("…" if cut else "") + line[cut : cut + 100] + ("…" if len(line) > cut + 100 else "")
    indent = " " * (at - start - cut + (1 if cut else 0))
    return ExpressionError.because(f"{message}\n  {shown}\n  {indent}^", hint)


def tokens(text: str) -> list[Token]:
    """Cut an expression into tokens, of which the last is the end.

    Raises
    ------
    ExpressionError
        The text is too long, is not Unicode, or holds a character or an open quote that begins no token.

    Examples
    --------
    >>> [token.text for token in tokens("width>=2e2 AND `my col` != 'x y'")]
    ['width', '>=', '2e2', 'and', '`my col`', '!=', "'x y'", '']
    """
    if len(text) > MAX_LENGTH:
        message = f"an expression has at most {MAX_LENGTH:,} characters, found {len(text):,}"
        raise ExpressionError.because(message, "keep a long list of values as a column of the metadata")
    if surrogate := re.search("[\ud800-\udfff]", text):
        raise ExpressionError.because(f"an expression is Unicode text, found the lone surrogate {surrogate[0]!a}")
    found: list[Token] = []
    position = 0
    while not found or found[-1].kind != "end":
        match = _TOKEN.match(text, position)
        if match is None or match.lastgroup is None:
            raise _unreadable(text, position + len(text[position:]) - len(text[position:].lstrip()))
        kind, word, at = match.lastgroup, match[match.lastgroup], match.start(match.lastgroup)
        if kind == "word" and word.lower() in KEYWORDS:
            kind, word = "keyword", word.lower()
        found.append(Token(kind, word, at))
        position = match.end()
    return found


def _unreadable(text: str, at: int) -> ImageCurateError:
    character = text[at]
    if character in "'\"":
        message = f"the string that begins here lacks its closing {character}"
        return error_at(text, at, message, f"inside a string in {character}, write {character} twice")
    if character == "`":
        message = "the column name that begins here is empty or lacks its closing `"
        return error_at(text, at, message, "inside a name, write ` twice")
    message = f"found {character!r}, which has no meaning here"
    return error_at(text, at, message, "an odd column name goes into back-ticks: `my col`")
