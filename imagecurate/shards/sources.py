"""The bytes of one shard: a local file, ranges of a remote object, or what came through a stream or unpacker."""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from abc import abstractmethod
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property

from imagecurate.errors import ShardError
from imagecurate.remote import StorageOptions, local_path
from imagecurate.shards.byte_source import ByteSource
from imagecurate.shards.compression import MAGIC_SIZE, Unpacker, can_unpack, compression_of
from imagecurate.shards.range_source import RangeSource
from imagecurate.shards.shard import Shard

__all__ = ["ByteSource", "LocalSource", "RangeSource", "open_shard"]

#: Bytes of one request while a remote shard is streamed: large against latency, small against memory.
STREAM_CHUNK = 32 << 20

_OPENING_HINTS = {
    FileNotFoundError: "load the dataset again if shards were moved",
    PermissionError: "check its permissions",
}


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


class SpooledSource(ByteSource):
    """A tar that comes from front to back and is kept, as far as reads have reached, in a spool file without a name.

    The spool is on the disk of ``TMPDIR``, and gone when the source is closed.
    """

    window = LocalSource.window

    def __init__(self) -> None:
        self._spool = tempfile.TemporaryFile(prefix="imagecurate-", buffering=0)  # noqa: SIM115  # closed by close()
        self._spooled = 0
        self._is_at_end = False
        self._lock = threading.Lock()

    def read(self, offset: int, size: int) -> bytes:
        """Read a range, waiting until it has come."""
        end = offset + size
        if end > self._spooled:
            self._spool_to(end)
        return _pread(self._spool.fileno(), offset, min(end, self._spooled) - offset)

    def close(self) -> None:
        """Give the disk space back."""
        self._spool.close()

    def _spool_to(self, end: int) -> None:
        with self._lock:
            while self._spooled < end and not self._is_at_end:
                chunk = self._next(self._spooled)
                _pwrite(self._spool.fileno(), self._spooled, chunk)
                self._spooled += len(chunk)
                self._is_at_end = not chunk

    @abstractmethod
    def _next(self, position: int) -> bytes:
        """Give what comes at this position, nothing at the end; called by one thread at a time."""


class StreamSource(SpooledSource):
    """A remote object, read once: the pass that finds the headers pays for the pixels as well.

    Memory is two chunks.
    """

    def __init__(self, remote: RangeSource) -> None:
        super().__init__()
        self.size = remote.size
        self._remote = remote
        self._ahead: Future[bytes] | None = None
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="imagecurate-stream")

    def close(self) -> None:
        """Stop the stream and give the disk space back."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        super().close()

    def _next(self, position: int) -> bytes:
        ahead, self._ahead = self._ahead, None
        chunk = ahead.result() if ahead else self._remote.read(position, STREAM_CHUNK)
        following = position + len(chunk)
        # The second chunk shows that someone is reading on; from there one is fetched ahead.
        if position > 0 and following < self.size:
            self._ahead = self._threads.submit(self._remote.read, following, STREAM_CHUNK)
        return chunk


class UnpackedSource(SpooledSource):
    """A compressed tar, unpacked once."""

    def __init__(self, packed: ByteSource, compression: str) -> None:
        super().__init__()
        self._packed = packed
        self._unpacker = Unpacker(packed, compression)

    @cached_property
    def size(self) -> int:  # type: ignore[override]  # known late, and written by nobody
        """Bytes of the tar itself, as far as it can be unpacked."""
        self._spool_to(sys.maxsize)
        return self._spooled

    def has(self, position: int) -> bool:
        """Unpack to a position and tell whether it was reached."""
        if position >= self._spooled:
            self._spool_to(position + 1)
        return position < self._spooled

    def close(self) -> None:
        """Close the packed file and give the disk space back."""
        self._packed.close()
        super().close()

    def _next(self, position: int) -> bytes:
        chunk = self._unpacker.read_from(position)
        self.damage = self._unpacker.damage
        if not chunk:
            self._packed.close()
        return chunk


def open_shard(shard: Shard, *, storage_options: StorageOptions = None, stream: bool = False) -> ByteSource:
    """Open a shard for reading.

    A shard that is compressed with gzip, bzip2 or zstd, whatever it is called, is unpacked from front to back, as far
    as reads reach: a remote one is streamed for that.

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
        It is gone, may not be read, or is not what it was when it was found; or a store does not answer.

    Notes
    -----
    On S3 another version of an object is noticed when it is opened, for one request; one that is put in its place
    while it is open, and elsewhere, by the read that reaches its end, if it has another size.  To tell whether it is
    compressed, a remote shard that is not streamed costs a request of a few bytes.
    """
    path = local_path(shard.url)
    source: ByteSource
    if path is not None:
        source = _open_local(shard, path)
    else:
        source = _open_remote(shard, storage_options)
        source = StreamSource(source) if stream else source
    try:
        compression = compression_of(source.read(0, MAGIC_SIZE))
    except BaseException:
        source.close()
        raise
    if not can_unpack(compression):
        return source
    return UnpackedSource(StreamSource(source) if isinstance(source, RangeSource) else source, compression)


def _open_remote(shard: Shard, storage_options: StorageOptions) -> RangeSource:
    source = RangeSource(shard.url, shard.size, storage_options)
    if shard.stamp and not source.has_version(shard.stamp):
        raise ShardError.because(
            f"shard {shard.name!r} of source {shard.source!r} is another version than the one that was found: "
            f"{shard.url!r} was changed after it was listed",
            "open the dataset again",
        )
    return source


def _open_local(shard: Shard, path: str) -> LocalSource:
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
