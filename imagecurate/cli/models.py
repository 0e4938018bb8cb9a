"""``imagecurate models``: weights, where they come from, and fetching them ahead."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imagecurate.cli.command import command, running
from imagecurate.cli.display import as_bytes, print_json, print_lines
from imagecurate.cli.run import Settings

if TYPE_CHECKING:
    from collections.abc import Iterable

    from imagecurate.stages.needed_weights import NeededWeights

__all__ = ["add_to"]

_Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


def add_to(app: typer.Typer) -> None:
    """Add the command and what stands below it."""
    group = typer.Typer(help="Model weights: source, licence, digest; fetched ahead for nodes without a network.")
    app.add_typer(group, name="models", no_args_is_help=False, invoke_without_command=True, callback=_default)
    command(group, "list")(list_models)
    command(group)(pull)


def _default(context: typer.Context, as_json: _Json = False) -> None:
    """Model weights: source, licence, digest; fetched ahead by: imagecurate models pull pipeline.yaml."""
    if context.invoked_subcommand is None:
        list_models(as_json=as_json)


def list_models(as_json: _Json = False) -> None:
    """List the weights that the documentation names, as in: imagecurate models.

    sha256 is that of the file that is here, or of the published one where that is known beforehand; what is verified by
    the digest of its tensors says that, too.  timm has many more models: any of its names works.
    """
    from imagecurate.stages.needed_weights import documented_weights

    _show(documented_weights(), as_json)


def pull(
    pipeline: Annotated[Path, typer.Argument(help="A pipeline in YAML.")],
    settings: Settings = None,
    as_json: _Json = False,
) -> None:
    """Fetch the weights that a pipeline needs, as in: imagecurate models pull curate.yaml.

    They lie where a run looks for them: those of the predictors in $IMAGECURATE_MODELS, by default
    ~/.cache/imagecurate/models, those of embedders in the Hugging Face Hub's cache, $HF_HOME.
    """
    from imagecurate.pipeline import Pipeline
    from imagecurate.plan.stage import Stage
    from imagecurate.stages.needed_weights import weights_of

    steps = Pipeline.from_yaml(pipeline, settings=settings or ()).stages
    stages = [step for step in steps if isinstance(step, Stage)]
    with running():
        for each in weights_of(stages):
            each.fetch()
    _show(weights_of(stages), as_json)


def _show(weights: Iterable[NeededWeights], as_json: bool) -> None:
    found = [_record(each) for each in weights]
    if as_json:
        print_json(found)
        return
    for each in found:
        print_lines([f"{each.pop('name')} ({each.pop('stage')})"])
        size = each.pop("bytes")
        if size is not None:
            each["path"] = f"{each['path']} ({as_bytes(size)})"
        each["path"] = each["path"] or "not on this machine"
        print_lines(f"    {name.replace('_', ' '):<14} {value}" for name, value in each.items() if value)
    if not found:
        print_lines(["no stage needs weights"])


def _record(weights: NeededWeights) -> dict[str, Any]:
    return {
        "name": weights.name,
        "stage": weights.stage,
        "source": weights.source,
        "licence": weights.licence,
        "sha256": weights.sha256,
        "tensors_sha256": weights.tensors,
        "needs": weights.needs,
        "gives": weights.gives,
        "path": None if weights.path is None else str(weights.path),
        "bytes": None if weights.path is None else weights.path.stat().st_size,
    }
