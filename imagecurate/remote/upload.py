"""Writing a file behind a URL: it appears whole when it is committed, or not at all."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from fsspec.spec import AbstractBufferedFile

from imagecurate.errors import ImageCurateError, OutputError
from imagecurate.remote.filesystem import filesystem
from imagecurate.remote.options import StorageOptions
from imagecurate.remote.retry import is_transient, with_retries

__all__ = ["BLOCK_BYTES", "Upload", "abort_uploads"]

Result = TypeVar("Result")

#: Bytes sent at a time, and held by each file being written.  A file that is smaller is sent in one request.
BLOCK_BYTES = 16 << 20

#: Where a file that is put in one request appears whole; other file systems would show it while it grows.
_PUTS_WHOLE = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss"}


class Upload:
    """A file in the making, sent in blocks as it grows; each is tried again where sending fails for a moment.

    Parameters
    ----------
    url : str
        Where it will appear.
    storage_options : mapping, optional
        For fsspec.
    """

    def __init__(self, url: str, storage_options: StorageOptions = None) -> None:
        self._url = url
        self._fs, self._path = filesystem(url, storage_options)
        self._held = bytearray()
        self._raw: Any = None
        self._size = 0

    def write(self, data: Any) -> int:
        """Take bytes; sends what makes a block."""
        self._held += data
        self._size += len(data)
        while len(self._held) >= BLOCK_BYTES:
            block = bytes(memoryview(self._held)[:BLOCK_BYTES])
            del self._held[:BLOCK_BYTES]
            self._send(block)
        return len(data)

    def commit(self) -> None:
        """Send the rest, and let the file appear.

        Raises
        ------
        OutputError
            The store does not take it.
        """
        rest = bytes(self._held)
        self._held.clear()
        if self._raw is None and not _PUTS_WHOLE.isdisjoint(_protocols(self._fs)):
            self._insist(lambda: self._fs.pipe_file(self._path, rest))
            return
        if rest or self._raw is None:
            self._send(rest)
        self._flush(last=True)
        before = self._insist(self._version)
        self._insist(self._raw.close)
        self._insist(lambda: self._complete(before))
        self._raw = None

    def discard(self) -> None:
        """Take back what was sent; without effect on a file that was committed."""
        self._held.clear()
        raw, self._raw = self._raw, None
        if raw is not None:
            with suppress(FileNotFoundError):  # the store has dropped it itself
                with_retries(self._url, raw.discard, writing=True)

    def _send(self, block: bytes) -> None:
        if self._raw is None:
            self._raw = self._insist(self._begun)
        if not isinstance(self._raw, AbstractBufferedFile):  # cannot tell what of a block has arrived
            self._raw.write(block)
            return
        try:
            self._raw.write(block)
        except Exception as error:
            if not is_transient(error):
                raise _cannot(self._url, error) from error
            self._flush()  # the block is in the file's own buffer now

    def _begun(self) -> Any:
        raw = self._fs.open(self._path, "wb", block_size=BLOCK_BYTES, autocommit=False)
        if isinstance(raw, AbstractBufferedFile):
            raw.offset = 0  # as its first flush would do; there a failure closes the file
            raw._initiate_upload()
        return raw

    def _flush(self, *, last: bool = False) -> None:
        if not isinstance(self._raw, AbstractBufferedFile):
            return

        def flush() -> None:
            self._raw.buffer.seek(0, 2)  # a call that failed may have left it anywhere
            self._raw.forced = False  # a file lets itself be flushed for the last time only once
            self._raw.flush(force=last)

        self._insist(flush)

    def _complete(self, before: Any) -> None:
        try:
            self._raw.commit()
        except FileNotFoundError:  # there is no such upload any more: it was completed, and the answer was lost
            now = self._version()
            if now is None or now == before or now[0] != self._size:
                raise

    def _version(self) -> tuple[int, str, str] | None:
        """What tells the file that is there from another; None where there is none."""
        self._fs.invalidate_cache()
        with suppress(FileNotFoundError):
            info = self._fs.info(self._path)
            return int(info["size"]), str(info.get("ETag")), str(info.get("LastModified") or info.get("mtime"))
        return None

    def _insist(self, call: Callable[[], Result]) -> Result:
        try:
            return with_retries(self._url, call, writing=True)
        except ImageCurateError:
            raise
        except Exception as error:
            raise _cannot(self._url, error) from error


def abort_uploads(url: str, storage_options: StorageOptions = None) -> int:
    """Abort the uploads of files in a folder that a killed process has left: nobody sees them, but they are paid for.

    Only S3 has such; others forget them by themselves.

    Returns
    -------
    int
        How many there were.
    """
    fs, path = filesystem(url, storage_options)
    if _protocols(fs).isdisjoint({"s3", "s3a"}):
        return 0
    bucket, _, prefix = path.partition("/")
    count = 0
    more: dict[str, str] = {}
    while True:
        where = {"Bucket": bucket, "Prefix": f"{prefix}/".lstrip("/"), "Delimiter": "/"}
        listed = functools.partial(fs.call_s3, "list_multipart_uploads", **where, **more)
        page = with_retries(url, listed)
        for upload in page.get("Uploads", []):
            if "/" in upload["Key"][len(where["Prefix"]) :]:  # of a folder below; not every server knows delimiters
                continue
            with suppress(FileNotFoundError):  # somebody else did it
                with_retries(url, functools.partial(fs.abort_mpu, bucket, upload["Key"], upload["UploadId"]))
            count += 1
        if not page.get("IsTruncated"):
            return count
        more = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}


def _protocols(fs: Any) -> set[str]:
    return {fs.protocol} if isinstance(fs.protocol, str) else set(fs.protocol)


def _cannot(url: str, error: Exception) -> OutputError:
    return OutputError(f"{url!r} cannot be written: {error or type(error).__name__}")
