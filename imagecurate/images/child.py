"""The decoder's own process: files in by standard input, pixels out by standard output, as ``wire`` says.

Imports nothing but the standard library, Pillow and, for pictures of more than 8 bits, NumPy.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import IO, Any

from imagecurate.images import wire
from imagecurate.images.picture import PictureError, decode, set_up

__all__ = ["main"]


def main(max_pixels: int, timeout_s: float, accept_truncated: bool) -> None:
    """Answer requests until standard input ends."""
    requests = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    # What libraries print must reach neither the answers nor the user's terminal.
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nowhere, number)
    set_up(max_pixels)
    answers.write(wire.READY)
    answers.flush()
    try:
        while len(head := requests.read(wire.REQUEST.size)) == wire.REQUEST.size:
            (length,) = wire.REQUEST.unpack(head)
            _answer(requests.read(length), requests, answers, timeout_s, accept_truncated)
    except MemoryError:
        os._exit(wire.OUT_OF_MEMORY)
    except BrokenPipeError:  # nobody is left to answer
        os._exit(1)
    os._exit(0)  # nothing here needs what an interpreter does at its end


def _answer(data: bytes, requests: IO[bytes], answers: IO[bytes], timeout_s: float, accept_truncated: bool) -> None:
    outline: dict[str, Any] = {}

    def opened(info: dict[str, Any]) -> None:
        if not outline:  # a second attempt opens again
            outline.update(info)
            wire.send(answers, outline)
            if wire.is_large(outline):
                signal.setitimer(signal.ITIMER_REAL, 0)
                requests.read(1)
                signal.setitimer(signal.ITIMER_REAL, timeout_s)

    _limit_memory(len(data))
    # The kernel ends this process when time is up, whatever library it is stuck in and whether or not its parent lives.
    signal.setitimer(signal.ITIMER_REAL, timeout_s)
    strips = None
    try:
        info, strips = decode(data, accept_truncated, opened)
    except PictureError as refused:
        info = refused.info
    except MemoryError:
        info = outline | {"error": wire.NO_MEMORY}
    signal.setitimer(signal.ITIMER_REAL, 0)
    if not outline:
        wire.send(answers, {})
    wire.send(answers, info)
    for strip in strips or ():
        answers.write(strip)
    answers.flush()


def _limit_memory(length: int) -> None:
    """Let this process grow by ``MEMORY`` beside a file of ``length`` bytes, where the system can hold it to that."""
    if sys.platform != "linux":
        return
    import resource

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    limit = pages * resource.getpagesize() + length + wire.MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit if most == resource.RLIM_INFINITY else min(limit, most), most))
