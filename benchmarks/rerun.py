"""A first run, and the run again with another threshold: what is in the store is not computed again.

The job embeds by ViT-B/32 (random weights), scores the embeddings, filters by the score and exports.  The first run
has an empty store; the others have its store, another threshold and another output folder.  Each is a process of its
own, timed from the opening of the shards on, when everything is imported.

    python -m benchmarks rerun [--images 20000] [--rounds 3] [--threads 2] [--quick] [--folder /scratch]
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.embed import MODEL
from benchmarks.harness.contest import Contender, compete
from benchmarks.harness.figures import Case, Line
from benchmarks.harness.inputs import repeated, write_shards
from benchmarks.harness.options import options_of, parser_for

#: Of scores that lie evenly between 0 and 10.
FIRST, AGAIN = 5.0, (4.0, 6.0, 3.0, 7.0, 2.0, 8.0)
#: The first run is to take as long, in seconds; the goal is a share of it.
AT_LEAST_S = 600
GOAL = 0.02


def main(arguments: list[str]) -> list[Case]:
    """Run once, and again with other thresholds."""
    parser = parser_for("rerun", rounds=3, quick="64 photographs, 1 round")
    parser.add_argument("--images", type=int, default=20_000, help="enough for a first run of ten minutes")
    options = options_of(parser, arguments)
    images = 64 if options.quick else options.images
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="rerun-") as scratch:
        source = Path(scratch) / "in"
        write_shards(source, repeated(images))
        return [measure(source, Path(scratch), images, options.rounds)]


def measure(source: Path, scratch: Path, images: int, rounds: int) -> Case:
    """One first run, several others."""
    place = {"source": str(source), "work": str(scratch / "work"), "out": str(scratch / "out"), "model": MODEL}

    def run(name: str, threshold: float) -> float:
        contender = Contender(name, "ours", "curate", place | {"threshold": threshold}, fresh=True, is_ours=True)
        (answer,) = compete([contender], 1, warm_up=False)[name].rounds
        if answer["count"] != images:
            raise SystemExit(f"{name} looked at {answer['count']} of {images} samples")
        return answer["seconds"]

    first = run("first run", FIRST)
    again = [run("another threshold", AGAIN[number % len(AGAIN)]) for number in range(rounds)]
    title = f"{images:,} photographs: embed, score, filter, export"
    if first < AT_LEAST_S:
        title += f" (the first run is shorter than {AT_LEAST_S} s: what does not depend on n weighs more)"
    lines = [Line("imagecurate, another threshold", again), Line("imagecurate, first run", [first], goal=GOAL)]
    return Case("rerun", title, "s", lines, "share")
