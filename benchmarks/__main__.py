"""``python -m benchmarks [NAME …] [options]``: run benchmarks, with their peers beside them; all by default.

``--json FILE`` writes a record for each figure, ``--save`` all that is printed into ``benchmarks/results``, with date,
machine and command.  ``--quick`` asks whether everything runs.  ``python -m benchmarks NAME --help`` lists
what else there is.  ``python -m benchmarks gpu`` has sections and options of its own.
"""

from __future__ import annotations

import argparse
import importlib
import io
import itertools
import json
import sys
import time
import traceback
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, TextIO

from benchmarks.harness.figures import Case, records, table
from benchmarks.harness.machine import describe
from benchmarks.peers.protocol import versions

#: In the order in which they run; the last one is run only when it is named.
BENCHMARKS = (
    "pixels",
    "embed",
    "reshard",
    "rerun",
    "filter",
    "open",
    "dedup",
    "hamming",
    "growth",
    "tools",
    "overhead",
    "memory",
    "profile",
)
RESULTS = Path(__file__).parent / "results"
PACKAGES = (
    "imagecurate",
    "dask",
    "numpy",
    "pandas",
    "pyarrow",
    "simplejpeg",
    "timm",
    "torch",
    "webdataset",
    "faiss-cpu",
)


def main() -> None:
    """Run the benchmarks that are named, passing the options on to each."""
    given = sys.argv[1:]
    if given[:1] == ["gpu"]:
        importlib.import_module("benchmarks.gpu").main(given[1:])
        return
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__, add_help=False)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--save", action="store_true")
    options, rest = parser.parse_known_args(given)
    named = list(itertools.takewhile(lambda argument: not argument.startswith("-"), rest))
    passed_on = rest[len(named) :]
    if unknown := set(named) - set(BENCHMARKS):
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}")
    if not named and any(argument in ("-h", "--help") for argument in passed_on):
        print(__doc__, f"Benchmarks: {', '.join(BENCHMARKS)}", sep="\n")
        return
    shared = {
        "date": time.strftime("%Y-%m-%d"),
        "machine": describe(),
        "package_versions": versions(PACKAGES),
        "command": " ".join(["python -m benchmarks", *rest]),
    }
    found: list[dict[str, Any]] = []
    failed = []
    for name in named or BENCHMARKS[:-1]:
        printed = Tee(sys.stdout)
        with redirect_stdout(printed):
            try:
                run(name, passed_on, shared, found)
            except (Exception, SystemExit) as error:
                if isinstance(error, SystemExit) and not error.code:  # --help
                    raise
                traceback.print_exc()
                print(f"{name} failed: {type(error).__name__}: {error}", flush=True)
                failed.append(name)
        if options.save:
            save(name, printed.getvalue(), shared)
        if options.json:
            options.json.write_text(json.dumps(found, indent=1) + "\n")
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


def run(name: str, arguments: list[str], shared: dict[str, Any], found: list[dict[str, Any]]) -> None:
    """Run one benchmark and print its table; its figures become records."""
    print(f"== {name}", flush=True)
    began = time.perf_counter()
    cases: list[Case] = importlib.import_module(f"benchmarks.{name}").main(arguments) or []
    if cases:
        print(f"\n{table(cases)}", end="")
    found += records(cases, shared)
    print(f"== {name}: {time.perf_counter() - began:,.0f} s\n", flush=True)


def save(name: str, printed: str, shared: dict[str, Any]) -> None:
    """Keep what was printed, under its date."""
    machine = ", ".join(f"{key} {value}" for key, value in shared["machine"].items())
    packages = ", ".join(f"{key} {value}" for key, value in shared["package_versions"].items())
    head = f"# {name}, {shared['date']}\n\n`{shared['command']}`\n\n{machine}\n\n{packages}\n"
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{shared['date']}-{name}.md").write_text(f"{head}\n```\n{printed.strip()}\n```\n")


class Tee(io.StringIO):
    """Keeps what it passes on."""

    def __init__(self, other: TextIO) -> None:
        super().__init__()
        self._other = other

    def write(self, text: str) -> int:
        self._other.write(text)
        return super().write(text)

    def flush(self) -> None:
        self._other.flush()


if __name__ == "__main__":
    main()
