"""The page: one file that loads nothing, and runs nothing but its own script."""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime
from pathlib import Path

from imagecurate._version import __version__
from imagecurate.explore.html import Html, tag
from imagecurate.explore.report.material import Material
from imagecurate.explore.report.sections.cluster_list import cluster_list
from imagecurate.explore.report.sections.duplicates import duplicates
from imagecurate.explore.report.sections.failures import failures
from imagecurate.explore.report.sections.flow import flow
from imagecurate.explore.report.sections.gallery import gallery
from imagecurate.explore.report.sections.images import images
from imagecurate.explore.report.sections.overview import header, overview
from imagecurate.explore.report.sections.run_record import run_record
from imagecurate.explore.report.sections.scores import scores
from imagecurate.explore.report.tiles import Tiles

__all__ = ["MOST_BYTES", "page"]

#: Bytes of the page at most: what a mail takes, and a browser shows at once.
MOST_BYTES = 9_500_000
#: Most pixels of the longer side of a picture: the first at which the page is small enough.
_SIDES = (320, 256, 200, 150, 96)


def page(material: Material) -> bytes:
    """Write the page, with pictures as large as its size allows."""
    written = b""
    for side in _SIDES:
        written = _page(material, Tiles(material.blur, side)).encode()
        if len(written) <= MOST_BYTES:
            break
    return written


def _page(material: Material, tiles: Tiles) -> Html:
    sections = [
        ("in", "What came in", overview(material)),
        ("flow", "What became of it", flow(material)),
        ("samples", "Samples", gallery(material, tiles)),
        ("scores", "Scores", scores(material, tiles)),
        ("duplicates", "Duplicates", duplicates(material, tiles)),
        ("clusters", "Clusters", cluster_list(material, tiles)),
        ("images", "Image files", images(material)),
        ("failures", "Failures", failures(material)),
        ("record", "Run record", run_record(material)),
    ]
    found = [(name, title, content) for name, title, content in sections if content is not None]
    links = [tag("li", tag("a", title, href=f"#{name}")) for name, title, _ in found]
    body = [
        tag("a", "Skip to the report", href="#report", class_="skip"),
        header(material),
        tag("nav", tag("ul", *links), aria_label="Sections"),
        tag(
            "main",
            *(
                tag("section", tag("h2", title, id=f"{name}-title"), content, id=name, aria_labelledby=f"{name}-title")
                for name, title, content in found
            ),
            id="report",
            tabindex="-1",
        ),
        _footer(),
        _lightbox(),
        tag("script", _SCRIPT),
    ]
    return Html(f"<!doctype html>\n{tag('html', _head(material), tag('body', *body), lang='en')}\n")


def _head(material: Material) -> Html:
    # Hashes and not 'unsafe-inline': whatever else came into the page could not run, and not even change its looks.
    policy = (
        f"default-src 'none'; img-src data:; style-src {_hash(_STYLE)}; script-src {_hash(_SCRIPT)}; base-uri 'none'; "
        "form-action 'none'"
    )
    return tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("title", f"{material.title}: imagecurate report"),
        tag("style", _STYLE),
    )


def _footer() -> Html:
    made = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return tag(
        "footer", f"Written by imagecurate {__version__}, {made}. Pictures are small copies; nothing was loaded."
    )


def _lightbox() -> Html:
    """Make the dialog that shows a picture large; script fills it."""
    return tag(
        "dialog",
        tag("div", class_="stage"),
        tag(
            "div",
            tag("p", class_="position", aria_live="polite"),
            tag("p", class_="caption", dir="auto", tabindex="-1", aria_live="polite"),
            tag("div", class_="details"),
            tag(
                "div",
                tag("button", "Previous", type="button", value="-1"),
                tag("button", "Next", type="button", value="1"),
                tag("button", "Close", type="button", value=""),
                class_="controls",
            ),
            class_="side",
        ),
        id="lightbox",
        aria_label="Picture",
    )


def _hash(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


_STYLE = Html(Path(__file__).with_name("report.css").read_text(encoding="utf-8"))
_SCRIPT = Html(Path(__file__).with_name("report.js").read_text(encoding="utf-8"))
