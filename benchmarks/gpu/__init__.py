"""What a GPU makes of it: the bare model, the whole pass, the two pixel paths, pairs of vectors.

    python -m benchmarks gpu [model] [endtoend] [pixels] [pairs] [--quick] [--json FILE] [options of the sections]

Sections run one after another, all by default; one that fails says why, and the next goes on.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import os
import platform
import time
import traceback
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType
from typing import Any

#: In the order in which they run.
SECTIONS = ("model", "endtoend", "pixels", "pairs")
PACKAGES = ("torch", "timm", "numpy", "dask", "cudf-cu13", "cuml-cu13", "cupy-cuda13x", "nvidia-dali-cuda130")


def main(arguments: list[str]) -> None:
    """Run the sections that are named, print their tables and write their figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks gpu", conflict_handler="resolve")
    parser.add_argument("sections", nargs="*", help=f"out of {', '.join(SECTIONS)}; all by default")
    parser.add_argument("--quick", action="store_true", help="less of everything: does it run, and roughly how fast")
    parser.add_argument("--json", type=Path, help="file for the figures")
    sections = {name: _section(name) for name in SECTIONS}
    for section in sections.values():
        if hasattr(section, "add_arguments"):
            section.add_arguments(parser)
    options = parser.parse_args(arguments)
    unknown = set(options.sections) - set(SECTIONS)
    if unknown:
        parser.error(f"no such section: {', '.join(sorted(unknown))}")
    figures: dict[str, Any] = {"machine": machine()}
    print(", ".join(f"{name} {value}" for name, value in figures["machine"].items()), flush=True)
    #: Later sections may read what earlier ones found.
    options.found = figures
    failed = []
    for name in options.sections or SECTIONS:
        print(f"\n== {name}", flush=True)
        began = time.perf_counter()
        try:
            section = sections[name]
            if isinstance(section, Exception):
                raise section
            figures[name] = section.run(options)
        except Exception as error:
            traceback.print_exc()
            figures[name] = {"error": f"{type(error).__name__}: {error}"}
            failed.append(name)
        print(f"== {name}: {time.perf_counter() - began:.0f} s", flush=True)
        release()
        if options.json:
            options.json.write_text(json.dumps(figures, indent=2, default=str) + "\n")
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


def _section(name: str) -> ModuleType | Exception:
    """A section's module; where a library that it needs is missing, the error."""
    try:
        return importlib.import_module(f"benchmarks.gpu.{name}")
    except ImportError as error:
        return error


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    import torch

    found: dict[str, Any] = {
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "python": platform.python_version(),
    }
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        found |= {"gpu": properties.name, "memory_gib": round(properties.total_memory / 2**30, 1)}
        found |= {"cuda": torch.version.cuda}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def release() -> None:
    """Give back the memory of a section that is over."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
