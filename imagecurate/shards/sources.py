"""The bytes of one shard: a local file, ranges of a remote object, or a remote object read once from front to back."""

from __future__ import annotations

import os
import tempfile
import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import ClassVar, Self

from imagecurate.errors import ShardError
from imagecurate.shards.remote import StorageOptions, filesystem, local_path
from imagecurate.shards.shard import Shard

__all__ = ["ByteSource", "open_shard"]

#: Bytes of one request while a remote shard is streamed: large against latency, small against memory.
STREAM_CHUNK = 32 << 20
#: Ranges closer than this are fetched as one: at 100 MB/s as long as the latency of a request, some 10 ms.
MAX_GAP = 1 << 20
#: A fetch of joined ranges ends here.
MAX_JOINED = 32 << 20

_OPENING_HINTS = {
    FileNotFoundError: "load the dataset again if shards were moved",
    PermissionError: "check its permissions",
}


class ByteSource(ABC):
    """Random access to the bytes of a shard, from any number of threads; a context manager.

    Attributes
    ----------
    size : int
        Bytes.
    window : int
        How much to read at a time when looking for headers: what one request costs anyway.
    """

    size: int
    window: ClassVar[int]

    @abstractmethod
    def read(self, offset: int, size: int) -> bytes:
        """Read ``size`` bytes from ``offset``; fewer only where the shard ends.

        Raises
        ------
        OSError
            The bytes cannot be had; nothing is said about whether they are good.
        """

    def read_many(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Read several ranges of (offset, size), in the order given; near ones in one request where that is faster."""
        return [self.read(offset, size) for offset, size in ranges]

    @abstractmethod
    def close(self) -> None:
        """Let go of files and connections."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class LocalSource(ByteSource):
    """A local file, read with ``pread``."""

    window = 16 << 10

    def __init__(self, path: str) -> None:
        self._file = open(path, "rb", buffering=0)  # noqa: PTH123, SIM115  # closed by close()
        status = os.fstat(self._file.fileno())
        self.size = status.st_size
        self.stamp = str(status.st_mtime_ns)

    def read(self, offset: int, size: int) -> bytes:
        """Read a range."""
        return _pread(self._file.fileno(), offset, min(size, self.size - offset))

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class RangeSource(ByteSource):
    """A remote object, of which only the ranges asked for are fetched."""

    window = 4 << 20

    def __init__(self, url: str, size: int, storage_options: StorageOptions = None) -> None:
        self.size = size
        self._fs, self._path = filesystem(url, storage_options)

    def read(self, offset: int, size: int) -> bytes:
        """Fetch a range."""
        end = min(offset + size, self.size)
        if end <= offset:
            return b""
        return self._whole(self._fs.cat_file(self._path, start=offset, end=self._asked(end)), offset, end)

    def read_many(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Fetch ranges, near ones joined, as many at a time as the file system likes."""
        spans = [(offset, max(offset, min(offset + size, self.size))) for offset, size in ranges]
        found = [b""] * len(spans)
        blocks = join_ranges(spans)
        starts, ends = [block[0] for block in blocks], [self._asked(block[1]) for block in blocks]
        fetched = self._fs.cat_ranges([self._path] * len(blocks), starts, ends, on_error="raise") if blocks else []
        for data, (start, end, numbers) in zip(fetched, blocks, strict=True):
            data = self._whole(data, start, end)
            for number in numbers:
                found[number] = data[spans[number][0] - start : spans[number][1] - start]
        return found

    def close(self) -> None:
        """Nothing is held open: fsspec pools its connections."""

    def _asked(self, end: int) -> int:
        """Where a request ends: one byte behind the last shows at no cost that the object has grown."""
        return end + (end == self.size)

    def _whole(self, data: bytes, start: int, end: int) -> bytes:
        if len(data) == self.size > end - start:  # a web server that ignores ranges
            data = data[start:end]
        if len(data) != end - start:
            raise ShardError.because(
                f"expected {end - start} bytes at byte {start} of {self._path!r}, which was listed with {self.size}, "
                f"and got {len(data)}",
                "the object was changed after it was listed; load the dataset again",
            )
        return bytes(data)


class StreamSource(RangeSource):
    """A remote object that is read once from front to back, as far as reads reach, into a spool file without a name.

    So the pass that finds the headers pays for the pixels as well.  Memory is two chunks; the spool takes up to the
    shard's size on the disk of ``TMPDIR`` until the source is closed.
    """

    window = LocalSource.window

    def __init__(self, url: str, size: int, storage_options: StorageOptions = None) -> None:
        super().__init__(url, size, storage_options)
        self._spool = tempfile.TemporaryFile(prefix="imagecurate-", buffering=0)  # noqa: SIM115  # closed by close()
        self._spooled = 0
        self._lock = threading.Lock()
        self._ahead: Future[bytes] | None = None
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="imagecurate-stream")

    def read(self, offset: int, size: int) -> bytes:
        """Read a range, waiting until the stream has reached its end."""
        end = min(offset + size, self.size)
        if end > self._spooled:
            self._stream_to(end)
        return _pread(self._spool.fileno(), offset, end - offset)

    def read_many(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Read ranges from the spool."""
        return ByteSource.read_many(self, ranges)

    def close(self) -> None:
        """Stop the stream and give the disk space back."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._spool.close()

    def _stream_to(self, end: int) -> None:
        with self._lock:
            while self._spooled < end:
                ahead, self._ahead = self._ahead, None
                chunk = ahead.result() if ahead else self._fetch(self._spooled)
                following = self._spooled + len(chunk)
                # The second chunk shows that someone is reading on; from there one is fetched ahead.
                if self._spooled > 0 and following < self.size:
                    self._ahead = self._threads.submit(self._fetch, following)
                _pwrite(self._spool.fileno(), self._spooled, chunk)
                self._spooled = following

    def _fetch(self, offset: int) -> bytes:
        return RangeSource.read(self, offset, STREAM_CHUNK)


def open_shard(shard: Shard, *, storage_options: StorageOptions = None, stream: bool = False) -> ByteSource:
    """Open a shard for reading.

    Parameters
    ----------
    shard : Shard
        Where it lies.
    storage_options : mapping, optional
        For fsspec.
    stream : bool, default=False
        Read a remote shard once from front to back, keeping what came in a spool file; local ones are read in place.

    Raises
    ------
    ShardError
        A local file is gone, may not be read, or has another size or modification time than when it was found.

    Notes
    -----
    A remote object of another size is noticed by the read that reaches its end; one of the same size is not.
    """
    path = local_path(shard.url)
    if path is None:
        kind = StreamSource if stream else RangeSource
        return kind(shard.url, shard.size, storage_options)
    try:
        source = LocalSource(path)
    except OSError as error:
        raise ShardError.because(
            f"shard {shard.name!r} was found at {path!r} and cannot be opened: {error.strerror}",
            next((hint for kind, hint in _OPENING_HINTS.items() if isinstance(error, kind)), None),
        ) from error
    # Results are stored under what the file was when it was found: those of other bytes would be wrong ever after.
    change = ""
    if source.size != shard.size:
        change = f"was indexed with {shard.size} bytes and now has {source.size}"
    elif shard.stamp not in ("", source.stamp):
        change = "has another modification time"
    if change:
        source.close()
        raise ShardError.because(
            f"shard {shard.name!r} of source {shard.source!r} {change}: {path!r} changed after it was found",
            "open the dataset again",
        )
    return source


def join_ranges(spans: Sequence[tuple[int, int]]) -> list[tuple[int, int, list[int]]]:
    """Plan the requests for some ranges: those less than ``MAX_GAP`` apart become one, up to ``MAX_JOINED`` bytes.

    Parameters
    ----------
    spans : sequence of (start, end)
        In any order; they may overlap.  Empty ones are left out.

    Returns
    -------
    list of (start, end, numbers)
        What to fetch, and which of the spans lie in it.

    Examples
    --------
    >>> join_ranges([(90, 100), (0, 10), (10**9, 10**9 + 5)])
    [(0, 100, [1, 0]), (1000000000, 1000000005, [2])]
    """
    blocks: list[tuple[int, int, list[int]]] = []
    for number in sorted(range(len(spans)), key=spans.__getitem__):
        start, end = spans[number]
        if start == end:
            continue
        if blocks:
            first, last, numbers = blocks[-1]
            if start - last <= MAX_GAP and max(end, last) - first <= MAX_JOINED:
                numbers.append(number)
                blocks[-1] = (first, max(end, last), numbers)
                continue
        blocks.append((start, end, [number]))
    return blocks


def _pread(descriptor: int, offset: int, size: int) -> bytes:
    """Read a range of a file; ``pread`` itself may stop early, at 2 GB for one."""
    data = os.pread(descriptor, size, offset) if size > 0 else b""
    if len(data) == size or not data:
        return data
    parts = [data]
    size -= len(data)
    while size > 0 and (data := os.pread(descriptor, size, offset := offset + len(parts[-1]))):
        parts.append(data)
        size -= len(data)
    return b"".join(parts)


def _pwrite(descriptor: int, offset: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, offset)
        offset, view = offset + written, view[written:]
