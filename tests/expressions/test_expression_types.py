"""Which values an expression combines, decided before any row is read."""

from __future__ import annotations

import pyarrow as pa
import pytest

from imagecurate.errors import ColumnNotFoundError, ExpressionError
from imagecurate.expressions import Expression

SCHEMA = {
    "width": pa.int32(),
    "score": pa.float32(),
    "price": pa.decimal128(8, 2),
    "caption": pa.string(),
    "source": pa.dictionary(pa.int8(), pa.string()),
    "is_duplicate": pa.bool_(),
    "taken": pa.timestamp("us", "UTC"),
    "day": pa.date32(),
    "image_embedding": pa.list_(pa.float32()),
    "exif": pa.struct([("iso", pa.int32())]),
    "nothing": pa.null(),
}


@pytest.mark.parametrize(
    ("text", "type_"),
    [
        ("width", pa.float64()),
        ("width * 2 - price", pa.float64()),
        ("min(width, nothing)", pa.float64()),
        ("len(caption) + len(image_embedding)", pa.float64()),
        ("caption", pa.string()),
        ("source", pa.string()),
        ("'constant'", pa.string()),
        ("is_duplicate", pa.bool_()),
        ("caption == source", pa.bool_()),
        ("taken > day", pa.bool_()),
        ("day between '2024-01-01' and '2024-12-31T23:59:59'", pa.bool_()),
        ("taken in ['2024-01-01T12:00+01:00']", pa.bool_()),
        ("exif is not null and image_embedding is null", pa.bool_()),
        ("is_duplicate == true", pa.bool_()),
        ("nothing == 'a' or nothing > 5 or nothing or nothing contains 'a'", pa.bool_()),
        ("nothing + 1", pa.float64()),
        ("nothing", pa.null()),
        ("null", pa.null()),
    ],
)
def test_type_of_the_result(text: str, type_: pa.DataType) -> None:
    """Numbers are float64, strings string, conditions bool, and nothing is null."""
    assert Expression.parse(text).check(SCHEMA) == type_


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("caption > 5", r"cannot compare caption \(a string\) with 5 \(a number\)", "len"),
        ("width > '5'", r"cannot compare width \(a number\) with '5' \(a string\)", "without quotes: 5"),
        ("width > 'height'", r"cannot compare width \(a number\) with 'height' \(a string\)", "back-ticks"),
        ("1 < width < caption", r"cannot compare width \(a number\) with caption \(a string\)", None),
        ("is_duplicate == 1", r"cannot compare is_duplicate \(a boolean\) with 1 \(a number\)", "not flag"),
        ("taken > 2024", r"cannot compare taken \(a time\) with 2024 \(a number\)", "'2024-01-31'"),
        ("taken > caption", r"cannot compare taken \(a time\) with caption \(a string\)", None),
        ("taken > 'soon'", "'soon' is compared with times but is none", "'2024-01-31'"),
        ("image_embedding > 3", r"cannot compare image_embedding \(a list\) with 3 \(a number\)", "len"),
        ("image_embedding == image_embedding", r"image_embedding \(a list\) cannot be compared", "len"),
        ("exif == exif", r"exif \(struct<iso: int32>\) cannot be compared", None),
        ("is_duplicate < true", r"is_duplicate \(a boolean\) can only be equal or not", None),
        ("is_duplicate between false and true", r"is_duplicate \(a boolean\) can only be equal or not", None),
        ("width in [1, 'a']", r"cannot compare 1 \(a number\) with 'a' \(a string\)", None),
        ("width == null", "a comparison with null is null in every row", "x is null"),
        ("width between null and 5", "a comparison with null is null in every row", "x is null"),
        ("width and is_duplicate", r"'and' takes a boolean, found width \(a number\)", "width > 0"),
        ("not caption", r"'not' takes a boolean, found caption \(a string\)", "caption is not null"),
        ("caption + 'x'", r"'\+' takes a number, found caption \(a string\)", None),
        ("-taken", r"'-' takes a number, found taken \(a time\)", None),
        ("abs(is_duplicate)", r"'abs' takes a number, found is_duplicate \(a boolean\)", None),
        ("max(width, caption)", r"'max' takes a number, found caption \(a string\)", None),
        ("len(width)", r"'len' takes a string or a list, found width \(a number\)", None),
        ("width contains '1'", r"'contains' takes a string, found width \(a number\)", None),
        ("image_embedding", "gives a number, a string or a boolean, but image_embedding is a list", None),
        (f"{'width + ' * 20}caption == 'a'", r"'\+' takes a number, found caption", None),
        (f"{'width + ' * 20}1 == 'a'", r"cannot compare (width \+ ?)+… \(a number\) with 'a' \(a string\)", None),
    ],
)
def test_what_does_not_combine_is_refused(text: str, message: str, hint: str | None) -> None:
    """The message names the sides with their kinds and points into the text; most say what to write."""
    with pytest.raises(ExpressionError, match=message) as caught:
        Expression.parse(text).check(SCHEMA)
    assert "^" in str(caught.value)
    if hint is not None:
        assert hint in str(caught.value).split("Hint: ")[1]


def test_unknown_columns_name_the_near_miss() -> None:
    """A misspelt column is answered by the one that was meant."""
    with pytest.raises(ColumnNotFoundError, match=r"column 'widht' not found.*\n\nHint: did you mean 'width'"):
        Expression.parse("score > 1 and widht > 5").check(SCHEMA)


def test_a_string_without_quotes_is_suspected() -> None:
    """A word on the right of a comparison that is no column was probably a string."""
    with pytest.raises(ColumnNotFoundError, match="Hint: a string is written in quotes: 'cc12m'"):
        Expression.parse("source == cc12m").check(SCHEMA)


def test_a_filter_is_a_condition() -> None:
    """Only what is true or false filters rows."""
    Expression.parse("width > 5").check_condition(SCHEMA)
    Expression.parse("is_duplicate").check_condition(SCHEMA)
    Expression.parse("nothing").check_condition(SCHEMA)
    with pytest.raises(
        ExpressionError, match=r"a filter is a condition, but width \* 2 is a number(.|\n)*width \* 2 > 0"
    ):
        Expression.parse("width*2").check_condition(SCHEMA)
    with pytest.raises(ExpressionError, match=r"caption is a string(.|\n)*caption == 'text'"):
        Expression.parse("caption").passes({"caption": pa.array(["a"])})
