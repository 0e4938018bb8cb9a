"""Ranges of an object behind a URL."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from imagecurate.errors import ImageCurateError, ShardError
from imagecurate.remote import StorageOptions, filesystem, range_options, with_retries
from imagecurate.shards.byte_source import ByteSource
from imagecurate.shards.listing import file_of
from imagecurate.shards.ranges import join_ranges

__all__ = ["RangeSource"]

Result = TypeVar("Result")

#: Requests at a time where a file system has no way of its own to make several.
REQUESTS = 8


class RangeSource(ByteSource):
    """A remote object, of which only the ranges asked for are fetched."""

    window = 4 << 20

    def __init__(self, url: str, size: int, storage_options: StorageOptions = None) -> None:
        self.size = size
        self._url = url
        self._fs, self._path = filesystem(url, storage_options)
        self._options = range_options(self._fs)

    def read(self, offset: int, size: int) -> bytes:
        """Fetch a range."""
        end = min(offset + size, self.size)
        return self._fetched(offset, end) if offset < end else b""

    def read_many(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Fetch ranges, near ones joined, as many at a time as the file system likes."""
        spans = [(offset, max(offset, min(offset + size, self.size))) for offset, size in ranges]
        found = [b""] * len(spans)
        blocks = join_ranges(spans)
        for data, (start, _, numbers) in zip(self._fetch_all([block[:2] for block in blocks]), blocks, strict=True):
            for number in numbers:
                found[number] = data[spans[number][0] - start : spans[number][1] - start]
        return found

    def has_version(self, stamp: str) -> bool:
        """Tell whether the object still is the one of this version, as far as its store can tell; one request."""
        if not _tells_versions(self._fs):
            return True
        info = self._asking(lambda: self._fs.info(self._path, refresh=True))
        return not info.get("ETag") or file_of(info).stamp == stamp

    def close(self) -> None:
        """Nothing is held open: fsspec pools its connections."""

    def _fetch_all(self, spans: Sequence[tuple[int, int]]) -> list[bytes]:
        found: list[Any] = [None] * len(spans)
        if self._fs.async_impl and len(spans) > 1:
            starts, ends = [start for start, _ in spans], [self._asked(end) for _, end in spans]
            found = self._fs.cat_ranges([self._path] * len(spans), starts, ends, on_error="return", **self._options)
            found = [self._whole(data, *span) for data, span in zip(found, spans, strict=True)]
        # What did not come, one by one: with more patience, and with the reason if it is in vain.
        missing = [number for number, data in enumerate(found) if data is None]
        if len(missing) == 1:
            found[missing[0]] = self._fetched(*spans[missing[0]])
        elif missing:
            with ThreadPoolExecutor(REQUESTS) as threads:
                for number, data in zip(
                    missing, threads.map(lambda number: self._fetched(*spans[number]), missing), strict=True
                ):
                    found[number] = data
        return found

    def _fetched(self, start: int, end: int) -> bytes:
        def fetched() -> bytes:
            data = self._fs.cat_file(self._path, start=start, end=self._asked(end), **self._options)
            whole = self._whole(data, start, end)
            if whole is None and self._has_another_size():
                raise self._changed(f"no longer has {self.size} bytes")
            if whole is None:
                raise ConnectionError(f"{len(data)} bytes came of {end - start} at byte {start}")
            return whole

        return self._asking(fetched)

    def _asking(self, call: Callable[[], Result]) -> Result:
        try:
            return with_retries(self._url, call)
        except ImageCurateError:
            raise
        except FileNotFoundError:
            raise self._changed("is gone") from None
        except Exception as error:
            if self._has_another_size():
                raise self._changed(f"no longer has {self.size} bytes") from error
            raise ShardError.because(
                f"{self._url!r} cannot be read: {error or type(error).__name__}",
                "check that this user may read it" if isinstance(error, PermissionError) else None,
            ) from error

    def _has_another_size(self) -> bool:
        self._fs.invalidate_cache()
        try:
            size = self._fs.size(self._path)
        except Exception:  # whatever it is that keeps it from being read
            return False
        return size not in (None, self.size)

    def _changed(self, how: str) -> ShardError:
        return ShardError.because(
            f"{self._url!r} {how}: the object was changed after it was listed", "load the dataset again"
        )

    def _asked(self, end: int) -> int:
        """Where a request ends: one byte behind the last shows at no cost that the object has grown."""
        return end + (end == self.size)

    def _whole(self, data: Any, start: int, end: int) -> bytes | None:
        """The bytes of a range out of what came for it; None where it is something else."""
        if isinstance(data, BaseException):
            return None
        if len(data) == self.size > end - start:  # a web server that ignores ranges
            data = data[start:end]
        return bytes(data) if len(data) == end - start else None


def _tells_versions(fs: Any) -> bool:
    """Whether a file system says the same of a file's version when it is listed and when it is asked for."""
    return "s3" in ((fs.protocol,) if isinstance(fs.protocol, str) else fs.protocol)
