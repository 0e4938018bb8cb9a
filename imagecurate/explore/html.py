"""Markup that data cannot break out of: tags are made by a function that escapes whatever is not markup itself."""

from __future__ import annotations

import base64
import html
import re

from imagecurate.explore.style import LOOKS

__all__ = ["STYLE", "Html", "embedded", "framed", "joined", "page", "picture", "quoted", "tag", "text"]

#: Tags without content: HTML, 13.1.2.
_VOID = frozenset({"br", "img", "input", "meta"})

#: What HTML cannot hold or nobody can see: control characters but tab and line feed, non-characters, lone surrogates.
_UNPRINTABLE = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")


class Html(str):
    """Finished markup; notebooks show it as such.

    >>> Html("<b>bold</b>")._repr_html_()
    '<b>bold</b>'
    """

    __slots__ = ()

    def _repr_html_(self) -> str:
        return str(self)


#: The style of one output; every output brings its own.
STYLE = Html(LOOKS)


def text(value: object) -> Html:
    r"""Escape data, for content and for attributes; what cannot be printed becomes U+FFFD.

    >>> text('<script>alert("1")</script>\0')
    '&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;�'
    """
    return Html(html.escape(_UNPRINTABLE.sub("\ufffd", str(value)), quote=True))


def tag(name: str, /, *content: object, **attributes: object) -> Html:
    """Make an element.

    Parameters
    ----------
    name : str
    *content : object
        What is inside: ``Html`` as it is, None not at all, all else escaped.
    **attributes : object
        Escaped.  ``class_`` is ``class``, ``stroke_width`` is ``stroke-width``; None and False leave an attribute out,
        True gives it without a value.

    Raises
    ------
    ValueError
        An attribute would be a script.

    Examples
    --------
    >>> tag("p", "1 < 2 ", tag("b", "really"), class_="note", hidden=True)
    '<p class="note" hidden>1 &lt; 2 <b>really</b></p>'
    """
    written = []
    for attribute, value in attributes.items():
        attribute = attribute.rstrip("_").replace("_", "-")
        if attribute.startswith("on"):
            raise ValueError(f"{attribute!r} would be a script")
        if value is True:
            written.append(f" {attribute}")
        elif value is not None and value is not False:
            written.append(f' {attribute}="{text(value)}"')
    opening = f"<{name}{''.join(written)}>"
    return Html(opening if name in _VOID else f"{opening}{joined(*content)}</{name}>")


def joined(*content: object) -> Html:
    """Put content side by side, escaped as in `tag`."""
    return Html("".join(part if isinstance(part, Html) else text(part) for part in content if part is not None))


def quoted(value: object, **attributes: object) -> Html:
    """Show data in the middle of a sentence, whatever its direction: what it overrides ends where it ends.

    >>> quoted("a<b")
    '<bdi>a&lt;b</bdi>'
    """
    return tag("bdi", value, **attributes)


def picture(jpeg: bytes, alt: str, *, veil: bytes | None = None, **attributes: object) -> Html:
    """Show a JPEG, embedded.

    Parameters
    ----------
    jpeg : bytes
    alt : str
        What it shows, for who does not see it.
    veil : bytes, optional
        A JPEG that is shown in its place until somebody opens it: with a click, the space bar or Enter; without any
        script, and where styles are taken away, too.
    """
    shown = tag("img", src=embedded(jpeg), alt=alt, **attributes)
    if veil is None:
        return shown
    cover = tag("img", src=embedded(veil), alt=f"blurred picture, open to see: {alt}", class_="ic-veil")
    return tag("details", tag("summary", cover, tag("span", "blurred")), shown, class_="ic-blurred")


def framed(*content: object, label: str) -> Html:
    """One output of a notebook cell, with its style."""
    return tag("section", tag("style", STYLE), *content, class_="ic", aria_label=label)


def page(title: str, *content: object) -> Html:
    """A document of its own, which may load nothing and run nothing."""
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    head = (
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("title", title),
        tag("style", Html("body{margin:1.5rem;background:Canvas;color-scheme:light dark}")),
    )
    return Html(f"<!doctype html>\n{tag('html', tag('head', *head), tag('body', tag('main', *content)), lang='en')}\n")


def embedded(jpeg: bytes) -> str:
    """The address of a JPEG that is inside of the page.

    >>> embedded(b"JPEG")
    'data:image/jpeg;base64,SlBFRw=='
    """
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"
