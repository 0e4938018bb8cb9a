"""``python -m benchmarks [NAME …] [options]``: run benchmarks, with their peers beside them; all by default."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path


def main() -> None:
    """Run the benchmarks that are named, passing the options on to each."""
    names = sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py") if path.stem != "machine")
    chosen = [argument for argument in sys.argv[1:] if argument in names]
    options = [argument for argument in sys.argv[1:] if argument not in names]
    for name in chosen or names:
        importlib.import_module(f"benchmarks.{name}").main(options)


if __name__ == "__main__":
    main()
