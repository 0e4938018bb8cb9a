"""``imagecurate init``: a pipeline to begin with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imagecurate.cli.command import command, warn
from imagecurate.cli.display import print_lines
from imagecurate.cli.opening import input_of
from imagecurate.errors import ParameterError, listed, near_miss

if TYPE_CHECKING:
    from imagecurate.pipeline.recipes import Recipe

__all__ = ["add_to"]

_Input = Annotated[
    list[str],
    typer.Option("--input", "--input-path", "-i", help="Shards: folder, glob, braces or URL; SOURCE=PATH names it."),
]
_File = Annotated[Path, typer.Option("--file", "--output-file", "-f", help="The pipeline file to write.")]
_RecipeName = Annotated[
    str, typer.Option(help="basic-quality (scores and filters), full (drops duplicates, too), or embedding-only.")
]
_Model = Annotated[
    str | None, typer.Option(help="A model of timm's, or 'thumbnail': no weights.  [default: CLIP ViT-L/14]")
]


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    command(app)(init)


def init(
    input_path: _Input,
    output_path: Annotated[str, typer.Option("--output", "--output-path", "-o", help="Folder or URL to write.")],
    file: _File = Path("pipeline.yaml"),
    recipe: _RecipeName = "basic-quality",
    aesthetic: Annotated[
        bool | None, typer.Option("--aesthetic/--no-aesthetic", help="Filter by aesthetic score.")
    ] = None,
    aesthetic_threshold: Annotated[
        float | None, typer.Option(help="Keep scores of at least this; about 1 to 10.  [default: 5]")
    ] = None,
    nsfw: Annotated[bool | None, typer.Option("--nsfw/--no-nsfw", help="Filter by NSFW score.")] = None,
    nsfw_threshold: Annotated[
        float | None, typer.Option(help="Keep scores below this; 0 to 1.  [default: 0.5]")
    ] = None,
    dedup: Annotated[bool | None, typer.Option("--dedup/--no-dedup", help="Drop duplicates.")] = None,
    min_similarity: Annotated[
        float | None, typer.Option(help="Least cosine of duplicates.  [default: 0.95 for the default model]")
    ] = None,
    model: _Model = None,
    batch_size: Annotated[int | None, typer.Option(help="Of the model.")] = None,
    samples_per_shard: Annotated[
        int, typer.Option("--samples-per-shard", "--images-per-tar", help="Samples in an output shard.")
    ] = 10_000,
    workdir: Annotated[str, typer.Option(help="Folder that keeps what was computed.")] = "auto",
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it is there.")] = False,
) -> None:
    """Write a commented pipeline that runs as it is, as in: imagecurate init --input data --output curated --dedup.

    A threshold that is given asks for its filter, 0 too: it is a threshold, not "off".
    """
    from imagecurate.dataset.yaml import write_text
    from imagecurate.pipeline.recipes import CLIP, Recipe

    for option, paths in (("--input", input_path), ("--output", [output_path])):
        if not all(path.strip() for path in paths):
            raise ParameterError(f"{option} expects a path or URL, but got nothing")
    by_aesthetic, by_nsfw, drops = _defaults_of(recipe)
    made = Recipe(
        input_of(input_path),
        output_path,
        workdir,
        model or CLIP,
        batch_size,
        _threshold("aesthetic", aesthetic, aesthetic_threshold, by_aesthetic, 5.0),
        _threshold("nsfw", nsfw, nsfw_threshold, by_nsfw, 0.5),
        _asked("dedup", dedup, min_similarity, drops, "--min-similarity"),
        min_similarity,
        samples_per_shard,
    )
    text = made.text()
    if file.exists() and not force:
        raise ParameterError.because(f"there is a file {str(file)!r} already", "--force replaces it; -f names another")
    _warn_of_thresholds(made)
    write_text(file, text)
    print_lines([f"wrote {file}", f"look:  imagecurate run {file} --dry-run", f"run:   imagecurate run {file}"])


def _defaults_of(recipe: str) -> tuple[bool, bool, bool]:
    """What a recipe asks for where nothing else is said: by aesthetic score, by NSFW score, without duplicates."""
    from imagecurate.pipeline.recipes import RECIPES

    if recipe not in RECIPES:
        guess = near_miss(recipe, RECIPES)
        hint = f"did you mean {guess!r}?" if guess else f"there are {listed(RECIPES)}"
        raise ParameterError.because(f"there is no recipe {recipe!r}", hint)
    return RECIPES[recipe]


def _warn_of_thresholds(made: Recipe) -> None:
    """Tell of those that keep all or nothing."""
    if made.aesthetic_threshold is not None and made.aesthetic_threshold <= 1:
        warn(
            f"an aesthetic threshold of {made.aesthetic_threshold:g} keeps nearly everything: scores are about 1 "
            "to 10, not 0 to 1"
        )
    if made.nsfw_threshold is not None and not 0 < made.nsfw_threshold <= 1:
        keeps = "everything" if made.nsfw_threshold > 1 else "nothing"
        warn(f"an NSFW threshold of {made.nsfw_threshold:g} keeps {keeps}: scores are 0 to 1, those below it are kept")


def _threshold(name: str, asked: bool | None, given: float | None, usual: bool, default: float) -> float | None:
    """The threshold of a filter, None where there is to be no filter."""
    if not _asked(name, asked, given, usual, f"--{name}-threshold"):
        return None
    return default if given is None else given


def _asked(name: str, asked: bool | None, given: float | None, usual: bool, option: str) -> bool:
    if asked is False and given is not None:
        raise ParameterError(f"--no-{name} and {option} {given:g} contradict each other")
    return usual if asked is None and given is None else asked is not False
