"""The command line: ``imagecurate demo | run | check``."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from imagecurate._version import __version__
from imagecurate.errors import ImageCurateError

if TYPE_CHECKING:
    import pandas as pd

    from imagecurate.dataset import ImageTextPairDataset

__all__ = ["app", "main"]

app = typer.Typer(
    help="Turn raw image-text shards into training data.", no_args_is_help=True, add_completion=False,
    pretty_exceptions_enable=False,
)  # fmt: skip

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress and no summary.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]

#: What ``check`` sums over all shards; all but the last are shown of each.
_SUMMED = ("samples", "images", "failed", "bytes")
#: Shards that ``check`` shows unless it is told to show all: the first screen says what kind of trouble there is.
_MOST_SHOWN = 40


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


@app.command()
def check(
    paths: Annotated[
        list[str],
        typer.Argument(metavar="PATH...", help="Folder, glob, brace pattern or URL of shards; SOURCE=PATH names it."),
    ],
    id_col: Annotated[str, typer.Option(help="Column of the parquet or JSON that equals the key.")] = "key",
    metadata: Annotated[str, typer.Option(help="auto, parquet, json or none: where columns come from.")] = "auto",
    images: Annotated[str, typer.Option(help="first or all: which images of a sample are rows.")] = "first",
    workdir: Annotated[str, typer.Option(help="Folder of the indexes; by default a cache folder.")] = "auto",
    digests: Annotated[
        bool, typer.Option("--digests", help="Compare the digests of manifest.json; reads all.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    show_all: Annotated[bool, typer.Option("--all", help="Show every shard, not only those with problems.")] = False,
    debug: Debug = False,
) -> None:
    """Say what is in each shard and what is wrong with it, as in: imagecurate check data.

    Decodes no picture; compares with the _stats.json of img2dataset and the manifest.json of an export, where there are
    any.

    Exit codes: 0 all is well, 1 problems were found, 2 wrong usage or nothing found, 130 stopped.
    """

    def work() -> None:
        with _differences_unlogged():
            dataset = _opened(paths, id_col=id_col, metadata=metadata, images=images, workdir=workdir)
        table = dataset.check(digests=digests)
        if as_json:
            _print_json(table)
        else:
            _print_checked(table, show_all)
        if (table["problems"] != "").any():
            raise typer.Exit(1)

    _guarded(work, debug, failed=2)


def _guarded(work: Callable[[], None], debug: bool, *, failed: int = 1) -> None:
    """Run a command; errors of ours are a sentence and an exit code, 2 for wrong usage and ``failed`` for others."""
    try:
        work()
    except ImageCurateError as error:
        if debug:
            raise
        typer.echo(f"imagecurate: {error}", err=True)
        raise typer.Exit(2 if isinstance(error, ValueError | KeyError) else failed) from None
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
    if quiet:
        pipeline.run(progress=False)
        return
    with _differences_unlogged():
        dataset, summary = pipeline.run()
    record = json.loads(read_whole(f"{pipeline.output.rstrip('/')}/run.json", pipeline.storage_options))
    lines = []
    computed = ", ".join(f"{stage} {rows:,}" for stage, rows in dataset.all_runs.computed.items()) or "nothing"
    lines.append(f"decoded {dataset.all_runs.decoded:,} images; computed {computed}")
    sources = record["inputs"]["sources"]
    for name, each in sources.items() if len(sources) > 1 else ():
        share = each["kept"] / max(each["samples"], 1)
        lines.append(f"source {name}: {each['samples']:,} samples in, {each['kept']:,} kept, {share:.1%}")
    lines += record["inputs"]["differences"]
    lines += [f"noticed in the shards: {what} {count:,}" for what, count in _noticed(record)]
    lines.append(f"wrote {summary.samples:,} samples in {summary.shards:,} shards to {pipeline.output}")
    console = _console()
    console.print(_table(record))
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


@contextmanager
def _differences_unlogged() -> Iterator[None]:
    """Keep what differs between files out of the log: it is printed among the results."""
    from imagecurate.dataset.opening import DIFFERENCES

    DIFFERENCES.disabled = True
    try:
        yield
    finally:
        DIFFERENCES.disabled = False


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


def _opened(paths: list[str], **options: Any) -> ImageTextPairDataset:
    from imagecurate.dataset import read_webdataset

    named = [_source_and_path(text) for text in paths]
    sources: dict[str, list[str]] = {}
    for source, path in named:
        sources.setdefault(source or "default", []).append(path)
    unnamed = [path for source, path in named if not source]
    if len(unnamed) == len(paths):
        return read_webdataset(unnamed if len(paths) > 1 else unnamed[0], **options)
    return read_webdataset(sources, **options)


def _source_and_path(text: str) -> tuple[str, str]:
    """Split ``source=path``; the folder ``year=2024`` is a path where it is there.

    >>> _source_and_path("cc12m=data/cc12m"), _source_and_path("data/a=b"), _source_and_path("s3://bucket/x?y=z")
    (('cc12m', 'data/cc12m'), ('', 'data/a=b'), ('', 's3://bucket/x?y=z'))
    """
    source, equals, path = text.partition("=")
    is_path = not (source and equals) or "/" in source or Path(text.partition("/")[0]).exists()
    return ("", text) if is_path else (source, path)


def _print_checked(table: pd.DataFrame, show_all: bool) -> None:
    """Shards with problems, or all; then what it comes to, what was noticed, and what concerns no single shard."""
    from imagecurate.check import noticed

    at_fault = table["problems"] != ""
    chosen = table if show_all else table[at_fault].head(_MOST_SHOWN)
    console = _console()
    if len(chosen):
        console.print(_table_of_shards(chosen, with_notes=show_all))
    lines = [f"… and {left:,} more; --all shows every shard"] if (left := at_fault.sum() - len(chosen)) > 0 else []
    lines.append(", ".join([f"{len(table):,} shards", *(f"{table[name].sum():,} {name}" for name in _SUMMED)]))
    lines += [f"noticed: {name.replace('_', ' ')} {count:,}" for name, count in noticed(table).items()]
    lines += table.attrs["notes"]
    lines.append(f"problems in {at_fault.sum():,} shards" if at_fault.any() else "no problems")
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _table_of_shards(shards: pd.DataFrame, *, with_notes: bool) -> Table:
    table = Table()
    table.add_column("shard", overflow="fold")
    for heading in _SUMMED[:3]:
        table.add_column(heading, justify="right")
    texts = ["problems", "notes"] if with_notes else ["problems"]
    for heading in texts:
        table.add_column(heading, overflow="fold")
    several = set(shards["source"]) != {"default"}
    for row in shards.to_dict("records"):
        name = f"{row['source']}/{row['shard']}" if several else row["shard"]
        numbers = (f"{row[heading]:,}" for heading in _SUMMED[:3])
        table.add_row(escape(name), *numbers, *(escape(row[heading]) for heading in texts))
    return table


def _print_json(table: pd.DataFrame) -> None:
    sums = {name: int(total) for name, total in table.select_dtypes("number").sum().items()}
    problems = int((table["problems"] != "").sum())
    document = {"shards_with_problems": problems, "sums": sums, "notes": table.attrs["notes"]}
    typer.echo(json.dumps(document | {"shards": table.to_dict("records")}, indent=1))


def _console() -> Console:
    return Console(file=sys.stdout, width=None if sys.stdout.isatty() else 100)
