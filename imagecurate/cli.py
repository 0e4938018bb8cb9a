"""The command line: ``imagecurate demo | run``."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from imagecurate._version import __version__
from imagecurate.errors import ImageCurateError

__all__ = ["app", "main"]

app = typer.Typer(
    help="Turn raw image-text shards into training data.", no_args_is_help=True, add_completion=False,
    pretty_exceptions_enable=False,
)  # fmt: skip

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress and no summary.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


def main() -> None:
    """Entry point of the console script.  Exit codes: 0 done, 1 the work failed, 2 wrong usage, 130 stopped."""
    app()


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"imagecurate {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Turn raw image-text shards into training data."""


@app.command()
def run(
    pipeline: Annotated[Path, typer.Argument(help="A pipeline in YAML; see docs/pipeline.md.")],
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Run a pipeline, as in: imagecurate run curate.yaml.

    docs/pipeline.md says what may stand in the file.  Relative paths are relative to the working directory.
    """
    _guarded(lambda: _run(pipeline, quiet), debug)


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(help="Where to put shards and output.")] = Path("demo-output"),
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Run the whole job on a small dataset made from photographs that ship with scikit-learn and scikit-image."""
    _guarded(lambda: _demo(folder, quiet), debug)


def _guarded(work: Callable[[], None], debug: bool) -> None:
    try:
        work()
    except ImageCurateError as error:
        if debug:
            raise
        typer.echo(f"imagecurate: {error}", err=True)
        raise typer.Exit(2 if isinstance(error, ValueError | KeyError) else 1) from None
    except KeyboardInterrupt:
        typer.echo("imagecurate: stopped; the same command goes on where it was", err=True)
        raise typer.Exit(130) from None


def _demo(folder: Path, quiet: bool) -> None:
    from imagecurate.demo import make_demo

    _run(make_demo(folder), quiet)


def _run(file: Path, quiet: bool) -> None:
    from imagecurate.pipeline import Pipeline
    from imagecurate.shards.remote import read_whole

    pipeline = Pipeline.from_yaml(file)
    dataset, summary = pipeline.run(progress=False if quiet else None)
    if quiet:
        return
    record = json.loads(read_whole(f"{pipeline.output.rstrip('/')}/run.json", pipeline.storage_options))
    lines = []
    if dataset.last_run is not None:
        computed = ", ".join(f"{stage} {rows:,}" for stage, rows in dataset.last_run.computed.items()) or "nothing"
        lines.append(f"decoded {dataset.last_run.decoded:,} images; computed {computed}")
    lines += [f"noticed in the shards: {what} {count:,}" for what, count in _noticed(record)]
    lines.append(f"wrote {summary.samples:,} samples in {summary.shards:,} shards to {pipeline.output}")
    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else 100)
    console.print(_table(record))
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _noticed(record: dict[str, Any]) -> list[tuple[str, int]]:
    """What was odd about the input beside its samples, as captions that differ; of no count that is always there."""
    noticed = record["inputs"]["noticed"].items()
    return sorted((name.replace("_", " "), n) for name, n in noticed if n and name not in ("samples", "parquet_rows"))


def _table(record: dict[str, Any]) -> Table:
    """Kept, dropped by reason, failed by reason, as the record of the run has them."""
    table = Table(title=f"{record['samples']:,} samples in", title_justify="left")
    for heading in ("status", "reason"):
        table.add_column(heading)
    table.add_column("samples", justify="right")
    dropped = [(step["step"], step["dropped"]) for step in record["counts"]]
    for status, reasons in (
        ("kept", [("", record["kept"])]),
        ("dropped", dropped),
        ("failed", record["failed_by_reason"].items()),
    ):
        for reason, count in sorted(reasons, key=lambda each: -each[1]):
            if count or status == "kept":
                table.add_row(status, escape(reason), f"{count:,}")
    return table
