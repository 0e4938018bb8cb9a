"""Asking again where a file system elsewhere fails for a moment.

Client libraries repeat requests themselves, each in its own way: botocore what a server answers with 5xx (five tries),
s3fs what breaks underway (five), gcsfs both, that of Hugging Face and plain web servers nothing.  What still fails
then is tried again here, in one way for all of them.
"""

from __future__ import annotations

import errno
import logging
import random
import time
from collections.abc import Callable, Iterator, Mapping
from http.client import IncompleteRead
from typing import TypeVar

from imagecurate.errors import ImageCurateError, OutputError, ShardError

__all__ = ["FIRST_WAIT_S", "MOST_WAIT_S", "TRIES", "is_transient", "with_retries"]

_log = logging.getLogger(__name__)

Result = TypeVar("Result")

#: Calls in all.
TRIES = 6
#: The wait before the second call is a random time up to this; the bound doubles with each call, up to the most.  Full
#: jitter spreads callers best: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
FIRST_WAIT_S = 1.0
MOST_WAIT_S = 30.0

#: What says for sure that asking again is no use, or that another call would be wrong.
_DEFINITE = (FileNotFoundError, PermissionError, FileExistsError, IsADirectoryError, NotADirectoryError)
_TRANSIENT_STATUS = (408, 425, 429, 500, 502, 503, 504)
#: Errors of a connection by name: the libraries that they are of need not be installed.
_BROKEN = {
    "ChunkedEncodingError", "ClientConnectionError", "ClientPayloadError", "ConnectionError", "FlexibleChecksumError",
    "HTTPClientError", "ProtocolError", "ResponseParserError", "ServiceRequestError", "ServiceResponseError",
    "TransportError",
}  # fmt: skip
#: What S3 answers with 400 when a request was spoilt underway.
_SPOILT = {"BadDigest", "IncompleteBody", "RequestTimeout", "XAmzContentSHA256Mismatch"}
_BROKEN_ERRNO = {
    errno.EAGAIN, errno.EBUSY, errno.EIO, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETRESET, errno.ETIMEDOUT,
    getattr(errno, "EREMOTEIO", errno.EIO),
}  # fmt: skip
_NO_CREDENTIALS = {
    "ClientAuthenticationError", "CredentialRetrievalError", "DefaultCredentialsError", "NoAuthTokenError",
    "NoCredentialsError", "PartialCredentialsError", "ProfileNotFound", "SSOTokenLoadError", "TokenRetrievalError",
    "UnauthorizedSSOTokenError",
}  # fmt: skip


def with_retries(url: str, call: Callable[[], Result], *, writing: bool = False) -> Result:
    """Call something that talks to a file system elsewhere, and again while it fails for a moment.

    Up to ``TRIES`` calls; between them random waits that may be twice as long each time (31 s together at most).  Every
    process and thread waits for itself.

    Parameters
    ----------
    url : str
        The file or folder that it is about, for the message.
    call : callable
        Has the same effect when it is called twice.
    writing : bool, default=False
        Whether it writes.

    Raises
    ------
    ShardError, OutputError
        It failed to the end, or there are no credentials.
    Exception
        Whatever else the call raises, at once.
    """
    failure: Exception | None = None
    for number in range(TRIES):
        if number:
            wait_s = random.uniform(0, min(FIRST_WAIT_S * 2 ** (number - 1), MOST_WAIT_S))
            level = logging.INFO if number < 3 else logging.WARNING
            _log.log(level, "%s: %s; try %d of %d in %.1f s", url, _words(failure), number + 1, TRIES, wait_s)
            time.sleep(wait_s)
        try:
            return call()
        except Exception as error:
            if _lacks_credentials(error):
                reason = f"there are no credentials that work ({error})"
                raise _cannot(url, reason, _credentials_hint(url), writing=writing) from error
            if not is_transient(error):
                raise
            failure = error
    hint = "what is finished is not lost: run it again when the store answers"
    raise _cannot(url, f"{_words(failure)} ({TRIES} tries)", hint, writing=writing) from failure


def is_transient(error: BaseException) -> bool:
    """Tell whether what failed may work when it is tried again.

    >>> is_transient(ConnectionResetError()), is_transient(FileNotFoundError()), is_transient(OSError("no such option"))
    (True, False, False)
    """
    if isinstance(error, (*_DEFINITE, ImageCurateError)):
        return False
    links = list(_links(error))
    if any(
        isinstance(link, ConnectionError | TimeoutError | IncompleteRead) or _BROKEN & _kinds(link) for link in links
    ):
        return True
    status = next((found for found in map(_status, links) if found is not None), None)
    if status is not None:
        return status in _TRANSIENT_STATUS
    return any(isinstance(link, OSError) and link.errno in _BROKEN_ERRNO for link in links)


def _kinds(error: BaseException) -> set[str]:
    return {each.__name__ for each in type(error).__mro__}


def _links(error: BaseException) -> Iterator[BaseException]:
    """The error and what it was raised for: file systems translate those of their libraries."""
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)


def _words(error: BaseException | None) -> str:
    return str(error) or type(error).__name__


def _cannot(url: str, reason: str, hint: str, *, writing: bool) -> ImageCurateError:
    kind, done = (OutputError, "written") if writing else (ShardError, "read")
    return kind.because(f"{url!r} cannot be {done}: {reason}", hint)


def _lacks_credentials(error: BaseException) -> bool:
    return any(_NO_CREDENTIALS & _kinds(link) for link in _links(error))


def _status(error: BaseException) -> int | None:
    """The status of HTTP that an error knows of."""
    response = getattr(error, "response", None)
    if isinstance(response, Mapping):  # botocore
        if response.get("Error", {}).get("Code") in _SPOILT:
            return 408
        found = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        return found if isinstance(found, int) else None
    found = getattr(response, "status_code", None)
    for name in ("status", "status_code", "code"):
        found = found if isinstance(found, int) else getattr(error, name, None)
    return found if isinstance(found, int) and found >= 100 else None


def _credentials_hint(url: str) -> str:
    protocol = url.partition("://")[0]
    if protocol in ("s3", "s3a"):
        return (
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or AWS_PROFILE, or give storage_options={'profile': …}; "
            "{'anon': True} reads a public bucket"
        )
    return f"log in with the tools of {protocol}://, or give what its fsspec package needs as storage_options="
