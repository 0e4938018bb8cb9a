"""Sphinx configuration of the site: ``make docs`` builds it, with warnings as errors."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

sys.path.insert(0, str(Path(__file__).parent))

import generated

import imagecurate

project = "imagecurate"
copyright = "the imagecurate authors"  # noqa: A001 - Sphinx calls it so
version = release = imagecurate.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
source_suffix = {".md": "markdown"}
html_theme = "furo"  # brings its own styles and scripts: pages load nothing from elsewhere
html_title = "imagecurate"
html_show_sphinx = False
html_copy_source = False
html_domain_indices = False

myst_heading_anchors = 4
highlight_language = "text"
smartquotes_action = "D"  # dashes alone: quotes in running text are mostly code

default_role = "py:obj"  # `name` in a docstring
napoleon_google_docstring = False
napoleon_custom_sections = [("Adds", "params_style")]
napoleon_use_ivar = True
napoleon_use_rtype = False
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings say types in words
autodoc_default_options = {"exclude-members": "all_runs, model_config"}


def fill(app: Sphinx, page: str, source: list[str]) -> None:
    """Put what is generated from the code in the place of ``<!-- generated: name -->``."""
    source[0] = re.sub(r"<!-- generated: (\w+) -->", lambda found: getattr(generated, found[1])(), source[0])


def linked(app: Sphinx, kind: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Make links of public names and pages; take the quotes from the names under **Adds**, which are set in bold."""
    text = "\n".join(lines)
    text = re.sub(r"^``([^`]+)`` : ", r"\1 : ", text, flags=re.MULTILINE)
    text = re.sub(r"``docs/([\w-]+)\.md``", r":doc:`/\1`", text)
    text = re.sub(r"``(\w+)``", lambda found: _link(found[1]), text)
    # Of an attribute napoleon takes what is in front of a colon in the first line for its type.
    lines[:] = [*([""] if kind in ("attribute", "property") else []), *text.split("\n")]


def without_rest(
    app: Sphinx, kind: str, name: str, thing: Any, options: Any, signature: str | None, gives: str | None
) -> tuple[str | None, str | None]:
    """Leave out the ``*args`` of stages: parameters may be given by position, which is how they are shown."""
    return (signature or "").replace("(*args, ", "(").replace("(*args)", "()") or None, gives


def _link(name: str) -> str:
    return f":py:obj:`~imagecurate.{name}`" if name in imagecurate.__all__ else f"``{name}``"


def setup(app: Sphinx) -> None:
    """Register all."""
    app.connect("source-read", fill)
    app.connect("autodoc-process-docstring", linked, priority=400)  # before napoleon's 500
    app.connect("autodoc-process-signature", without_rest)
