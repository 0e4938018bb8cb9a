"""Write a tar whose members come from other tars, byte for byte."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import numpy as np

from imagecurate.export.header import header, member_name, tar_length
from imagecurate.export.members import AT_ONCE
from imagecurate.export.reading import Reader, read, reader
from imagecurate.shards.tar import BLOCK

if TYPE_CHECKING:
    from imagecurate.export.members import Integers, Members
    from imagecurate.shards.sources import ByteSource

__all__ = ["BUFFER", "TarWriter"]

#: Members pass through a buffer of this size.  It stays in the processor's cache between read, digest and write, other
#: users of that cache considered (1 MB is as fast on a quiet machine, half as fast on a busy one), and writes that are
#: full and aligned, all but the last, are what a file system takes fastest.
BUFFER = 128 << 10

_ZEROS = bytes(BLOCK)


class Writable(Protocol):
    """What bytes can be written to."""

    def write(self, data: memoryview, /) -> object:
        """Take all of the data."""


class TarWriter:
    """A tar in the making.

    Parameters
    ----------
    file : Writable
        Where it goes.
    buffer : bytearray
        Scratch space of BUFFER bytes; whoever writes many tars in one thread passes the same one.
    """

    def __init__(self, file: Writable, buffer: bytearray) -> None:
        self._file = file
        self._view = memoryview(buffer)
        self._used = 0
        self._written = 0

    @property
    def position(self) -> int:
        """Bytes so far."""
        return self._written + self._used

    def copy(
        self, source: ByteSource, members: Members, edit: Callable[[int, bytes], bytes]
    ) -> tuple[Integers, Integers]:
        """Append members in their order.

        Parameters
        ----------
        source : ByteSource
            The tar that they come from.
        members : Members
            Which.
        edit : callable
            Takes the place of a member that is ``edited`` and its data; returns its new data.

        Returns
        -------
        positions, sizes : arrays of int64
            Where the data of each lies now, and how long it is.

        Raises
        ------
        ShardError
            The input ends within a member.
        """
        runs = list(members.runs())
        bytes_of = reader(source, [(run.begin, run.end) for run in runs])
        names = members.names.to_pylist() if members.fresh.any() else []
        positions, sizes = np.empty_like(members.offset), members.size.copy()
        for run in runs:
            if not run.fresh:
                positions[run.first : run.last] = members.offset[run.first : run.last] + (self.position - run.begin)
                self._append(bytes_of, run.begin, run.end)
                continue
            if run.end - run.begin > AT_ONCE and not members.edited[run.first]:  # one member, too large to be held
                origin = read(bytes_of, run.begin, run.begin + BLOCK)
                self._put(header(member_name(names[run.first]), run.end - run.begin - BLOCK, origin))
                positions[run.first] = self.position
                self._append(bytes_of, run.begin + BLOCK, run.end)
                self._pad()
                continue
            data = read(bytes_of, run.begin, run.end)
            for place in range(run.first, run.last):
                at = int(members.offset[place]) - run.begin
                body = data[at : at + int(members.size[place])]
                if members.edited[place]:
                    body = edit(place, body)
                self._put(header(member_name(names[place]), len(body), data[at - BLOCK : at]))
                positions[place], sizes[place] = self.position, len(body)
                self._put(body)
                self._pad()
        return positions, sizes

    def finish(self) -> None:
        """End the archive."""
        self._put(bytes(tar_length(self.position) - self.position))
        self._flush()

    def _append(self, bytes_of: Reader, begin: int, end: int) -> None:
        while begin < end:
            count = bytes_of.read_into(self._view[self._used : self._used + end - begin], begin)
            begin += count
            self._took(count)

    def _put(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            part = left[: BUFFER - self._used]
            self._view[self._used : self._used + len(part)] = part
            left = left[len(part) :]
            self._took(len(part))

    def _pad(self) -> None:
        self._put(_ZEROS[: -self._used % BLOCK])

    def _took(self, count: int) -> None:
        self._used += count
        if self._used == BUFFER:
            self._flush()

    def _flush(self) -> None:
        self._file.write(self._view[: self._used])
        self._written += self._used
        self._used = 0
