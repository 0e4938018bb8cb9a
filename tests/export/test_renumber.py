"""The id inside JSON."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagecurate.export.renumber import with_new_id

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["key", "id", "ü"]), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.dictionaries(st.text(max_size=4), values, max_size=4),
    st.integers(0, 4),
    st.booleans(),
    st.sampled_from([None, 2]),
)
def test_only_the_id_changes(fields: dict[str, object], place: int, ascii_only: bool, indent: int | None) -> None:
    """Read back, the object is as before but for its id; the bytes around the id are untouched."""
    fields.pop("key", None)
    items = list(fields.items())
    items.insert(min(place, len(items)), ("key", "old \u2603"))
    data = json.dumps(dict(items), ensure_ascii=ascii_only, indent=indent).encode()
    changed = with_new_id(data, "key", "old \u2603", "000420007")
    assert json.loads(changed) == dict(items) | {"key": "000420007"}
    written = json.dumps("old \u2603", ensure_ascii=ascii_only).encode()
    assert len(changed) == len(data) - len(written) + len('"000420007"')


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[1, 2]",
        b'"key"',
        b"not json",
        b'{"key": "other"}',
        b'{"key": true}',
        b'{"of": {"key": "17"}}',
        b'{"key": "17"',
        b'{"key" "17"}',
        b'{1: "17"}',
        b'{"a": 1 "key": "17"}',
        b'{"a": ' + b"[" * 100_000,
        b"\xff\xfe",
    ],
)
def test_what_is_no_such_object_stays(data: bytes) -> None:
    """Broken JSON, other JSON and other ids come out as they went in."""
    assert with_new_id(data, "key", "17", "000420007") == data


def test_details_that_parsers_accept() -> None:
    """A byte-order mark, an escaped name, bytes that are no UTF-8, and a repeated field, of which the last counts."""
    assert with_new_id(b'\xef\xbb\xbf {"k\\u0065y" : "17"}', "key", "17", "8") == b'\xef\xbb\xbf {"k\\u0065y" : "8"}'
    assert with_new_id(b'{"a": "\xff", "key": "17"}', "key", "17", "8") == b'{"a": "\xff", "key": "8"}'
    assert with_new_id(b'{"key": "1", "key": "17"}', "key", "17", "8") == b'{"key": "1", "key": "8"}'
