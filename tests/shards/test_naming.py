"""Keys and fields, with webdataset as oracle."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from webdataset.tariterators import base_plus_ext

from imagecurate.shards.naming import field_of, is_bare, is_unsafe, split_name, without_dots

PARTS = st.text(alphabet="ab.é_ -0", min_size=1, max_size=8)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("000.jpg", ("000", "jpg")),
        ("a/22.05.png", ("a/22", "05.png")),
        ("v1.0/000.jpg", ("v1.0/000", "jpg")),
        ("000.JPG", ("000", "jpg")),
        ("key.", ("key", "")),
        ("a.b/c/d.tar.gz", ("a.b/c/d", "tar.gz")),
        ("README", None),
        ("a/README", None),
        ("v1.0/README", None),
        (".DS_Store", None),
        ("a/._000.jpg", None),
        ("PaxHeaders/000.jpg", None),
        ("a/PaxHeaders.123/000.jpg", None),
        ("__MACOSX/000.jpg", None),
        ("__meta__", None),
        ("__meta__/x.json", None),
        ("", None),
    ],
)
def test_the_key_ends_at_the_first_dot_of_the_base_name(name: str, expected: tuple[str, str] | None) -> None:
    """Folders keep their dots; what is no sample is None."""
    assert split_name(name) == expected


@given(st.lists(PARTS, min_size=1, max_size=4).map("/".join))
def test_keys_are_those_of_webdataset(name: str) -> None:
    """Every name that is no dot file has the key and the field that webdataset gives it."""
    if name.rpartition("/")[2].startswith("."):
        assert split_name(name) is None
        return
    key, field = base_plus_ext(name)
    expected = None if key is None else (key, field.lower())
    if split_name(name) is None and name.startswith("__"):
        return  # webdataset leaves __meta__ members out earlier
    assert split_name(name) == expected


@given(st.lists(PARTS, min_size=1, max_size=4).map("/".join))
def test_a_bare_name_is_a_key_alone(name: str) -> None:
    """It has no field; no name is both bare and in parts."""
    split = split_name(name)
    assert not (split and is_bare(name))
    assert field_of(name) == (split[1] if split else field_of(name))
    if is_bare(name):
        assert field_of(name) == ""
        assert split_name(f"{name}.jpg") == (name, "jpg")


@pytest.mark.parametrize("name", ["", "a/", ".a", "a/.b", "a.jpg", "__MACOSX/a", "PaxHeaders.1/a", "__meta__"])
def test_litter_is_never_bare(name: str) -> None:
    """Nor are folders and what has a dot."""
    assert not is_bare(name)


@pytest.mark.parametrize(
    ("name", "plain"), [("./a.jpg", "a.jpg"), ("././a.jpg", "a.jpg"), (".//a.jpg", "a.jpg"), (".a", ".a"), ("./", "")]
)
def test_leading_dots_are_taken_off(name: str, plain: str) -> None:
    """A tar of ``.`` has ``./`` before every name."""
    assert without_dots(name) == plain


@pytest.mark.parametrize("name", ["/a.jpg", "../a.jpg", "a/../../b.jpg", "a/.."])
def test_names_that_leave_the_folder_are_unsafe(name: str) -> None:
    """Absolute names and parent folders."""
    assert is_unsafe(name)


@pytest.mark.parametrize("name", ["a.jpg", "a..b.jpg", "a/b...jpg", "..a/b.jpg"])
def test_dots_in_names_are_safe(name: str) -> None:
    """Two dots are a parent folder only by themselves."""
    assert not is_unsafe(name)
