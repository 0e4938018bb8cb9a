"""Compacts a folder as a program: without end, or killed at every moment.

``compacting.py FOLDER until MARK`` compacts until the file MARK is there.  ``compacting.py FOLDER die COPIES`` makes a
copy of the folder for each moment at which compacting changes the file system, has a forked child compact it and be
killed then, and prints how many there were; the last copy is that of a child that came to its end.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from imagecurate.store import compact

#: So that a pack holds two files of all rows.
SMALL_PACK = 16_000


def die_at(moment: int) -> None:
    """Kill this process before it changes the file system, or insists on what it wrote, for this time."""
    left = moment

    def dying(change: Callable[..., Any]) -> Callable[..., Any]:
        def changed(*given: Any, **named: Any) -> Any:
            nonlocal left
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1
            return change(*given, **named)

        return changed

    os.replace, os.fsync = dying(os.replace), dying(os.fsync)
    Path.unlink = dying(Path.unlink)  # type: ignore[method-assign]


def die_at_every_moment(folder: Path, copies: Path) -> int:
    """Kill a child at every moment; give the number of copies."""
    shutil.copytree(folder, copies / "before")
    compact.compact(copies / "before")  # here, so that no child has to import what pyarrow imports when it works
    for moment in range(1_000):
        copy = copies / f"{moment}" / folder.relative_to(folder.parent.parent)
        shutil.copytree(folder, copy)
        child = os.fork()
        if not child:
            die_at(moment)
            compact.compact(copy)
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if status != -signal.SIGKILL:
            return moment + 1 if status == 0 else -1
    return -1


if __name__ == "__main__":
    where, how, other = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    compact.PACK_BYTES = SMALL_PACK
    if how == "die":
        print(die_at_every_moment(where, other))
    else:
        while not other.exists():
            compact.compact(where)
