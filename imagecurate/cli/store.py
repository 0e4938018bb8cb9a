"""``imagecurate store``: what is kept, and what of it can go."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from imagecurate.cli.command import command, running
from imagecurate.cli.display import as_bytes, console, print_json, print_lines, table
from imagecurate.cli.run import duration

__all__ = ["add_to"]

_Workdir = Annotated[str, typer.Argument(help="The workdir of a pipeline.")]
_Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help="Look into a store, and put it in order.", no_args_is_help=True)
    app.add_typer(group, name="store")
    command(group, "ls")(list_store)
    command(group)(gc)
    command(group)(compact)


def list_store(workdir: _Workdir, as_json: _Json = False) -> None:
    """List what a store keeps: stages, shards, sizes, as in: imagecurate store ls work."""
    from imagecurate.store.inventory import inventory, store_in

    stages, others = inventory(store_in(workdir))
    if as_json:
        sizes = {name: {"files": files, "bytes": size} for name, (files, size) in others.items()}
        print_json({"columns": [dataclasses.asdict(stage) for stage in stages], "others": sizes})
        return
    rows = [
        (
            str(stage.record.get("stage") or stage.record.get("join") or stage.name),
            stage.name.rpartition("-")[2],
            f"{stage.shards:,}",
            f"{stage.parts:,}",
            f"{stage.packs:,}",
            as_bytes(stage.bytes),
            _day(stage.newest),
        )
        for stage in stages
    ]
    console().print(table(["columns of", "name", "shards>", "parts>", "packs>", "size>", "written"], rows))
    print_lines(f"{name}: {files:,} files, {as_bytes(size)}" for name, (files, size) in others.items())
    total = sum(stage.bytes for stage in stages) + sum(size for _, size in others.values())
    print_lines([f"{as_bytes(total)} in all"])


def gc(
    workdir: _Workdir,
    keep: Annotated[
        list[Path] | None,
        typer.Option(metavar="PIPELINE", help="Keep what this pipeline reads, and let all else go; may be repeated."),
    ] = None,
    older_than: Annotated[
        str | None, typer.Option(metavar="TIME", help="Let stages go that nothing was written to for so long: 30d.")
    ] = None,
    delete: Annotated[bool, typer.Option("--delete", help="Remove it; else it is only listed.")] = False,
    as_json: _Json = False,
) -> None:
    """List what can go, and remove it with --delete, as in: imagecurate store gc work --keep curate.yaml --delete.

    Without --keep and --older-than only what killed processes left behind.  What goes is computed again when needed.
    """
    from imagecurate.pipeline import Pipeline
    from imagecurate.pipeline.garbage import collect, garbage_in
    from imagecurate.store.inventory import store_in

    root = store_in(workdir)
    pipelines = [Pipeline.from_yaml(path) for path in keep or []]
    found = garbage_in(root, pipelines, None if older_than is None else duration(older_than, "--older-than"))
    if delete and isinstance(root, Path):
        collect(root, found)
    if as_json:
        print_json({"deleted": delete, "garbage": [dataclasses.asdict(each) for each in found]})
        return
    rows = [(each.folder, each.why, f"{len(each.files):,}", as_bytes(each.bytes)) for each in found]
    if rows:
        console().print(table(["folder", "why", "files>", "size>"], rows))
    size = as_bytes(sum(each.bytes for each in found))
    if not found:
        print_lines(["nothing can go"])
    else:
        print_lines([f"removed {size}" if delete else f"{size} can go; --delete removes it"])


def compact(
    workdir: _Workdir,
    stage: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only the columns of this stage; index for the shards' indices.")
    ] = None,
    as_json: _Json = False,
) -> None:
    """Put the files of finished shards into few large ones, as in: imagecurate store compact work.

    Runs may read and write meanwhile.  Killed at any moment it leaves all there is; run it again.
    """
    from imagecurate.store.compact import compact, folders_to_compact
    from imagecurate.store.inventory import store_in

    root = store_in(workdir)
    folders = folders_to_compact(root, stage)
    with running():
        done = {f"{folder.parent.name}/{folder.name}": compact(folder) for folder in folders}
    if as_json:
        print_json({folder: dataclasses.asdict(each) for folder, each in done.items()})
        return
    rows = [
        (folder, f"{each.files:,}", f"{each.packs:,}", as_bytes(each.bytes))
        for folder, each in done.items()
        if each.packs
    ]
    if rows:
        console().print(table(["folder", "files>", "packs>", "size>"], rows))
    files, packs = (sum(getattr(each, name) for each in done.values()) for name in ("files", "packs"))
    print_lines([f"put {files:,} files into {packs:,}" if packs else "nothing to put together"])


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M") if seconds else ""
