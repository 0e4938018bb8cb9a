"""``imagecurate estimate``: what a curation will take."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from imagecurate.cli.command import Code, command, log_record, logs_json
from imagecurate.cli.display import as_bytes, as_duration, print_json, print_lines
from imagecurate.cli.opening import differences_unlogged, input_of, silent
from imagecurate.cli.run import Settings
from imagecurate.errors import ParameterError, ShardError

if TYPE_CHECKING:
    from imagecurate.dataset import ImageTextPairDataset
    from imagecurate.pipeline.estimating import Estimate
    from imagecurate.plan.plan import Plan

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    command(app)(estimate)


def estimate(
    targets: Annotated[
        list[str], typer.Argument(metavar="PIPELINE|PATH...", help="A pipeline in YAML, or shards as for 'check'.")
    ],
    gpus: Annotated[int | None, typer.Option(min=1, help="GPUs that share the work.")] = None,
    images_per_s: Annotated[
        float | None, typer.Option(help="Of one GPU, or of this machine without --gpus; else it is measured here.")
    ] = None,
    price_per_gpu_hour: Annotated[float | None, typer.Option(min=0, help="For the cost; needs --gpus.")] = None,
    settings: Settings = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Say what a curation will take, as in: imagecurate estimate curate.yaml --gpus 8 --images-per-s 1500.

    Looks into a few shards and does some seconds of the real work on this machine, in a store of its own that is gone
    afterwards.  Exit code 1 where there is nothing to read.
    """
    from imagecurate.pipeline.estimating import estimate as estimated

    if images_per_s is not None and not 0 < images_per_s < float("inf"):
        raise ParameterError(f"--images-per-s expects a positive number, but got {images_per_s:g}")
    if price_per_gpu_hour is not None and gpus is None:
        raise ParameterError.because("--price-per-gpu-hour needs --gpus", "--gpus 1 where there is one")
    try:
        with silent(), differences_unlogged():
            dataset, plan = _work(targets, settings or [])
            found = estimated(
                dataset, plan, gpus=gpus, images_per_s=images_per_s, price_per_gpu_hour=price_per_gpu_hour
            )
    except ShardError as error:
        if logs_json():
            log_record("error", str(error), exit_code=int(Code.FOUND))
        else:
            print_lines([f"nothing to read: {error}"])
        raise typer.Exit(Code.FOUND) from None
    if as_json:
        print_json(found.to_dict())
    else:
        print_lines(_lines(found))


def _work(targets: list[str], settings: list[str]) -> tuple[ImageTextPairDataset, Plan | None]:
    """The dataset without a step, and the plan where a pipeline was named."""
    from imagecurate.dataset import read_webdataset
    from imagecurate.pipeline import Pipeline

    if len(targets) == 1 and targets[0].endswith((".yaml", ".yml")):
        rehearsal = Pipeline.from_yaml(targets[0], settings=[*settings, "workdir=null"]).rehearse()
        return rehearsal.opened, rehearsal.plan
    if settings:
        raise ParameterError("--set is for a pipeline")
    return read_webdataset(input_of(targets), workdir=None), None


def _lines(found: Estimate) -> Iterator[str]:
    formats = ", ".join(f"{name} {share:.0%}" for name, share in found.formats.items())
    yield f"input     {found.shards:,} shards, {as_bytes(found.bytes)}, about {found.samples:,} samples"
    yield f"formats   {formats or 'not known'}"
    rate = "not known" if found.images_per_s is None else f"{found.images_per_s:,.0f} images/s"
    where = "measured" if found.measured else "as given" if found.images_per_s is not None else ""
    on = f" on {found.gpus} GPUs" if found.gpus else ""
    yield f"speed     {rate}{on}" + (f" ({where})" if where else "")
    yield f"time      {'not known' if found.seconds is None else as_duration(found.seconds)}"
    if found.gpu_hours is not None:
        yield f"GPU hours {found.gpu_hours:,.1f}" + ("" if found.cost is None else f", cost {found.cost:,.2f}")
    for title, size in (
        ("memory", found.memory_bytes),
        ("GPU mem.", found.gpu_memory_bytes),
        ("store", found.store_bytes),
        ("output", found.output_bytes),
    ):
        if size is not None:
            yield f"{title:<9} {as_bytes(size)}"
    yield "assumptions"
    yield from (f"  {note}" for note in found.assumptions)
