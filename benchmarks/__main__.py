"""``python -m benchmarks [NAME …] [options]``: run benchmarks, with their peers beside them; all by default."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path


def main() -> None:
    """Run the benchmarks that are named, passing the options on to each."""
    here = Path(__file__).parent
    names = sorted(
        path.stem for path in [*here.glob("[a-z]*.py"), *(each.parent for each in here.glob("*/__init__.py"))]
    )
    given = sys.argv[1:]
    if given[:1] == ["gpu"]:  # whose sections have names of their own
        importlib.import_module("benchmarks.gpu").main(given[1:])
        return
    chosen = [argument for argument in given if argument in names]
    options = [argument for argument in given if argument not in names]
    for name in chosen or names:
        importlib.import_module(f"benchmarks.{name}").main(options)


if __name__ == "__main__":
    main()
