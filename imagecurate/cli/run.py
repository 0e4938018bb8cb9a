"""``imagecurate run``: a pipeline, from its check to its summary."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from imagecurate.cli.command import command, log_record, logs_json, running, warn
from imagecurate.cli.display import console, print_json, print_lines, table
from imagecurate.cli.opening import differences_unlogged, silent
from imagecurate.errors import ParameterError

if TYPE_CHECKING:
    from imagecurate.pipeline import Pipeline
    from imagecurate.pipeline.rehearsal import Rehearsal

__all__ = ["Quiet", "Settings", "add_to", "run_pipeline"]

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress and no summary.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Take this instead, as in --set stages.0.batch_size=64."),
]

_SECONDS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)([dhms]))+")


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    command(app)(run)


def run(
    pipeline: Annotated[Path, typer.Argument(help="A pipeline in YAML; docs/pipeline.md says what may stand in it.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --dry-run: print one JSON document.")] = False,
    settings: Settings = None,
    until: Annotated[
        str | None, typer.Option(metavar="STEP", help="Compute up to this step (name or number), write no output.")
    ] = None,
    stop_after: Annotated[
        str | None, typer.Option(metavar="TIME", help="Finish the parts in hand after this time: 7h50m.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first sample that fails.")] = False,
    rank: Annotated[int | None, typer.Option(help="Number of this process among --world that share the work.")] = None,
    world: Annotated[int | None, typer.Option(help="How many processes share the work.")] = None,
    ranks: Annotated[str | None, typer.Option(metavar="slurm", help="Take rank and world from Slurm.")] = None,
    cluster: Annotated[
        str | None,
        typer.Option(help="auto, cpu, cuda, the address of a Dask scheduler or its file; none by default."),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Run a pipeline, as in: imagecurate run curate.yaml --stop-after 7h50m.

    The whole pipeline is checked before anything runs.  What the store has is not computed again: the same command goes
    on where a run was stopped or killed.  SIGTERM, SIGUSR1 and Ctrl-C finish the parts in hand.  Relative paths are
    relative to the working directory.
    """
    from imagecurate.plan.stopping import stopping

    seconds, share = None if stop_after is None else duration(stop_after), share_of(rank, world, ranks, os.environ)
    if as_json and not dry_run:
        raise ParameterError.because("--json is for --dry-run", "--log-json makes the log of a run JSON")
    if cluster is not None and share is not None:
        raise ParameterError.because(
            "--cluster and ranks are two ways to share the work, of which a run takes one",
            "leave out --cluster: ranks need no scheduler",
        )
    if dry_run:
        _dry_run(pipeline, settings or (), until, as_json)
        return
    with stopping(seconds), silent() if quiet else differences_unlogged():  # in front of imports that take seconds
        from imagecurate.pipeline import Pipeline
        from imagecurate.plan.ranks import working_as
        from imagecurate.plan.strict import strictly

        loaded = Pipeline.from_yaml(pipeline, settings=settings or ())
        with strictly(strict), nullcontext() if share is None else working_as(*share):
            rehearsal = loaded.rehearse(until)
            with _connected(cluster):
                run_pipeline(loaded, rehearsal, until=until, quiet=quiet)


def run_pipeline(pipeline: Pipeline, rehearsal: Rehearsal, *, until: str | None = None, quiet: bool = False) -> None:
    """Run what was rehearsed, and say what came of it."""
    from imagecurate.pipeline.cautions import cautions
    from imagecurate.plan.ranks import working_rank
    from imagecurate.remote import read_whole

    pipeline.check_output(rehearsal, until)
    for number, sentence in cautions(rehearsal):
        warn(f"{pipeline.place_of(number)}{sentence}")
    with running():
        dataset, summary = pipeline.run(progress=False if quiet else None, until=until, rehearsal=rehearsal)
    # Of a rank the passes that are shared out count, too: the one that follows finds in the store what they did.
    rank = working_rank()
    done, by_rank = (rank.stats, f"rank {rank.rank} of {rank.world}: ") if rank else (dataset.all_runs, "")
    computed = {stage: rows for stage, rows in done.computed.items() if rows}
    told = ", ".join(f"{stage} {rows:,}" for stage, rows in computed.items()) or "nothing"
    lines = [f"{by_rank}decoded {done.decoded:,} images; computed {told}"]
    if summary is None or pipeline.output is None:
        if not quiet:
            print_lines([*lines, f"computed up to {until!r}; no output is written"])
        return
    record = json.loads(read_whole(f"{pipeline.output.rstrip('/')}/run.json", pipeline.storage_options))
    if logs_json():
        told_too = {"samples": record["samples"], "kept": record["kept"], "failed": record["failed_by_reason"]}
        decoded = {"decoded": done.decoded, "computed": computed}
        log_record("info", "done", output=pipeline.output, **told_too, counts=record["counts"], **decoded)
    if quiet:
        return
    sources = record["inputs"]["sources"]
    for name, each in sources.items() if len(sources) > 1 else ():
        kept = each["kept"] / max(each["samples"], 1)
        lines.append(f"source {name}: {each['samples']:,} samples in, {each['kept']:,} kept, {kept:.1%}")
    lines += record["inputs"]["differences"]
    lines += [f"noticed in the shards: {what} {count:,}" for what, count in _noticed(record)]
    lines.append(f"wrote {summary.samples:,} samples in {summary.shards:,} shards to {pipeline.output}")
    console().print(_table(record))
    print_lines(lines)


def duration(text: str, option: str = "--stop-after") -> float:
    """Read a time in seconds.

    >>> duration("7h50m"), duration("90s"), duration("1.5h"), duration("600")
    (28200.0, 90.0, 5400.0, 600.0)
    """
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    if not _DURATION.fullmatch(text):
        raise ParameterError.because(f"{option} expects a time, but got {text!r}", "as in 7h50m, 90s or 2d")
    return sum(float(count) * _SECONDS[unit] for count, unit in re.findall(r"(\d+(?:\.\d+)?)([dhms])", text))


def share_of(
    rank: int | None, world: int | None, ranks: str | None, environment: Mapping[str, str]
) -> tuple[int, int] | None:
    """Give rank and world, from the options or from Slurm; None where nothing is shared.

    Under Slurm a job array counts as well as the tasks of a job: each task of each array job is a rank.

    >>> share_of(None, None, "slurm", {"SLURM_PROCID": "1", "SLURM_NTASKS": "2", "SLURM_ARRAY_TASK_ID": "5",
    ...     "SLURM_ARRAY_TASK_MIN": "4", "SLURM_ARRAY_TASK_COUNT": "3"})
    (3, 6)
    """
    if ranks is not None:
        if ranks != "slurm":
            raise ParameterError.because(f"--ranks expects 'slurm', but got {ranks!r}", "or give --rank and --world")
        if rank is not None or world is not None:
            raise ParameterError("--ranks slurm says rank and world: leave out --rank and --world")
        if not environment.keys() & {"SLURM_PROCID", "SLURM_ARRAY_TASK_ID"}:
            raise ParameterError.because(
                "--ranks slurm finds neither SLURM_PROCID nor SLURM_ARRAY_TASK_ID", "start it by srun or in a job array"
            )
        tasks, jobs = (_number(environment, f"SLURM_{name}", 1) for name in ("NTASKS", "ARRAY_TASK_COUNT"))
        first = _number(environment, "SLURM_ARRAY_TASK_MIN", 0)
        step = _number(environment, "SLURM_ARRAY_TASK_STEP", 1)
        job = (_number(environment, "SLURM_ARRAY_TASK_ID", first) - first) // max(step, 1)
        return job * tasks + _number(environment, "SLURM_PROCID", 0), jobs * tasks
    if (rank is None) != (world is None):
        raise ParameterError.because("--rank and --world belong together", "--rank $SLURM_PROCID --world $SLURM_NTASKS")
    return None if rank is None or world is None else (rank, world)


def _number(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name, str(default))
    if not text.isdecimal():
        raise ParameterError.because(
            f"--ranks slurm expects a whole number in {name}, but found {text!r}", "or give --rank and --world"
        )
    return int(text)


def _connected(cluster: str | None) -> AbstractContextManager[object]:
    if cluster is None:
        return nullcontext()
    from imagecurate.cluster import get_client

    client: AbstractContextManager[object] = get_client(cluster)
    return client


def _dry_run(file: Path, settings: Sequence[str], until: str | None, as_json: bool) -> None:
    """Say what a run would do."""
    from imagecurate.cli.plan_text import plan_lines
    from imagecurate.pipeline import Pipeline
    from imagecurate.pipeline.resolved import resolve

    pipeline = Pipeline.from_yaml(file, settings=settings)
    with silent(), differences_unlogged():
        rehearsal = pipeline.rehearse(until)
        pipeline.check_output(rehearsal, until)
        resolved = resolve(pipeline, rehearsal, pipeline.steps(until))
    if as_json:
        print_json(resolved.to_dict())
        return
    print_lines(plan_lines(resolved))
    for sentence in resolved.cautions:
        warn(sentence)


def _noticed(record: dict[str, Any]) -> list[tuple[str, int]]:
    """What was odd about the input beside its samples, as captions that differ; of no count that is always there."""
    noticed = record["inputs"]["noticed"].items()
    return sorted((name.replace("_", " "), n) for name, n in noticed if n and name not in ("samples", "parquet_rows"))


def _table(record: dict[str, Any]) -> Table:
    """Kept, dropped by reason, failed by reason, as the record of the run has them."""
    dropped = [(step["step"], step["dropped"]) for step in record["counts"]]
    rows = [
        (status, reason, f"{count:,}")
        for status, reasons in (
            ("kept", [("", record["kept"])]),
            ("dropped", dropped),
            ("failed", record["failed_by_reason"].items()),
        )
        for reason, count in sorted(reasons, key=lambda each: -each[1])
        if count or status == "kept"
    ]
    return table(["status", "reason", "samples>"], rows, title=f"{record['samples']:,} samples in")
