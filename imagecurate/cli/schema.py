"""``imagecurate schema``: what may stand in a pipeline, for editors."""

from __future__ import annotations

import typer

from imagecurate.cli.command import command
from imagecurate.cli.display import print_json

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    command(app)(schema)


def schema() -> None:
    """Print the JSON schema of pipeline files for editors, as in: imagecurate schema > pipeline.schema.json.

    The stages of installed packages are in it.  An editor with a YAML language server takes it from the first line of a
    pipeline: # yaml-language-server: $schema=pipeline.schema.json
    """
    from imagecurate.pipeline.json_schema import json_schema

    print_json(json_schema())
