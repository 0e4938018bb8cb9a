"""The calling side of the decoder's own process."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from imagecurate.errors import StageError
from imagecurate.images import wire
from imagecurate.images.policy import Decoded, DecodePolicy, ImageInfo

__all__ = ["ONE_LARGE", "DecoderProcess"]

#: Held while a large picture is decoded, here or in a child.
ONE_LARGE = threading.Semaphore(1)

#: Seconds after which a child that has not started is given up.
_START_TIMEOUT_S = 60

# The packages' own __init__ import Dask, pandas and Arrow, a second and 100 MB a child that needs none of them; bare
# packages stand in for them.  The path is the caller's, so that an uninstalled checkout works.
_BOOT = f"""
import signal
signal.signal(signal.SIGALRM, signal.SIG_DFL)  # a caller that ignores or blocks it would hand that down
signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGALRM])
signal.alarm({_START_TIMEOUT_S})
import json, sys, types
path, packages, policy = json.loads(sys.argv[1])
sys.path[:] = path
for name, folder in packages:
    package = types.ModuleType(name)
    package.__path__ = [folder]
    sys.modules[name] = package
from imagecurate.images.child import main
signal.alarm(0)
main(*policy)
"""


class DecoderProcess:
    """A process that decodes what might crash or hang; it ends when this object is closed or its caller ends.

    Parameters
    ----------
    policy : DecodePolicy

    Raises
    ------
    StageError
        The process cannot be started: a fault of the installation, not of a picture.
    """

    def __init__(self, policy: DecodePolicy) -> None:
        self._policy = policy
        here = Path(__file__).resolve().parent
        packages = [("imagecurate", str(here.parent)), ("imagecurate.images", str(here))]
        limits = (policy.max_pixels, policy.timeout_s, policy.accept_truncated)
        boot = [sys.executable, "-P", "-W", "ignore", "-c", _BOOT]
        try:
            self._process = subprocess.Popen(
                [*boot, json.dumps([[str(folder) for folder in sys.path], packages, limits])],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
                start_new_session=True,  # Ctrl-C is for the caller
            )
        except OSError as error:  # too many processes or open files
            raise StageError.because(f"the process that decodes pictures did not start: {error}") from error
        assert self._process.stdin is not None and self._process.stdout is not None
        self._requests: IO[bytes] = self._process.stdin
        self._answers = cast(io.BufferedReader, self._process.stdout)
        self._owner = os.getpid()
        #: Pictures that it was asked to decode so far, and whether the last one took too long.
        self.served = 0
        self.timed_out = False
        if sys.platform == "linux":
            import fcntl

            with contextlib.suppress(OSError):  # the user's share of pipe memory is used up: slower, no worse
                fcntl.fcntl(self._answers, fcntl.F_SETPIPE_SZ, 1 << 20)
        if self._answers.read(1) != wire.READY:
            status = self.close()
            raise StageError.because(
                f"the process that decodes pictures did not start ({_ending(status)})",
                f'try: {sys.executable} -c "import PIL.Image, numpy"',
            )

    @property
    def is_usable(self) -> bool:
        """Whether the process runs and belongs to this one, not to one that was forked from."""
        return self._owner == os.getpid() and self._process.poll() is None

    def decode(self, data: bytes) -> Decoded:
        """Decode one file; afterwards the process may have ended, and the reason then says how."""
        self.served += 1
        outline: dict[str, Any] = {}
        try:
            self._requests.write(wire.REQUEST.pack(len(data)))
            self._requests.write(data)
            self._requests.flush()
            outline = wire.receive(self._answers)
            if not wire.is_large(outline):
                return self._answer()
            with ONE_LARGE:
                self._requests.write(wire.LEAVE)
                self._requests.flush()
                return self._answer()
        except (EOFError, BrokenPipeError):
            status = self.close()
            if status == -signal.SIGALRM:
                self.timed_out = True
                reason = f"decoding took longer than {self._policy.timeout_s:g} s"
            elif status == wire.OUT_OF_MEMORY:
                reason = wire.NO_MEMORY
            else:
                reason = f"decoder crashed ({_ending(status)})"
            return Decoded(None, ImageInfo(**outline | {"error": reason}))

    def _answer(self) -> Decoded:
        info = ImageInfo(**wire.receive(self._answers))
        if info.error is not None:
            return Decoded(None, info)
        assert info.height is not None and info.width is not None
        pixels = np.empty((info.height, info.width, 3), np.uint8)
        if self._answers.readinto(pixels.data.cast("B")) < pixels.nbytes:
            raise EOFError
        return Decoded(pixels, info)

    def close(self) -> int:
        """End the process and give its exit status; negative where a signal ended it."""
        with contextlib.suppress(BrokenPipeError):  # it has ended, and a request is left in the buffer
            self._requests.close()
        self._answers.close()
        try:
            return self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            return self.kill()

    def kill(self) -> int:
        """End the process whatever it does."""
        self._process.kill()
        return self.close()


def _ending(status: int) -> str:
    return f"signal {-status}" if status < 0 else f"exit status {status}"
