"""How the cost of every step grows, from n to 4n, while shards stay as large as they are.

The steps of a curation run one after the other in a process of its own for each size, on photographs; the search for
near-duplicates on the vectors and hashes of the benchmarks ``dedup`` and ``hamming``, since repeated photographs are
no data for them.  A ratio of 4 is linear; what there is besides, a session pays once.

    python -m benchmarks growth [--images 2500] [--rows 50000] [--rounds 3] [--threads 2] [--quick] [--folder /scratch]
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks import dedup, hamming
from benchmarks.harness.contest import Contender, compete
from benchmarks.harness.figures import Case, Line
from benchmarks.harness.inputs import repeated, write_shards
from benchmarks.harness.options import options_of, parser_for
from benchmarks.open import in_fresh_process

TIMES = 4
#: What 4n may take, of what n takes; other steps are reported.
GOALS = {"pixel pass": 4.2, "export": 4.2}


def main(arguments: list[str]) -> list[Case]:
    """Run every step on n and on 4n."""
    parser = parser_for("growth", rounds=3, quick="100 photographs, 5,000 rows, 1 round")
    parser.add_argument("--images", type=int, default=2500, help="n of the steps on photographs")
    parser.add_argument("--rows", type=int, default=50_000, help="n of near-duplicates")
    options = options_of(parser, arguments)
    images, rows = (100, 5000) if options.quick else (options.images, options.rows)
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="growth-") as scratch:
        cases = steps(Path(scratch), images, options.rounds)
    return [*cases, *duplicates(rows, options.rounds, options.threads)]


def steps(scratch: Path, images: int, rounds: int) -> list[Case]:
    """A case for each step on photographs."""
    contenders = []
    for count in (images, TIMES * images):
        source = scratch / f"in-{count}"
        write_shards(source, repeated(count), samples_per_shard=min(500, images))
        place = {"source": str(source), "work": f"{scratch}/work", "out": f"{scratch}/out"}
        contenders.append(Contender(f"{count:,}", "ours", "steps", place, fresh=True, is_ours=True))

    def prepare() -> None:
        for name in ("work", "out"):
            shutil.rmtree(scratch / name, ignore_errors=True)

    fewer, more = compete(contenders, rounds, prepare=prepare).values()
    return [
        case(name, *(Line("", [answer["steps"][name] for answer in each.rounds]) for each in (fewer, more)), images)
        for name in fewer.rounds[0]["steps"]
    ]


def duplicates(rows: int, rounds: int, threads: int) -> list[Case]:
    """The same for near-duplicates among vectors and among hashes."""
    cases = []
    for kind in dedup.GENERATORS:
        runs: list[Callable[[str], float]] = [
            partial(semantic, dedup.Problem(kind, count, 256, 0.05, 1, count)) for count in (rows, TIMES * rows)
        ]
        cases.append(case(f"semantic duplicates, {kind}", *(repeat(run, rounds) for run in runs), rows))
    found = [repeat(partial(perceptual, count, threads), rounds) for count in (rows, TIMES * rows)]
    return [*cases, case("perceptual duplicates", *found, rows)]


def semantic(given: dedup.Problem, scratch: str) -> float:
    """Seconds to find and resolve the pairs of vectors."""
    seconds: float = dedup.in_fresh_process(dedup.run_ours, given, scratch)["seconds"]
    return seconds


def perceptual(count: int, threads: int, scratch: str) -> float:
    """Seconds to find the pairs of hashes."""
    source = Path(scratch) / "hashes.npy"
    np.save(source, hamming.correlated_hashes(count, 256, 1))
    return in_fresh_process(partial(hamming.ours, 31, threads), source, Path(scratch) / "found.npy")[0]


def repeat(run: Callable[[str], float], rounds: int) -> Line:
    """Run some times, each with an empty folder."""
    seconds = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(prefix="growth-") as scratch:
            seconds.append(run(scratch))
    return Line("", seconds)


def case(name: str, fewer: Line, more: Line, n: int) -> Case:
    """Seconds of 4n beside those of n."""
    lines = [Line(f"{TIMES * n:,}", more.values), Line(f"{n:,}", fewer.values, goal=GOALS.get(name))]
    return Case("growth", name, "s", lines, "share")
