"""The command line: ``imagecurate demo | run``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from imagecurate._version import __version__
from imagecurate.errors import ImageCurateError

__all__ = ["app", "main"]

app = typer.Typer(
    help="Turn raw image-text shards into training data.", no_args_is_help=True, add_completion=False,
    pretty_exceptions_enable=False,
)  # fmt: skip

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


def main() -> None:
    """Entry point of the console script.  Exit codes: 0 done, 1 the work failed, 2 wrong usage."""
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
    pipeline: Annotated[Path, typer.Argument(help="A pipeline file, as curate.yaml.")],
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Run a pipeline: imagecurate run curate.yaml."""
    _guarded(lambda: _run(pipeline, quiet), debug)


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(help="Where to put shards and output.")] = Path("demo-output"),
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Run the whole job on a small dataset made from photographs that ship with scikit-learn and scikit-image."""
    from imagecurate.demo import make_demo

    _guarded(lambda: _run(make_demo(folder), quiet), debug)


def _guarded(work: object, debug: bool) -> None:
    try:
        work()  # type: ignore[operator]
    except ImageCurateError as error:
        if debug:
            raise
        typer.echo(f"imagecurate: {error}", err=True)
        raise typer.Exit(2 if isinstance(error, ValueError | KeyError) else 1) from None


def _run(file: Path, quiet: bool) -> None:
    from imagecurate.pipeline import Pipeline

    pipeline = Pipeline.from_yaml(file)
    dataset, summary = pipeline.run(progress=False if quiet else None)
    stats = dataset.last_run
    if quiet or stats is None:
        return
    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else 100)
    console.print(_table(pipeline.output))
    computed = ", ".join(f"{stage} {rows:,}" for stage, rows in stats.computed.items()) or "nothing"
    console.print(f"decoded {stats.decoded:,} images; computed {computed}", highlight=False)
    for what, count in sorted(_noticed(Path(pipeline.output)).items()):
        console.print(f"noticed in the shards: {what.replace('_', ' ')} {count:,}", highlight=False)
    console.print(
        f"wrote {summary.samples:,} samples in {summary.shards:,} shards to {pipeline.output}",
        highlight=False,
        soft_wrap=True,
    )


def _noticed(output: Path) -> dict[str, int]:
    """What was odd about the input beside its samples, as captions that differ; of no count that is always there."""
    record = json.loads((output / "run.json").read_text(encoding="utf-8"))
    return {name: n for name, n in record["inputs"]["noticed"].items() if n and name not in ("samples", "parquet_rows")}


def _table(output: str) -> Table:
    """Kept, dropped by reason, failed by reason, from the ledger that was written."""
    import pyarrow.dataset as ds

    ledger = ds.dataset(Path(output) / "ledger", format="parquet").to_table(columns=["status", "reason"])
    groups = ledger.group_by(["status", "reason"]).aggregate([([], "count_all")]).to_pylist()
    table = Table(title=f"{len(ledger):,} samples in", title_justify="left")
    for heading in ("status", "reason"):
        table.add_column(heading)
    table.add_column("samples", justify="right")
    order = {"kept": 0, "dropped": 1, "failed": 2}
    for group in sorted(groups, key=lambda g: (order[g["status"]], -g["count_all"], g["reason"] or "")):
        table.add_row(group["status"], group["reason"] or "", f"{group['count_all']:,}")
    return table
