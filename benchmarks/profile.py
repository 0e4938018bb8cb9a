"""Where the time goes: the pixel pass, the export and others, by the function of ours that was at work or waited for.

py-spy looks 200 times a second at what each thread that is not idle does, in compiled code, too.  A row is the
innermost function of imagecurate on the stack; what it calls of other libraries is its.  Imports and idle threads are
left out.

    python -m benchmarks profile [--steps pixels large embed export filter] [--rounds 5] [--quick] [--folder /scratch]
"""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from pathlib import Path

from benchmarks.embed import MODEL
from benchmarks.filter import EXPRESSION, write_store
from benchmarks.harness.contest import Contender, Process, interpreter
from benchmarks.harness.inputs import repeated, write_shards
from benchmarks.harness.options import options_of, parser_for
from benchmarks.reshard import write_input

STEPS = ("pixels", "large", "embed", "export", "filter")
ROWS = 14
RATE = 200


def main(arguments: list[str]) -> None:
    """Profile the steps one after the other and print a table for each."""
    from benchmarks import pixels

    parser = parser_for("profile", rounds=5, quick="few pictures, 1 round")
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=STEPS)
    options = options_of(parser, arguments)
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="profile-") as scratch:
        here = Path(scratch)
        few = options.quick
        for step in options.steps:
            source = here / step
            place = {"source": str(source), "work": f"{scratch}/work"}
            if step == "export":
                write_input(source, 0.2 if few else 2.0)
                task, parameters = "export", place | {"out": f"{scratch}/out", "digest": "xxh3_128"}
            elif step == "filter":
                write_store(source, Path(f"{scratch}/work"), 10 if few else 200)
                task, parameters = "filter_scores", place | {"expression": EXPRESSION}
            elif step == "embed":
                write_shards(source, repeated(32 if few else 460))
                task, parameters = "embed", place | {"model": MODEL}
            else:
                samples = pixels.large(4 if few else 24) if step == "large" else repeated(128 if few else 2300)
                write_shards(source, samples, samples_per_shard=500)
                task, parameters = "pixels", place
            profile(step, Contender(step, "ours", task, parameters), here, options.rounds)


def profile(step: str, contender: Contender, scratch: Path, rounds: int) -> None:
    """Run some rounds under py-spy, and print where threads were."""
    folded = scratch / f"{step}.folded"
    spy = interpreter("profile").parent / "py-spy"
    wrapper = [
        str(spy),
        "record",
        "--rate",
        str(RATE),
        "--format",
        "raw",
        "--output",
        str(folded),
        "--nonblocking",
        "--",
    ]
    with Process(contender, wrapper) as process:
        seconds = 0.0
        for number in range(rounds + 1):
            shutil.rmtree(scratch / "out", ignore_errors=True)  # an export that is there is not written again
            took = process.round()["seconds"]
            seconds += took if number else 0  # the first one imports, and loads what a process keeps
        process.finish()
    shares, total = where(folded.read_text())
    print(f"\n{step}: {seconds:.1f} s in {rounds} rounds, {total / RATE:.1f} s of threads at work")
    for name, count in shares.most_common(ROWS):
        print(f"  {100 * count / total:5.1f} %  {name}")


def where(folded: str) -> tuple[Counter[str], int]:
    """Samples by the innermost function of ours, of the lines that py-spy wrote: a stack from the outside in, a count.

    >>> lines = "run (x.py:1);decode (imagecurate/images/decoder.py:90);f (simplejpeg.py:3) 7"
    >>> where(lines)
    (Counter({'imagecurate/images/decoder.py: decode': 7}), 7)
    """
    found: Counter[str] = Counter()
    for line in folded.splitlines():
        stack, _, count = line.rpartition(" ")
        frames = stack.split(";")
        if any("importlib" in frame for frame in frames):
            continue
        ours = [frame for frame in frames if "imagecurate/" in frame]
        if ours:
            name, _, place = ours[-1].partition(" (")
            path = place.rpartition(":")[0]
            found[f"{path[path.rindex('imagecurate/') :]}: {name}"] += int(count)
    return found, found.total()
