"""Options that all benchmarks understand."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.harness.machine import keep_to, processors

__all__ = ["options_of", "parser_for"]


def parser_for(name: str, *, rounds: int, quick: str) -> argparse.ArgumentParser:
    """A parser for the options of one benchmark.

    Parameters
    ----------
    name : str
    rounds : int
        How many there are by default.
    quick : str
        What ``--quick`` makes of it.
    """
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks {name}")
    parser.add_argument("--rounds", type=int, default=rounds, help=f"that count, after one to warm up ({rounds})")
    parser.add_argument("--threads", type=int, default=min(2, processors()), help="threads, or processes, of each")
    parser.add_argument("--quick", action="store_true", help=quick)
    parser.add_argument("--folder", type=Path, default=None, help="where to work; the system's temporary folder")
    return parser


def options_of(parser: argparse.ArgumentParser, arguments: list[str], *, quick_rounds: int = 1) -> argparse.Namespace:
    """Parse, and keep all that is started to as many processors as threads were asked for."""
    options = parser.parse_args(arguments)
    if options.quick:
        options.rounds = quick_rounds
    keep_to(options.threads)
    return options
