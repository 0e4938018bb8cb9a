"""``imagecurate demo``: the whole job on a small dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from imagecurate.cli.command import command
from imagecurate.cli.run import Quiet, run_pipeline

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    command(app)(demo)


def demo(
    folder: Annotated[Path, typer.Argument(help="Where to put shards and output.")] = Path("demo-output"),
    quiet: Quiet = False,
) -> None:
    """Run the whole job on a small dataset, as in: imagecurate demo.

    It is made from photographs that ship with scikit-learn and scikit-image.
    """
    from imagecurate.demo import make_demo
    from imagecurate.pipeline import Pipeline

    pipeline = Pipeline.from_yaml(make_demo(folder))
    run_pipeline(pipeline, pipeline.rehearse(), quiet=quiet)
