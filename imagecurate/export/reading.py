"""Bytes of input shards for the writer's buffer: read in place from a file here, fetched ahead from elsewhere."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol, TypeAlias

from imagecurate.errors import ShardError, with_hint
from imagecurate.shards.sources import RangeSource

if TYPE_CHECKING:
    from imagecurate.shards.sources import ByteSource

__all__ = ["Ranges", "Reader", "read", "reader"]

#: Pieces of a shard as (first byte, byte after the last).
Ranges: TypeAlias = Sequence[tuple[int, int]]

#: Bytes of a remote shard that one thread asks for at a time, and so holds.
AHEAD = 16 << 20


class Reader(Protocol):
    """Gives bytes of one input shard."""

    def read_into(self, view: memoryview, position: int) -> int:
        """Fill the view, or at least one byte at its front, from this position; returns the number of bytes.

        Raises
        ------
        ShardError
            The shard ends there.
        """


def reader(source: ByteSource, ranges: Ranges) -> Reader:
    """Make the reader for a shard.

    Parameters
    ----------
    source : ByteSource
        The shard, open.
    ranges : sequence of (int, int)
        All that will be read, in the order in which it will be.
    """
    return FetchingReader(source, ranges) if isinstance(source, RangeSource) else FileReader(source)


class FileReader:
    """Reads a file here, a view at a time: small pieces are still in the processor's cache when they are used.

    Parameters
    ----------
    source : ByteSource
        The shard, open: a local tar, or what one is unpacked into.
    """

    def __init__(self, source: ByteSource) -> None:
        self._source = source

    def read_into(self, view: memoryview, position: int) -> int:
        """Read in place."""
        data = self._source.read(position, len(view))
        if not data:
            raise _ended(position)
        view[: len(data)] = data
        return len(data)


class FetchingReader:
    """Reads a remote shard, many ranges in one call, in bounded memory.

    Parameters
    ----------
    source : ByteSource
        The shard, open.
    ranges : sequence of (int, int)
        All that will be read, in the order in which it will be.
    """

    def __init__(self, source: ByteSource, ranges: Ranges) -> None:
        self._source = source
        self._batches = _batches(ranges, source.size)
        self._fetched: deque[tuple[int, memoryview]] = deque()

    def read_into(self, view: memoryview, position: int) -> int:
        """Hand out what was fetched."""
        if position >= self._source.size:
            raise _ended(position)
        if not self._fetched:
            batch = next(self._batches)
            data = self._source.read_many([(begin, end - begin) for begin, end in batch])
            self._fetched.extend((begin, memoryview(piece)) for (begin, _), piece in zip(batch, data, strict=True))
        begin, piece = self._fetched[0]
        part = piece[position - begin :][: len(view)]
        view[: len(part)] = part
        if position + len(part) == begin + len(piece):
            self._fetched.popleft()
        return len(part)


def read(source: Reader, begin: int, end: int) -> bytes:
    """Read a whole range."""
    data = bytearray(end - begin)
    view = memoryview(data)
    while begin < end:
        begin += source.read_into(view[begin - end :], begin)
    return bytes(data)


def _ended(position: int) -> ShardError:
    return ShardError(
        with_hint(
            f"a tar of the input ends at byte {position}, within a member that its index knows",
            "it was changed after it was indexed; load the dataset again",
        )
    )


def _batches(ranges: Ranges, size: int) -> Iterator[list[tuple[int, int]]]:
    batch: list[tuple[int, int]] = []
    room = AHEAD
    for begin, end in ranges:
        end = min(end, size)
        while begin < end:
            cut = min(end, begin + room)
            batch.append((begin, cut))
            room -= cut - begin
            begin = cut
            if not room:
                yield batch
                batch, room = [], AHEAD
    if batch:
        yield batch
