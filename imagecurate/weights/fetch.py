"""Fetching one file over https so that it is there whole and verified, or not at all."""

from __future__ import annotations

import http.client
import os
import shutil
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from imagecurate._version import __version__
from imagecurate.errors import WeightsError

__all__ = ["fetch"]

#: Seconds without a byte after which a server counts as gone.
TIMEOUT_S = 30.0
_CHUNK_BYTES = 1 << 20


def fetch(
    url: str, target: Path, *, max_bytes: int, verify: Callable[[Path], object], member: str | None = None
) -> None:
    """Fetch a file; it appears under its name only when it is complete, verified and on the disk.

    Any number of processes may fetch the same file at once.

    Parameters
    ----------
    url : str
        An http or https address; redirects are followed.
    target : Path
        Where the file goes; the folder is made.
    max_bytes : int
        More than this is refused, before and while it is read.
    verify : callable
        Called with the path of the complete file; raises if it is not the right one.
    member : str, optional
        The address gives a zip archive, and this is the base name of the one file in it that is wanted.

    Raises
    ------
    WeightsError
        The server does not answer, refuses, sends too much or too little, or the folder cannot be written.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=target.parent) as folder:
            path = Path(folder, "download")
            _download(url, path, max_bytes)
            if member is not None:
                path = _unpack(url, path, member, max_bytes)
            verify(path)
            with path.open("rb+") as file:
                os.fsync(file.fileno())
            path.replace(target)
            _sync_folder(target.parent)
    except WeightsError:
        raise
    except OSError as error:
        raise WeightsError(f"cannot write weights to {str(target)!r}: {error}") from error


def _download(url: str, path: Path, max_bytes: int) -> None:
    if not url.startswith(("https://", "http://")):
        raise WeightsError(f"weights are fetched over https, not from {url!r}")
    request = urllib.request.Request(url, headers={"User-Agent": f"imagecurate/{__version__}"})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
            promised = answer.headers.get("Content-Length")
            if promised is not None and int(promised) > max_bytes:
                raise WeightsError(f"{url} has {promised} bytes, where at most {max_bytes} were expected")
            received = 0
            with path.open("wb") as file:
                while chunk := answer.read(_CHUNK_BYTES):
                    received += len(chunk)
                    if received > max_bytes:
                        raise WeightsError(f"{url} sends more than the {max_bytes} bytes that were expected")
                    file.write(chunk)
    except urllib.error.HTTPError as error:
        raise WeightsError(f"cannot fetch {url}: the server answers {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        raise WeightsError(f"cannot fetch {url}: {error.reason}") from error
    except (http.client.HTTPException, ConnectionError, TimeoutError, ValueError) as error:
        raise WeightsError(f"cannot fetch {url}: the transfer broke off: {error!r}") from error
    if promised is not None and received != int(promised):
        raise WeightsError(f"cannot fetch {url}: the transfer broke off after {received} of {promised} bytes")


def _unpack(url: str, archive: Path, member: str, max_bytes: int) -> Path:
    """Take one file out of a zip archive, by name and no further than it may be long."""
    path = archive.with_name("member")
    try:
        with zipfile.ZipFile(archive) as zipped:
            entries = [entry for entry in zipped.infolist() if PurePosixPath(entry.filename).name == member]
            if len(entries) != 1:
                raise WeightsError(f"the archive at {url} holds {len(entries)} files named {member!r}, not one")
            if entries[0].file_size > max_bytes:
                raise WeightsError(f"{member!r} in the archive at {url} is longer than {max_bytes} bytes")
            # zipfile reads no further than file_size and checks the CRC at the end.
            with zipped.open(entries[0]) as source, path.open("wb") as file:
                shutil.copyfileobj(source, file)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise WeightsError(f"what {url} gives is no zip archive that can be read: {error}") from error
    return path


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
