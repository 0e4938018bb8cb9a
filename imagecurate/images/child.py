"""The decoder's own process: files in by standard input, pixels out by standard output, as ``wire`` says.

Imports nothing but the standard library, Pillow and, for pictures of more than 8 bits, NumPy.
"""

from __future__ import annotations

import os
import resource
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
            _answer(requests.read(length), requests, answers, max_pixels, timeout_s, accept_truncated)
    except MemoryError:
        os._exit(wire.OUT_OF_MEMORY)
    except BrokenPipeError:  # nobody is left to answer
        os._exit(1)
    os._exit(0)  # nothing here needs what an interpreter does at its end


def _answer(
    data: bytes,
    requests: IO[bytes],
    answers: IO[bytes],
    max_pixels: int,
    timeout_s: float,
    accept_truncated: bool,
) -> None:
    outline: dict[str, Any] = {}
    memory = _address_space() + len(data) + wire.MEMORY

    def opened(info: dict[str, Any]) -> None:
        if outline:  # this is a second attempt
            return
        outline.update(info)
        wire.send(answers, outline)
        if wire.is_large(outline):
            signal.setitimer(signal.ITIMER_REAL, 0)
            requests.read(1)
            signal.setitimer(signal.ITIMER_REAL, timeout_s)
        _limit_memory(memory + wire.MEMORY_A_PIXEL * outline["width"] * outline["height"])

    _limit_memory(memory + wire.MEMORY_A_PIXEL_UNREAD * max_pixels)
    # The kernel ends this process when time is up, whatever library it is stuck in and whether or not its parent lives.
    signal.setitimer(signal.ITIMER_REAL, timeout_s)
    strips = None
    try:
        info, strips = decode(data, accept_truncated, opened)
    except PictureError as error:
        info = error.info
    except MemoryError:
        info = outline | {"error": wire.NO_MEMORY}
    signal.setitimer(signal.ITIMER_REAL, 0)
    if not outline:
        wire.send(answers, {})
    wire.send(answers, info)
    for strip in strips or ():
        answers.write(strip)
    answers.flush()


def _address_space() -> int:
    """Bytes of address space in use; 0 where the system does not tell, and then holds nobody to a limit either."""
    if sys.platform != "linux":
        return 0
    return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")


def _limit_memory(limit: int) -> None:
    if sys.platform == "linux":
        _, most = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (limit if most == resource.RLIM_INFINITY else min(limit, most), most))
