"""Write a tar whose members come from other tars, byte for byte."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import numpy as np

from imagecurate.export.header import header, member_name, padded, tar_length
from imagecurate.export.reading import Reader, read, reader
from imagecurate.shards.tar import BLOCK

if TYPE_CHECKING:
    from imagecurate.export.members import Integers, Members
    from imagecurate.shards.sources import ByteSource

__all__ = ["BUFFER", "TarWriter"]

#: Members pass through a buffer of this size.  It stays in the processor's cache between read, digest and write, and
#: writes that are full and aligned, all but the last, are what a file system takes fastest.
BUFFER = 256 << 10


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
        sizes = members.size.copy()
        firsts, lasts = members.runs()
        fresh = members.fresh[firsts]
        # A member with a new header is read from the last block of its old one, which tells mode, owner and time.
        begins = np.where(fresh, members.offset[firsts] - BLOCK, members.start[firsts])
        ends = members.offset[lasts - 1] + sizes[lasts - 1]
        ranges = list(zip(begins.tolist(), ends.tolist(), strict=True))
        bytes_of = reader(source, ranges)
        moved_to = np.empty_like(begins)
        for run, (begin, end) in enumerate(ranges):
            if fresh[run]:
                place = int(firsts[run])
                origin = read(bytes_of, begin, begin + BLOCK)
                data = edit(place, read(bytes_of, begin + BLOCK, end)) if members.edited[place] else None
                size = end - begin - BLOCK if data is None else len(data)
                head = header(member_name(members.names[place].as_py()), size, origin)
                moved_to[run] = self.position + len(head) - BLOCK
                sizes[place] = size
                self._put(head)
                if data is None:
                    self._append(bytes_of, begin + BLOCK, end)
                else:
                    self._put(data)
            else:
                moved_to[run] = self.position
                self._append(bytes_of, begin, end)
            self._put(bytes(padded(self.position) - self.position))
        return members.offset + np.repeat(moved_to - begins, lasts - firsts), sizes

    def finish(self) -> None:
        """End the archive."""
        self._put(bytes(tar_length(self.position) - self.position))
        self._flush()

    def _append(self, bytes_of: Reader, begin: int, end: int) -> None:
        while begin < end:
            room = self._view[self._used :][: end - begin]
            count = bytes_of.read_into(room, begin)
            begin += count
            self._took(count)

    def _put(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            part = left[: BUFFER - self._used]
            self._view[self._used : self._used + len(part)] = part
            left = left[len(part) :]
            self._took(len(part))

    def _took(self, count: int) -> None:
        self._used += count
        if self._used == BUFFER:
            self._flush()

    def _flush(self) -> None:
        self._file.write(self._view[: self._used])
        self._written += self._used
        self._used = 0
