"""The page about filters says what is so."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import pyarrow as pa
import pytest

from imagecurate.expressions import Expression
from imagecurate.expressions.tree import COMPARISONS, FUNCTIONS, KEYWORDS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "filters.md"
SCHEMA = {
    "aesthetic_score": pa.float32(),
    "nsfw_score": pa.float32(),
    "width": pa.int32(),
    "height": pa.int32(),
    "caption": pa.string(),
    "source": pa.string(),
    "taken": pa.timestamp("us"),
    "is_duplicate": pa.bool_(),
    "my col": pa.int64(),
}


def test_the_examples_run() -> None:
    """What stands behind ``>>>`` gives what stands below."""
    failed, tried = doctest.testfile(str(PAGE), module_relative=False)
    assert tried > 5
    assert failed == 0


def conditions() -> list[str]:
    """Expressions in the page's code: those of the table and those in running text that compare a known column."""
    spans = re.findall(
        r"``\s?(.+?)\s?``|`([^`\n]+)`|filter\(\"(.+?)\"|with_column\(\".+?\", \"(.+?)\"", PAGE.read_text("utf-8")
    )
    texts = [next(filter(None, groups)) for groups in spans]
    return [
        text for text in texts if re.search(r"(aesthetic_score|nsfw_score|width|caption|source|taken|my col`) .", text)
    ]


@pytest.mark.parametrize("text", conditions())
def test_the_conditions_shown_are_conditions(text: str) -> None:
    """Each condition in the text parses and checks against the columns that a dataset has."""
    Expression.parse(text).check_condition(SCHEMA)


def test_many_conditions_are_shown() -> None:
    """The search above finds them."""
    assert len(conditions()) >= 12


def test_the_grammar_is_complete() -> None:
    """Every operator, keyword and function is in the grammar."""
    grammar = PAGE.read_text("utf-8").split("```ebnf")[1].split("```")[0]
    symbols = {"+", "-", "*", "/", "//", "%", "**"}
    for word in COMPARISONS | symbols | set(FUNCTIONS) | KEYWORDS - {"none", "nan"}:
        assert f'"{word}"' in grammar
