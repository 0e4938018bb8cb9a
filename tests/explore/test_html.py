"""Markup that data cannot break out of."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagecurate.explore.html import Html, framed, joined, page, picture, quoted, tag, text

HOSTILE = [
    "<script>alert(1)</script>",
    '" onerror="alert(1)',
    "' onmouseover='alert(1)",
    "</style><img src=x onerror=alert(1)>",
    "--><!--",
    "]]>",
    "&lt;b&gt;",
    "\u202eevil\u202c שלום",
    "null\0bell\x07escape\x1b",
    "\ud800",
]


class Reader(HTMLParser):
    """What a browser would make of markup: its elements, their attributes, and its text."""

    def __init__(self, markup: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(markup)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


@given(st.one_of(st.sampled_from(HOSTILE), st.text()))
def test_data_stays_text(data: str) -> None:
    """Whatever the text, it makes no element, and no attribute but the one that it is the value of."""
    read = Reader(tag("p", data, quoted(data), title=data))
    assert read.elements == ["p", "bdi"]
    assert [name for name, _ in read.attributes] == ["title"]
    assert read.text == 2 * "".join(Reader(text(data)).text)


def test_what_cannot_be_printed_is_replaced() -> None:
    """Control characters and lone surrogates are told, tabs and line feeds stay; the rest goes into any file."""
    assert text("a\0b\x1bc\ud800d\te\n") == "a\ufffdb\ufffdc\ufffdd\te\n"
    page("\ud800", tag("p", "\0")).encode()


def test_an_attribute_is_never_a_script() -> None:
    """Not even by mistake in our own code."""
    with pytest.raises(ValueError, match="'onclick' would be a script"):
        tag("p", onclick="x")


def test_finished_markup_is_not_escaped_again() -> None:
    """Content that was made by the functions is taken as it is; None is left out, everything else is text."""
    assert joined(tag("br"), None, 0, "<") == "<br>0&lt;"
    assert tag("a", Html("<b></b>"), id=None, hidden=True, draggable=False) == "<a hidden><b></b></a>"


def test_a_page_loads_and_runs_nothing() -> None:
    """Its policy forbids everything but embedded pictures and styles."""
    written = page("<title>", tag("p", "x"))
    assert "default-src &#x27;none&#x27;; img-src data:; style-src &#x27;unsafe-inline&#x27;" in written
    assert "script" not in Reader(written).elements
    assert written.startswith("<!doctype html>")


def test_a_veil_stands_in_front_until_it_is_opened() -> None:
    """A closed ``details`` holds the picture, so that it is covered without styles and scripts, too."""
    read = Reader(picture(b"real", "a <cat>", veil=b"veil"))
    assert read.elements == ["details", "summary", "img", "span", "img"]
    alts = [value for name, value in read.attributes if name == "alt"]
    assert alts == ["blurred picture, open to see: a <cat>", "a <cat>"]


def test_one_output_brings_its_style() -> None:
    """In light and dark, and named for who does not see it."""
    shown = framed(tag("p", "x"), label='a "label"')
    assert 'aria-label="a &quot;label&quot;"' in shown
    assert "prefers-color-scheme: dark" in shown
    assert shown._repr_html_() == shown
