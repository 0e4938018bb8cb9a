"""Contenders take turns, each in a process of its own; whoever is not at work is halted.

A contender is a script in ``benchmarks/peers``, run by the interpreter of its environment below ``.venv-peers``, or by
this one.  It sets itself up, is warmed up by a round that does not count, and then is asked for one round after the
other, beginning with another contender each time.  Between its rounds its process group is stopped (SIGSTOP), so that
threads which read ahead, or wait busily, take nothing from the others and give it no start.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.harness.figures import Line

__all__ = ["ENVIRONMENTS", "Contender", "ContenderError", "Outcome", "compete"]

SCRIPTS = Path(__file__).resolve().parents[1] / "peers"
#: ``make bench-env`` fills it.
ENVIRONMENTS = Path(os.environ.get("BENCH_ENV", SCRIPTS.parents[1] / ".venv-peers"))


class ContenderError(RuntimeError):
    """A contender cannot be started, or failed in a round."""


@dataclass(frozen=True)
class Contender:
    """One that takes part.

    Parameters
    ----------
    name : str
        As tables show it.
    script, task : str
        File in ``benchmarks/peers``, without ``.py``, and which of its tasks.
    parameters : mapping, optional
        Given to the task when it sets itself up.
    environment : str, optional
        Folder below ``.venv-peers``; this interpreter by default.
    fresh : bool, default=False
        Have a process for each round: nothing that a process remembers makes a later round faster.
    is_ours : bool, default=False
        Its failure is no result but a fault.
    """

    name: str
    script: str
    task: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    environment: str | None = None
    fresh: bool = False
    is_ours: bool = False


@dataclass
class Outcome:
    """What the rounds of a contender gave, or why there is nothing."""

    rounds: list[dict[str, Any]] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    reason: str | None = None

    def line(
        self, contender: str, *, goal: float | None = None, is_limit: bool = False, per_second: bool = True
    ) -> Line:
        """The line of a table, of what was counted a second or of seconds."""
        seconds = [each["seconds"] for each in self.rounds]
        values = [each["count"] / each["seconds"] for each in self.rounds] if per_second else seconds
        peak = max((each.get("peak", 0) for each in self.rounds), default=0)
        note = "" if per_second or not peak else f"{peak / 1e6:,.0f} MB at most"
        return Line(contender, values, goal, is_limit, self.reason, note, self.versions)


def compete(
    contenders: Sequence[Contender],
    rounds: int,
    *,
    warm_up: bool = True,
    prepare: Callable[[], object] | None = None,
) -> dict[str, Outcome]:
    """Let the contenders take turns.

    Parameters
    ----------
    contenders : sequence of Contender
    rounds : int
        That count.
    warm_up : bool, default=True
        Have one before them.
    prepare : callable, optional
        Called before each contender's round, outside of what is timed.

    Returns
    -------
    dict of str to Outcome
        By the contenders' names, in the order given.

    Raises
    ------
    ContenderError
        One that is ours failed.
    """
    outcomes = {contender.name: Outcome() for contender in contenders}
    with ExitStack() as stack:
        running: dict[str, Process] = {}
        for number in range(rounds + warm_up):
            first = number % len(contenders)
            for contender in (*contenders[first:], *contenders[:first]):
                outcome = outcomes[contender.name]
                if outcome.reason is not None:
                    continue
                if prepare is not None:
                    prepare()
                try:
                    process = running.pop(contender.name, None) or stack.enter_context(Process(contender))
                    outcome.versions = process.versions
                    answer = process.round()
                    if contender.fresh:
                        process.close()
                    else:
                        running[contender.name] = process
                except ContenderError as error:
                    if contender.is_ours:
                        raise
                    outcome.reason, outcome.rounds = str(error), []
                    continue
                if number >= warm_up:
                    outcome.rounds.append(answer)
    return outcomes


class Process:
    """The process of a contender; halted whenever it is not asked anything.

    Parameters
    ----------
    contender : Contender
    wrapper : sequence of str, optional
        Command line in front of the interpreter, such as a profiler.

    Raises
    ------
    ContenderError
        Its environment is not there, or it could not set itself up; the message says why, in a line.
    """

    def __init__(self, contender: Contender, wrapper: Sequence[str] = ()) -> None:
        self._name = contender.name
        command = [*wrapper, str(interpreter(contender.environment)), str(SCRIPTS / f"{contender.script}.py")]
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the process
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        self._process: Any = subprocess.Popen(  # with pipes, which typing takes for optional
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env=environment,
            start_new_session=True,  # a process group of its own, to be halted as a whole
        )
        try:
            self.versions: dict[str, str] = self._ask(
                {"task": contender.task, "parameters": dict(contender.parameters)}
            )["versions"]
        except BaseException:
            self.close()
            raise
        self._signal(signal.SIGSTOP)

    def round(self) -> dict[str, Any]:
        """Ask for a round: its ``seconds``, its ``count`` and whatever else the script tells."""
        self._signal(signal.SIGCONT)
        try:
            return self._ask({})
        finally:
            self._signal(signal.SIGSTOP)

    def finish(self) -> None:
        """Let it come to its end, as what wraps it may need."""
        self._signal(signal.SIGCONT)
        self._process.stdin.close()
        self._process.wait()

    def close(self) -> None:
        """End it, with all that it started."""
        self._signal(signal.SIGKILL)
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._log):
            with suppress(BrokenPipeError):  # what was not written is not missed
                stream.close()

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        with suppress(BrokenPipeError):  # it ended; its log has the reason
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        # A wrapper may print what is no answer.
        line = next((line for line in self._process.stdout if line.startswith("{")), "")
        answer: dict[str, Any] = json.loads(line) if line else {"error": self._last_words()}
        if "error" in answer:
            raise ContenderError(answer["error"])
        return answer

    def _last_words(self) -> str:
        status = self._process.wait()
        self._log.seek(0)
        lines = [line.strip() for line in self._log if line.strip()]
        return f"ended with status {status}: {lines[-1][:200] if lines else 'it said nothing'}"

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)


def interpreter(environment: str | None) -> Path:
    """The Python of an environment."""
    if environment is None:
        return Path(sys.executable)
    path = ENVIRONMENTS / environment / "bin" / "python"
    if not path.exists():
        raise ContenderError(f"{environment} is not installed (make bench-env)")
    return path
