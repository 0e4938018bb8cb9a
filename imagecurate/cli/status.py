"""``imagecurate status``: how far a run is."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from imagecurate.cli.command import command
from imagecurate.cli.display import as_duration, print_json, print_lines
from imagecurate.errors import OutputError

if TYPE_CHECKING:
    from imagecurate.pipeline.status import Status

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    command(app)(status)


def status(
    workdir: Annotated[str, typer.Argument(help="The workdir of a pipeline, local or a URL.")],
    show_all: Annotated[bool, typer.Option("--all", help="Every run in it, not only the newest.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Say how far a run is, while it works or afterwards, as in: imagecurate status work.

    Read from what lies in the store, on any machine that sees it: shards done, images looked at and failed, images/s,
    time left, the slowest shards.
    """
    from imagecurate.pipeline.record import records_in
    from imagecurate.pipeline.status import status_of
    from imagecurate.store.inventory import store_in

    records = records_in(store_in(workdir))
    if not records:
        raise OutputError.because(
            f"no run of a pipeline was begun in {workdir!r}", f"'imagecurate store ls {workdir}' shows what is in it"
        )
    found = [status_of(record) for record in (records if show_all else records[:1])]
    if as_json:
        print_json({"runs": [_plain(each) for each in found], "older_runs": len(records) - len(found)})
        return
    for each in found:
        print_lines(_lines(each))
    if len(records) > len(found):
        print_lines([f"{len(records) - len(found)} older runs; --all shows them"])


def _plain(found: Status) -> dict[str, object]:
    values = dataclasses.asdict(dataclasses.replace(found, record=dataclasses.replace(found.record)))
    values["record"].pop("store")
    return values


def _lines(found: Status) -> Iterator[str]:
    record = found.record
    yield f"{record.pipeline or 'a pipeline made in Python'}: {found.state}, begun {record.started} on {record.host}"
    yield f"shards    {found.done:,} of {found.shards:,} done"
    about = "about " if any(stage.about for stage in found.stages) else ""
    yield f"images    {about}{found.images:,} looked at, {found.failed:,} failed"
    if found.images_per_s is not None:
        left = "" if found.left_s is None or found.state == "finished" else f", {as_duration(found.left_s)} left"
        yield f"speed     {found.images_per_s:,.0f} images/s{left}"
    if found.last_write is not None and found.state != "finished":
        yield f"last file {as_duration(time.time() - found.last_write)} ago"
    for stage in found.stages:
        parts = f", {stage.parts:,} parts of shards in work" if stage.parts else ""
        yield f"  {stage.name}: {stage.shards:,} shards{parts}, {stage.rows:,} rows, {stage.failed:,} failed"
    waits = ", in work" if found.state == "running" else ", not finished"
    for number, each in enumerate(found.slowest):
        title = "slowest" if number == 0 else ""
        yield f"{title:<9} {each.shard}: {as_duration(each.seconds)}{'' if each.done else waits}"
