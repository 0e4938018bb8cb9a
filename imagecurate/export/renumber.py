"""The id inside a sample's JSON, when samples are numbered anew."""

from __future__ import annotations

import json
import re

__all__ = ["with_new_id"]

_DECODER = json.JSONDecoder()
_SPACE = re.compile(r"[ \t\n\r]*")


def with_new_id(data: bytes, field: str, old: str, new: str) -> bytes:
    """Replace the sample's id in its JSON; all other bytes stay as they are.

    Parameters
    ----------
    data : bytes
        The JSON member.  What is no JSON object is returned as it is.
    field : str
        Field, at the top of the object, that holds the id.
    old, new : str
        The id is replaced where it equals ``old``: as text, or as the number that ``old`` spells.

    Examples
    --------
    >>> with_new_id(b'{"key": "17",  "of": {"key": "17"}}', "key", "17", "000420007")
    b'{"key": "000420007",  "of": {"key": "17"}}'
    >>> with_new_id(b'{"key": 17}', "key", "0017", "000420007")
    b'{"key": 420007}'
    """
    text = data.decode("utf-8", "surrogateescape")
    try:
        found = _value_of(text, field)
    except (ValueError, RecursionError):
        return data
    if found is None:
        return data
    value, begin, end = found
    if value == old:
        written = json.dumps(new)
    elif type(value) is int and old.isdecimal() and int(old) == value:
        written = str(int(new))
    else:
        return data
    return (text[:begin] + written + text[end:]).encode("utf-8", "surrogateescape")


def _value_of(text: str, field: str) -> tuple[object, int, int] | None:
    """Value of a field at the top of a JSON object with its place; the last one where it repeats, as parsers do."""
    found = None
    at = _after_space(text, 1 if text.startswith("\ufeff") else 0)
    if not text.startswith("{", at):
        return None
    at = _after_space(text, at + 1)
    while not text.startswith("}", at):
        name, at = _DECODER.raw_decode(text, at)
        at = _after_space(text, at)
        if not isinstance(name, str) or not text.startswith(":", at):
            raise ValueError("a JSON object holds pairs")
        begin = _after_space(text, at + 1)
        value, end = _DECODER.raw_decode(text, begin)
        if name == field:
            found = value, begin, end
        at = _after_space(text, end)
        if text.startswith(",", at):
            at = _after_space(text, at + 1)
        elif not text.startswith("}", at):
            raise ValueError("a JSON object ends with a brace")
    return found


def _after_space(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    assert match is not None  # it matches nothing, too
    return match.end()
