"""The command line: ``imagecurate init | estimate | run | status | ledger | check | stages | models | store | …``."""

from __future__ import annotations

from typing import Annotated

import typer

from imagecurate._version import __version__
from imagecurate.cli import check, demo, estimate, init, ledger, models, report, run, schema, stages, status, store

__all__ = ["app", "main"]

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
for part in (init, stages, models, estimate, check, run, status, ledger, report, store, schema, demo):
    part.add_to(app)


def main() -> None:
    """Entry point of the console script; ``imagecurate.cli.command`` has the exit codes."""
    app()


def _version(asked: bool) -> None:
    if asked:
        print(f"imagecurate {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Turn raw image-text shards into training data.

    Begin with: imagecurate init --input data --output curated, then imagecurate run pipeline.yaml.
    """
