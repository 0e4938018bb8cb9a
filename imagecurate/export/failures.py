"""What disks and stores say when they cannot take an output, as one kind of error."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from imagecurate.errors import ImageCurateError, OutputError

__all__ = ["reaching", "writing"]


@contextmanager
def reaching(where: str) -> Iterator[None]:
    """Cover the first access to an output, and nothing that reads the input.

    Raises
    ------
    OutputError
        Whatever it was that went wrong: each store has errors of its own for missing credentials and the like.
    """
    try:
        yield
    except ImageCurateError:
        raise
    except Exception as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise OutputError.because(f"cannot write to {where!r}: {reason}") from error


@contextmanager
def writing(where: str) -> Iterator[None]:
    """Cover the writing of an output; other errors pass, since they may come from the input.

    Raises
    ------
    OutputError
        The disk is full, or can only be read.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OutputError.because(
                f"no room is left where {where!r} lies",
                "make some and call again: what is finished there is not written again",
            ) from error
        if error.errno == errno.EROFS:
            raise OutputError.because(f"cannot write to {where!r}: {error.strerror}") from error
        raise
