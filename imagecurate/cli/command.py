"""What all commands have in common: how they end, what they say when they fail, and the log for machines."""

from __future__ import annotations

import inspect
import json
import logging
import os
import sys
import traceback
import typing
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr
from datetime import UTC, datetime
from enum import IntEnum
from typing import Annotated, Any

import typer

from imagecurate.errors import ImageCurateError, Stopped

__all__ = ["EXIT_CODES", "Code", "command", "log_record", "logs_json", "running", "warn"]


class Code(IntEnum):
    """How a command ends."""

    DONE = 0
    FOUND = 1
    MISTAKE = 2
    FAILED = 3
    STOPPED = 75
    INTERRUPTED = 130


#: What each exit code means; the help of every command and docs/cli.md say it from here.
EXIT_CODES = {
    Code.DONE: "done; samples that failed are in the ledger",
    Code.FOUND: "something was found (check), or there is nothing to read (estimate)",
    Code.MISTAKE: "a mistake in the command or the pipeline, told before anything ran",
    Code.FAILED: "the run failed",
    Code.STOPPED: "stopped on request; run the same command again, and it goes on",
    Code.INTERRUPTED: "ended at once by Ctrl-C; what was finished is kept here, too",
}

_CODES = "Exit codes: " + "; ".join(f"{code:d} {meaning}" for code, meaning in EXIT_CODES.items()) + "."

_Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
_LogJson = Annotated[bool, typer.Option("--log-json", help="Write the log as one JSON object a line.")]


class _RunError(Exception):
    """Carries an error of a run that had begun."""


def command(group: typer.Typer, name: str | None = None, **options: Any) -> Callable[[Callable[..., None]], Any]:
    """Make a function a command: with ``--debug`` and ``--log-json``, and no traceback for anybody's mistake.

    The first line of its docstring has an example; the exit codes are added to its help.
    """

    def register(work: Callable[..., None]) -> Callable[..., None]:
        def run(**given: Any) -> None:
            debug, as_json = given.pop("debug"), given.pop("log_json")
            with _log_as_json() if as_json else ExitStack():
                _guard(lambda: work(**given), debug)

        hints = typing.get_type_hints(work, include_extras=True)
        shared = {"debug": _Debug, "log_json": _LogJson}
        parameters = list(inspect.signature(work).parameters.values())
        added = [inspect.Parameter(each, inspect.Parameter.KEYWORD_ONLY, default=False) for each in shared]
        hints = hints | shared
        signature = inspect.Signature([each.replace(annotation=hints[each.name]) for each in [*parameters, *added]])
        run.__signature__ = signature  # type: ignore[attr-defined]  # it is what typer looks at
        run.__annotations__ = hints
        run.__name__ = work.__name__
        group.command(name or work.__name__, help=f"{inspect.getdoc(work)}\n\n{_CODES}", **options)(run)
        return work

    return register


@contextmanager
def running() -> Iterator[None]:
    """Say that the work has begun: what fails inside is no mistake in the command, but a run that failed."""
    try:
        yield
    except Stopped:
        raise
    except ImageCurateError as error:
        raise _RunError from error


def warn(sentence: str) -> None:
    """Tell what is most likely a mistake and yet allowed."""
    if logs_json():
        log_record("warning", sentence)
    else:
        print(f"warning: {sentence}", file=sys.stderr)


def logs_json() -> bool:
    """Whether the log of this command is for machines."""
    return isinstance(sys.stderr, _JsonLines)


def log_record(level: str, message: str, **fields: Any) -> None:
    """Write one object to the log for machines."""
    stream = sys.stderr
    if isinstance(stream, _JsonLines):
        stream.record(level, message, **fields)


def _guard(work: Callable[[], None], debug: bool) -> None:
    try:
        work()
    except _RunError as failed:
        _tell(failed.__cause__, Code.FAILED, debug)
    except Stopped as stopped:
        _tell(stopped, Code.STOPPED, debug)
    except ImageCurateError as error:
        _tell(error, Code.MISTAKE, debug)
    except KeyboardInterrupt as interrupt:
        _tell(interrupt, Code.INTERRUPTED, debug, "stopped; the same command goes on where it was")
    except (typer.Exit, BrokenPipeError):
        raise
    except OSError as error:  # of a disk or a permission: a traceback would say less than the name of the file
        where = "" if error.filename is None else f"{os.fspath(error.filename)!r}: "
        code = Code.MISTAKE if isinstance(error, NotADirectoryError | IsADirectoryError) else Code.FAILED
        _tell(error, code, debug, f"{where}{error.strerror or error}\n\nHint: --debug shows where this happened")
    except Exception as error:  # nobody's mistake: of imagecurate, or of a stage of somebody else's
        _tell(error, Code.FAILED, True, f"{type(error).__name__}: {error}")


def _tell(error: BaseException | None, code: Code, debug: bool, message: str | None = None) -> None:
    """Say what went wrong, in a sentence, and end."""
    message = message or str(error)
    if logs_json():
        sentence, _, hint = message.partition("\n\nHint: ")
        more = {"traceback": "".join(traceback.format_exception(error))} if debug else {}
        log_record("error", sentence, hint=hint or None, error=type(error).__name__, exit_code=int(code), **more)
    else:
        if debug:
            traceback.print_exception(error)
        print(f"imagecurate: {message}", file=sys.stderr)
    raise typer.Exit(code) from None


@contextmanager
def _log_as_json() -> Iterator[None]:
    """Make an object of each line of standard error, of each record of the log and of each warning."""
    stream = _JsonLines(sys.stderr)
    handler = _Handler(stream)
    loggers = [logging.getLogger("imagecurate"), logging.getLogger("py.warnings")]
    before = [(logger, logger.level, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False
    logging.captureWarnings(True)
    try:
        with redirect_stderr(stream):
            yield
    finally:
        stream.flush()
        logging.captureWarnings(False)
        for logger, level, propagate in before:
            logger.removeHandler(handler)
            logger.setLevel(level)
            logger.propagate = propagate


class _JsonLines:
    """A text stream that writes each line as a JSON object to another one."""

    encoding = "utf-8"
    errors = "backslashreplace"

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._line = ""

    def write(self, text: str) -> int:
        """Take text in; whole lines become objects."""
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            if line.strip():
                self.record("info", line)
        return len(text)

    def record(self, level: str, message: str, **fields: Any) -> None:
        """Write one object."""
        time = datetime.now(UTC).isoformat(timespec="milliseconds")
        fields = {name: value for name, value in fields.items() if value is not None}
        text = json.dumps({"time": time, "level": level, "message": message, **fields}, default=str, ensure_ascii=False)
        self._stream.write(text + "\n")
        self._stream.flush()

    def flush(self) -> None:
        """Write what is there of a line that has not ended."""
        rest, self._line = self._line, ""
        if rest.strip():
            self.record("info", rest)

    def isatty(self) -> bool:
        """Never: a bar is not for machines."""
        return False

    def fileno(self) -> int:
        """The number of the other stream's file."""
        number: int = self._stream.fileno()
        return number


class _Handler(logging.Handler):
    def __init__(self, stream: _JsonLines) -> None:
        super().__init__()
        self._json = stream

    def emit(self, record: logging.LogRecord) -> None:
        self._json.record(record.levelname.lower(), record.getMessage(), logger=record.name)
