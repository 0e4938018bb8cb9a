"""``imagecurate check``: what is in each shard, and what is wrong with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from imagecurate.cli.command import Code, command
from imagecurate.cli.display import console, print_json, print_lines, table
from imagecurate.cli.opening import differences_unlogged, opened

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["add_to"]

#: What is summed over all shards; all but the last are shown of each.
_SUMMED = ("samples", "images", "failed", "bytes")
#: Shards that are shown unless all are asked for: the first screen says what kind of trouble there is.
_MOST_SHOWN = 40


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    command(app)(check)


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
) -> None:
    """Say what is in each shard and what is wrong with it, as in: imagecurate check data.

    Decodes no picture; compares with the _stats.json of img2dataset and the manifest.json of an export, where there are
    any.
    """
    with differences_unlogged():
        dataset = opened(paths, id_col=id_col, metadata=metadata, images=images, workdir=workdir)
    found = dataset.check(digests=digests)
    if as_json:
        _print_json(found)
    else:
        _print(found, show_all)
    if (found["problems"] != "").any():
        raise typer.Exit(Code.FOUND)


def _print(found: pd.DataFrame, show_all: bool) -> None:
    """Shards with problems, or all; then what it comes to, what was noticed, and what concerns no single shard."""
    from imagecurate.check import noticed

    at_fault = found["problems"] != ""
    chosen = found if show_all else found[at_fault].head(_MOST_SHOWN)
    if len(chosen):
        console().print(_table(chosen, with_notes=show_all))
    lines = [f"… and {left:,} more; --all shows every shard"] if (left := at_fault.sum() - len(chosen)) > 0 else []
    lines.append(", ".join([f"{len(found):,} shards", *(f"{found[name].sum():,} {name}" for name in _SUMMED)]))
    lines += [f"noticed: {name.replace('_', ' ')} {count:,}" for name, count in noticed(found).items()]
    lines += found.attrs["notes"]
    lines.append(f"problems in {at_fault.sum():,} shards" if at_fault.any() else "no problems")
    print_lines(lines)


def _table(shards: pd.DataFrame, *, with_notes: bool) -> Table:
    several = set(shards["source"]) != {"default"}
    texts = ["problems", "notes"] if with_notes else ["problems"]
    rows = [
        [
            f"{row['source']}/{row['shard']}" if several else row["shard"],
            *(f"{row[heading]:,}" for heading in _SUMMED[:3]),
            *(row[heading] for heading in texts),
        ]
        for row in shards.to_dict("records")
    ]
    return table(["shard", *(f"{heading}>" for heading in _SUMMED[:3]), *texts], rows)


def _print_json(found: pd.DataFrame) -> None:
    sums = {name: int(total) for name, total in found.select_dtypes("number").sum().items()}
    problems = int((found["problems"] != "").sum())
    document = {"shards_with_problems": problems, "sums": sums, "notes": found.attrs["notes"]}
    print_json(document | {"shards": found.to_dict("records")})
