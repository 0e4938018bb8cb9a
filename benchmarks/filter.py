"""Filter by scores in the store: 1,000 shards of 10,000 rows, beside a loop over the same files with pandas.

The tars hold 10,000 members of one byte and are one file under 1,000 names: only their headers are ever read, when the
store is filled.  What is measured comes after that: open the shards, filter by an expression over two scores, count
what is left; the loop reads the two columns of each file of the store, and counts.  Each round is a process of its
own, timed when everything is imported; peak memory is with what is imported.

    python -m benchmarks filter [--shards 1000] [--rows 10000] [--rounds 3] [--threads 2] [--quick] [--folder /scratch]
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from benchmarks.harness.contest import Contender, compete
from benchmarks.harness.figures import Case
from benchmarks.harness.inputs import write_shards
from benchmarks.harness.options import options_of, parser_for

EXPRESSION = "aesthetic >= 5 and nsfw < 0.2"


def main(arguments: list[str]) -> list[Case]:
    """Fill a store and filter."""
    parser = parser_for("filter", rounds=3, quick="20 shards, 1 round")
    parser.add_argument("--shards", type=int, default=1000)
    parser.add_argument("--rows", type=int, default=10_000, help="of each shard")
    options = options_of(parser, arguments)
    shards = 20 if options.quick else options.shards
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="filter-") as scratch:
        source, work = Path(scratch) / "in", Path(scratch) / "work"
        write_store(source, work, shards, options.rows)
        return [measure(source, work, shards * options.rows, options.rounds)]


def write_store(source: Path, work: Path, shards: int, rows: int = 10_000) -> None:
    """Write the shards, and have two scores computed for each row."""
    (first,) = write_shards(source, ({"jpg": b"-"} for _ in range(rows)), rows)
    for number in range(1, shards):
        os.link(first, source / f"{number:05d}.tar")
    place = {"source": str(source), "work": str(work)}
    compete([Contender("fill", "ours", "store_scores", place, is_ours=True)], 1, warm_up=False)


def measure(source: Path, work: Path, rows: int, rounds: int) -> Case:
    """Open, filter and count, in turn."""
    place = {"source": str(source), "work": str(work)}
    (scores,) = (work / "store" / "columns").glob("Score-*")
    ours = Contender(
        "imagecurate", "ours", "filter_scores", place | {"expression": EXPRESSION}, fresh=True, is_ours=True
    )
    loop = Contender(
        "loop of pandas.read_parquet",
        "pandas_loop",
        "filter_scores",
        {"folder": str(scores), "columns": ["aesthetic", "nsfw"]},
        fresh=True,
    )
    found = compete([ours, loop], rounds)
    answers = {(answer["count"], answer["left"]) for outcome in found.values() for answer in outcome.rounds}
    if len(answers) != 1 or answers.pop()[0] != rows:
        raise SystemExit(f"the two do not agree on how many of {rows} rows are left")
    lines = [found[each.name].line(each.name, goal=goal, per_second=False) for each, goal in ((ours, None), (loop, 1))]
    return Case("filter", f"{rows:,} rows, {EXPRESSION}", "s", lines, "less is better")
