"""Stopping a run on request: what is in hand is finished, and the same call goes on where it was.

A signal or a time limit sets one flag for the process.  Passes over shards look at it before each block, and whatever
hands out tasks looks at it before each task; workers of a cluster are told through callbacks.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from types import FrameType

from imagecurate.errors import Stopped

__all__ = ["check_stop", "is_stopping", "request_stop", "stopping", "when_stopping"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)

#: Ends the line of a bar, and brings back the cursor that it hides.
_LEAVE_BAR = "\x1b[?25h\n"


class _Request:
    """Whether, and why, this process was asked to stop."""

    def __init__(self) -> None:
        self.event = threading.Event()
        self.reason = ""
        self.callbacks: dict[object, Callable[[], None]] = {}


_request = _Request()


def is_stopping() -> bool:
    """True once this process was asked to stop."""
    return _request.event.is_set()


def request_stop(reason: str) -> None:
    """Ask this process to stop, as from a signal handler; ``reason`` ends the sentence "stopped by …"."""
    if is_stopping():
        return
    _request.reason = reason
    _request.event.set()
    for callback in list(_request.callbacks.values()):
        # Not here: the handler of a signal may have interrupted just what the callback needs.
        threading.Thread(target=callback, name="imagecurate-stop", daemon=True).start()


def check_stop() -> None:
    """Raise if this process was asked to stop.

    Raises
    ------
    Stopped
        It was.
    """
    if is_stopping():
        raise Stopped.because(
            f"stopped by {_request.reason}; what is finished lies in the store", "run the same again, and it goes on"
        )


@contextmanager
def when_stopping(callback: Callable[[], None]) -> Iterator[None]:
    """Inside, ``callback`` is called in a thread of its own as soon as this process is asked to stop."""
    request, key = _request, object()
    request.callbacks[key] = callback
    try:
        check_stop()  # it may have been asked for before there was a callback
        yield
    finally:
        del request.callbacks[key]


@contextmanager
def stopping(after_s: float | None = None, signals: bool = True) -> Iterator[None]:
    """Inside, the work stops when asked to: parts in hand are finished and kept, then ``Stopped`` is raised.

    Parameters
    ----------
    after_s : float, optional
        Stop after so many seconds.
    signals : bool, default=True
        Stop on SIGTERM, SIGUSR1 and Ctrl-C; a second Ctrl-C ends the process at once.  Needs the main thread.

    Raises
    ------
    Stopped
        The work was stopped; the message says how to go on.
    """
    global _request
    outer, _request = _request, _Request()
    timer = None if after_s is None else threading.Timer(after_s, request_stop, [f"the time limit of {after_s:g} s"])
    before = {each: signal.signal(each, _on_signal) for each in _SIGNALS} if signals else {}
    if timer is not None:
        timer.daemon = True
        timer.start()
    try:
        yield
    except (CancelledError, KeyboardInterrupt):  # of a block that did not begin, through whatever ran it
        check_stop()
        raise
    finally:
        if timer is not None:
            timer.cancel()
        for each, handler in before.items():
            signal.signal(each, handler)
        _request = outer


def _on_signal(number: int, frame: FrameType | None) -> None:
    if number == signal.SIGINT and is_stopping():
        if sys.stderr.isatty():
            with contextlib.suppress(OSError):
                os.write(sys.stderr.fileno(), _LEAVE_BAR.encode())
        # An exception would wait for every thread at work; files of the store are whole or absent whenever this is.
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    request_stop(signal.Signals(number).name if number != signal.SIGINT else "Ctrl-C")
