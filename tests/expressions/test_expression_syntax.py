"""Reading expressions and writing them back."""

from __future__ import annotations

import copy
import pickle
import re
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagecurate.errors import ExpressionError
from imagecurate.expressions import Expression
from imagecurate.expressions.syntax import MAX_DEPTH
from imagecurate.expressions.tokens import MAX_LENGTH


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("aesthetic_score>=5.0 AND nsfw_score<.2", "aesthetic_score >= 5 and nsfw_score < 0.2"),
        ("NOT is_duplicate", "not is_duplicate"),
        ("not not a", "not not a"),
        ("a or b and not c", "a or b and not c"),
        ("(a or b) and c", "(a or b) and c"),
        ("((a) and ((b)))", "a and b"),
        ("1<x<=5", "1 < x <= 5"),
        ("(a == b) == c", "(a == b) == c"),
        ("a - (b - c) - d", "a - (b - c) - d"),
        ("(a + b) * -c // 2 % 3", "(a + b) * -c // 2 % 3"),
        ("-x**2", "-x ** 2"),
        ("(-x)**2**-y", "(-x) ** 2 ** -y"),
        ("(a ** b) ** c", "(a ** b) ** c"),
        ("- -x", "--x"),
        ("MIN( width ,height )", "min(width, height)"),
        ("len > min", "len > min"),
        ("x IN (1, -2.50, 1_000_000,)", "x in [1, -2.5, 1000000]"),
        ("source not in ['a', \"b\"]", "source not in ['a', 'b']"),
        ("not source in ['a']", "source not in ['a']"),
        ("x in []", "x in []"),
        ("flag in [TRUE, false]", "flag in [true, false]"),
        ("width between height*2 and 5+5 and b", "width between height * 2 and 5 + 5 and b"),
        ("w not between 1 and 2", "w not between 1 and 2"),
        ("caption is NOT null", "caption is not null"),
        ("(a and b) is null", "(a and b) is null"),
        ("not (caption contains 'cat')", "caption not contains 'cat'"),
        (r"caption not matches '^\d+$'", r"caption not matches '^\d+$'"),
        ("name == 'it''s'", "name == 'it''s'"),
        ('name == "it\'s ""so"""', "name == 'it''s \"so\"'"),
        ("`my col` > 1 and `a``b` and `width` and `In`", "`my col` > 1 and `a``b` and width and `In`"),
        ("größe > 1e-3", "größe > 0.001"),
        ("x\n  > 5\n\tand y", "x > 5 and y"),
        ("x == 1e300 or x == 1e22", "x == 1e+300 or x == 1e+22"),
        ("x == 9007199254740992", "x == 9007199254740992.0"),
        ("null or TRUE", "null or true"),
    ],
)
def test_canonical_text(text: str, canonical: str) -> None:
    """The canonical text normalises spacing, quotes and needless parentheses, and parses to itself."""
    expression = Expression.parse(text)
    assert str(expression) == canonical
    assert str(Expression.parse(canonical)) == canonical
    assert expression == Expression.parse(canonical)
    assert expression.text == text


@pytest.mark.parametrize(
    ("text", "message", "pointed", "hint"),
    [
        ("", "the expression is empty", None, "width >= 200"),
        ("x = 5", "expected an operator or the end of the expression, found '='", "=", "compare with =="),
        ("x === 5", "found '==='", "===", "compare with =="),
        ("x <> 5", "found '<>'", "<>", "write !="),
        ("x ≥ 5", "found '≥'", "≥", "write >="),
        ("a && b", "found '&&'", "&&", "write and"),
        ("a | b", "found '|'", "|", "write or"),
        ("~a", "expected a value, found '~'", "~", "write not"),
        ("x ^ 2", r"found '\^'", "^", r"\*\*"),
        ("exif.width > 5", "found '.'", ".width", "`my.col`"),
        ("name == “a”", "found '“'", "“", "straight quotes"),
        ("name like '%a'", "found 'like'", "like", "contains"),
        ("startswith(name, 'a')", "unknown function 'startswith'", "startswith", r"matches '\^text'"),
        ("x is None", "expected 'null', found 'none'", "None", "null"),
        ("x == nan", "expected a value, found 'nan'", "nan", "NaN counts as null"),
        ("x is true", "expected 'null', found 'true'", "true", "only tests for null"),
        ("x not null", "found 'null'", "null", "x is not null"),
        ("x in [1, null]", "expected a number or string in the list, found 'null'", "null", "or x is null"),
        ("x in [a]", "expected a number or string in the list, found 'a'", "a]", "quotes"),
        ("x in [-'a']", "expected a number, found \"'a'\"", "'a'", None),
        ("'cat' in caption", r"expected '\[' or '\(', found 'caption'", "caption", "caption contains 'text'"),
        ("x in [1 2]", r"expected ',' or '\]', found '2'", "2]", None),
        ("x between 1, 5", "expected 'and', found ','", ",", "x between 1 and 5"),
        ("caption contains 5", "expected a string after 'contains', found '5'", "5", "quotes"),
        ("caption matches '(a'", "not a regular expression: missing", "'(a'", "RE2"),
        ("caption matches '(?=a)'", "not a regular expression: invalid perl operator", "'(?=a)'", "look-around"),
        ("width > 5k", "'5k' is not a number", "5k", "1_000_000"),
        ("width > 1__0", "'1__0' is not a number", "1__0", None),
        ("width > 1e999", "float64, which does not hold '1e999'", "1e999", None),
        ("id == 9007199254740993", "float64, which does not hold '9007199254740993'", "9007", r"2\*\*53"),
        (f"x > {'0' * 5000}1", "is not a number", "000", None),
        ("name == 'a", "lacks its closing '", "'a", "twice"),
        ("name == 'it''s", "lacks its closing '", "'it''s", "twice"),
        ("`a", "empty or lacks its closing `", "`a", "twice"),
        ("`` > 1", "empty or lacks its closing `", "`` >", None),
        ("x # 1", "found '#', which has no meaning here", "#", "back-ticks"),
        ("x > 2 *", "expected a value, found the end of the expression", "", None),
        ("[1, 2]", r"expected a value, found '\['", "[1", "x in"),
        ("between > 5", "expected a value, found 'between'", "between", "`between`"),
        ("a + not b", "expected a value, found 'not'", "not", "parentheses"),
        ("a < b in [1]", "found 'in'", "in [", "parentheses"),
        ("a is null + 1", r"found '\+'", "+", "parentheses"),
        ("a b", "expected an operator or the end of the expression, found 'b'", "b", None),
        ("(a", "expected '\\)', found the end of the expression", "", None),
        ("a)", "found '\\)'", ")", None),
        ("max(a, b", "expected ',' or '\\)'", "", None),
        ("min(width) > 5", "min takes two or more values of the same row, found 1", "min", None),
        ("abs(a, b)", "abs takes one value, found 2", "abs", None),
        ("mix(a, b)", "unknown function 'mix'", "mix", "did you mean 'min'"),
        ("sqrt(a)", "unknown function 'sqrt'", "sqrt", "there are abs, len, max, min"),
        ("__import__('os').system('true')", "unknown function '__import__'", "__import__", None),
        ("lambda: 0", "found ':'", ":", None),
    ],
)
def test_mistakes_are_pointed_at(text: str, message: str, pointed: str | None, hint: str | None) -> None:
    """A mistake says what was expected and found, points at it, and says what to write instead."""
    with pytest.raises(ExpressionError, match=message) as caught:
        Expression.parse(text)
    body, _, hinted = str(caught.value).partition("\n\nHint: ")
    if pointed is not None:
        _, line, caret = body.split("\n")
        assert line[caret.index("^") :].startswith(pointed)
    assert hint is None or re.search(hint, hinted)


def test_a_long_line_is_cut_around_the_mistake() -> None:
    """The message shows the surroundings of a mistake, not the whole text; only the line at fault."""
    text = "first > 1 and\n" + " and ".join(f"column_{number} > {number}" for number in range(500)) + " = 7\nand last"
    with pytest.raises(ExpressionError) as caught:
        Expression.parse(text)
    _, line, caret, *_ = str(caught.value).split("\n")
    assert len(line) < 110
    assert line.startswith("  …")
    assert line[caret.index("^") :] == "= 7"


@pytest.mark.parametrize("value", [None, 5, b"x > 5", ["x"]])
def test_only_strings_are_expressions(value: object) -> None:
    """What is not a string is refused by its type."""
    with pytest.raises(ExpressionError, match=f"an expression is a string, found {type(value).__name__}"):
        Expression.parse(value)  # type: ignore[arg-type]


def test_lone_surrogates_are_refused() -> None:
    """Arrow holds UTF-8, which has no surrogates."""
    with pytest.raises(ExpressionError, match="lone surrogate"):
        Expression.parse("name == '\ud800'")


@pytest.mark.parametrize(
    "piece",
    ["(", "not ", "-", "2 ** ", "min(1, ", "abs(", "a and (", "1 + (", "x > 1 ** 2 * 3 + (", "a is null or not ("],
)
def test_deep_nesting_is_an_error_with_a_position(piece: str) -> None:
    """Nesting beyond the limit is an ExpressionError, never a RecursionError."""
    with pytest.raises(ExpressionError, match=f"nests at most {MAX_DEPTH} levels"):
        Expression.parse(piece * 20_000 + "x")


def test_the_limit_itself_leaves_room_on_the_stack() -> None:
    """What just parses is also written, compared and typed far from Python's own limit."""
    frames = 0
    frame = sys._getframe()
    while frame is not None:
        frames, frame = frames + 1, frame.f_back  # type: ignore[assignment]
    before = sys.getrecursionlimit()
    text = "(1 + " * (MAX_DEPTH - 1) + "x" + ")" * (MAX_DEPTH - 1)
    sys.setrecursionlimit(frames + 500)
    try:
        expression = Expression.parse(text + " > 0")
        assert Expression.parse(str(expression)) == expression
    finally:
        sys.setrecursionlimit(before)


@pytest.mark.parametrize("joint", [" and ", " or ", " + ", " < ", " * "])
def test_long_chains_are_flat(joint: str) -> None:
    """The length of a chain is not bounded by its depth."""
    text = joint.join(["x"] * 5_000)
    assert str(Expression.parse(text)) == text


def test_length_is_bounded() -> None:
    """A text beyond the limit is refused before it is read."""
    with pytest.raises(ExpressionError, match="at most 1,000,000 characters, found 1,000,001"):
        Expression.parse("x" * (MAX_LENGTH + 1))


def test_columns_come_in_order_of_first_use() -> None:
    """Each column once; functions and strings are none."""
    expression = Expression.parse("len(caption) > 5 and `my col` < width and caption contains 'height' and width > 1")
    assert expression.columns == ("caption", "my col", "width")
    assert Expression.parse("1 < 2").columns == ()


def test_rename_is_simultaneous_and_quotes() -> None:
    """Names are swapped at once, in every place, and quoted where the new name needs it."""
    expression = Expression.parse("width > height and `width`*2 < 7 and note == 'width'")
    renamed = expression.rename({"width": "height", "height": "a`b", "other": "x"})
    assert renamed.columns == ("height", "a`b", "note")
    assert str(renamed) == "height > `a``b` and height * 2 < 7 and note == 'width'"
    assert renamed.text == str(renamed)
    assert expression.rename({"other": "x"}) is expression


def test_expressions_are_values() -> None:
    """Equal by canonical text, hashable, frozen, and the same after pickling and copying."""
    one, other = Expression.parse("a>1"), Expression.parse("(a) > 1.0")
    assert one == other
    assert hash(one) == hash(other)
    assert one != Expression.parse("a > 2")
    assert one != "a > 1"
    assert repr(one) == "Expression('a>1')"
    for twin in (pickle.loads(pickle.dumps(other)), copy.deepcopy(other)):
        assert twin == other
        assert twin.text == other.text
    with pytest.raises(AttributeError):
        one.text = "b"  # type: ignore[misc]


_WORDS = "and or not in is null between contains matches true x `y z` len min( abs( 1 2.5 's' \"t\" 1e9 é \u0663"
_SYMBOLS = "** // == != <= >= ( ) [ ] , + - * / % < > = ! & . ' \" `"
_PIECES = st.lists(st.sampled_from([*_WORDS.split(), *_SYMBOLS.split(), "\n"]), max_size=20)


@given(_PIECES.map(" ".join) | _PIECES.map("".join) | st.text(max_size=30))
def test_any_text_parses_or_is_refused(text: str) -> None:
    """No text raises anything but ExpressionError, and what parses is written as what parses the same."""
    try:
        expression = Expression.parse(text)
    except ExpressionError:
        return
    assert Expression.parse(str(expression)) == expression
    assert str(Expression.parse(str(expression))) == str(expression)
    assert Expression.parse(str(expression)).columns == expression.columns


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=1))
def test_any_column_name_and_any_string_can_be_written(content: str) -> None:
    """Back-ticks and quotes hold any Unicode text."""
    expression = Expression.parse(f"`{content.replace('`', '``')}` == '{content.replace(chr(39), chr(39) * 2)}'")
    assert expression.columns == (content,)
    assert Expression.parse(str(expression)).columns == (content,)
