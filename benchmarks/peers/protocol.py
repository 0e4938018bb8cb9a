"""How a contender is asked: one JSON object a line on standard input, one a line in answer.

First ``{"task": …, "parameters": {…}}``, answered by ``{"versions": {…}}`` when the task has set itself up; then ``{}``
for each round, answered by ``{"seconds": …, "count": …, "peak": …}``.  An ``{"error": …}`` says in a line why there is
no other answer.  Only the standard library is used, of any Python since 3.10: it runs in the environment of each peer.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

__all__ = ["peak_memory", "serve", "timed_round", "versions"]

Round = Callable[[], Any]


def serve(*tasks: Callable[..., Round], packages: Iterable[str] = ()) -> None:
    """Answer on standard output until standard input ends.

    Parameters
    ----------
    *tasks : callable
        Each sets itself up with the parameters that it is given, and gives the function that is a round.  That one
        answers what it counted, or a dictionary with ``count`` and whatever else there is to tell; its time is taken
        here, unless the dictionary has ``seconds``.
    packages : iterable of str
        Whose versions are told.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    by_name = {task.__name__: task for task in tasks}
    run: Round | None = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if run is None:
                run = by_name[request["task"]](**request["parameters"])
                answer: dict[str, Any] = {"versions": versions(packages)}
            else:
                answer = timed_round(run)
        except Exception as error:
            traceback.print_exc()
            first, *rest = str(error).strip().splitlines() or [""]  # of a worker's traceback the last line says why
            answer = {"error": " … ".join([f"{type(error).__name__}: {first}", *rest[-1:]])[:300]}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
    os._exit(0)  # neither threads nor worker processes of a library keep it from ending


def timed_round(run: Round) -> dict[str, Any]:
    """Run a round."""
    began = time.perf_counter()
    found = run()
    seconds = time.perf_counter() - began
    answer = found if isinstance(found, dict) else {"count": found}
    return {"seconds": seconds, "peak": peak_memory()} | answer


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Versions of Python and of those packages that are installed."""
    found = {"python": platform.python_version()}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def peak_memory() -> int:
    """Peak memory of this process in bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage counts what the parent had when it forked
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
