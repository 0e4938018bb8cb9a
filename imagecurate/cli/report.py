"""``imagecurate report``: one page that shows what was kept, what was thrown away, and why."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Annotated

import typer

from imagecurate.cli.command import command, running
from imagecurate.cli.display import print_lines
from imagecurate.cli.opening import differences_unlogged, input_of, silent
from imagecurate.cli.run import Quiet
from imagecurate.errors import ParameterError

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    command(app)(report)


def report(
    target: Annotated[str, typer.Argument(metavar="OUT", help="An output folder, local or a URL; or a pipeline.")],
    to: Annotated[
        str | None, typer.Option("--to", metavar="FILE", help="Write it there; by default report.html in OUT.")
    ] = None,
    inputs: Annotated[
        list[str] | None,
        typer.Option("--input", metavar="PATH", help="Shards that OUT was made from, for pictures; may be repeated."),
    ] = None,
    title: Annotated[str | None, typer.Option(help="Heading of the page.")] = None,
    blur: Annotated[float, typer.Option(help="Blur pictures with a greater NSFW score.")] = 0.2,
    blur_unscored: Annotated[bool, typer.Option("--blur-unscored", help="Blur pictures without a score, too.")] = False,
    quiet: Quiet = False,
) -> None:
    """Write one HTML page about a run, as in: imagecurate report curated --input data.

    Of an output folder, or, with all scores and duplicates, of a pipeline (a .yaml file), from what its store has; what
    is missing there is computed.
    """
    if target.endswith((".yaml", ".yml")):
        if inputs:
            raise ParameterError.because("--input is for the report of a folder", "a pipeline names its input itself")
        written = _of_pipeline(target, to, title, blur, blur_unscored, quiet)
    else:
        from imagecurate.dataset.exported_report import report_export

        source = input_of(inputs) if inputs else None
        written = report_export(target, to, input=source, title=title, blur=blur, blur_unscored=blur_unscored)
    if not quiet:
        print_lines([str(written)])


def _of_pipeline(path: str, to: str | None, title: str | None, blur: float, blur_unscored: bool, quiet: bool) -> object:
    """Write the report of a pipeline, beside its output."""
    from imagecurate.pipeline import Pipeline

    pipeline = Pipeline.from_yaml(path)
    place = to or f"{str(pipeline.output).rstrip('/')}/report.html"
    with silent() if quiet else nullcontext():
        with differences_unlogged():
            pipeline.rehearse()  # a mistake is told before anything runs
        with running():
            return pipeline.dataset().report(place, title=title, blur=blur, blur_unscored=blur_unscored)
