"""A real S3 server on loopback for tests, the requests that it gets, and what goes wrong with them."""

from __future__ import annotations

import logging
import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

BUCKET = "shards"

#: Takes a method, a path with its query and the range that is asked for; gives one of ``FAULTS`` or None.
Plan: TypeAlias = Callable[[str, str, str], str | None]
#: ``500`` and ``503`` are answers of S3; ``reset`` answers nothing; ``cut`` breaks off amid the body; ``short`` gives
#: half a body as if it were all; ``lost`` does what was asked and answers nothing; ``slow`` waits a moment.
FAULTS = ("500", "503", "reset", "cut", "short", "lost", "slow")


class Requests(logging.Handler):
    """Collects what a server logs of its requests."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())

    def of(self, method: str, path: str) -> list[str]:
        return [line for line in self.lines if f"{method} /{BUCKET}{path} " in line]


@dataclass
class Faults:
    """What goes wrong: nothing until ``plan`` is set; counts what did, and keeps every request.

    Attributes
    ----------
    plan : callable
        See ``Plan``.
    happened : Counter of (str, str)
        By kind and method.
    requests : list of str
        Method and path of each request, with the query.
    """

    plan: Plan | None = None
    happened: Counter[tuple[str, str]] = field(default_factory=Counter)
    requests: list[str] = field(default_factory=list)
    slow_s: float = 0.2

    def clear(self) -> None:
        """Forget everything."""
        self.plan, self.slow_s = None, 0.2
        self.happened.clear()
        self.requests.clear()


def seeded(
    seed: int, share: float, kinds: Sequence[str], *, most: int = 2, only: Callable[[str], bool] | None = None
) -> Plan:
    """Let a share of all requests fail, the same ones whatever thread comes first, each up to ``most`` times in a row.

    Parameters
    ----------
    seed : int
    share : float
        Of requests that fail when they are made the first time, 0 to 1.
    kinds : sequence of str
        Of ``FAULTS``; each has its turn.
    most : int
        Times in a row that one and the same request fails.
    only : callable, optional
        Tells of a path whether it may fail.
    """
    seen: Counter[str] = Counter()
    lock = threading.Lock()

    def plan(method: str, path: str, span: str) -> str | None:
        name = f"{method} {path.split('uploadId=')[0]} {span}"  # ids of uploads are random
        with lock:
            seen[name] += 1
            again = seen[name]
        chance = random.Random(f"{seed} {name}")
        if again > most or chance.random() >= share or (only is not None and not only(path)):
            return None
        return chance.choice(kinds) if again == 1 else kinds[(again + seed) % len(kinds)]

    return plan


class _Faulty:
    """An application of WSGI around another, that lets what is planned go wrong."""

    def __init__(self, application: Any, faults: Faults) -> None:
        self._application = application
        self._faults = faults

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        faults = self._faults
        method = environ["REQUEST_METHOD"]
        query = environ.get("QUERY_STRING")
        path = environ["PATH_INFO"] + (f"?{query}" if query else "")
        faults.requests.append(f"{method} {path}")
        kind = faults.plan(method, path, environ.get("HTTP_RANGE", "")) if faults.plan else None
        if kind in ("cut", "short") and method != "GET":
            kind = "500"
        if kind is not None:
            faults.happened[kind, method] += 1
        if kind in ("500", "503", "reset"):
            _drain(environ)
        if kind in ("500", "503"):
            return _refused(kind, method, start_response)
        if kind == "reset":
            return _broken(environ)
        if kind == "slow":
            time.sleep(faults.slow_s)
        if kind in ("cut", "short", "lost"):
            return self._spoilt(kind, environ, start_response)
        answer: Iterable[bytes] = self._application(environ, start_response)
        return answer

    def _spoilt(self, kind: str, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        answered: list[Any] = []

        def hold(status: str, headers: list[tuple[str, str]], error: Any = None) -> None:
            answered[:] = [status, headers]

        body = b"".join(self._application(environ, hold))
        if kind == "lost":
            return _broken(environ)
        status, headers = answered
        half = body[: len(body) // 2]
        if kind == "short":
            headers = [(name, str(len(half)) if name.lower() == "content-length" else text) for name, text in headers]
        start_response(status, headers)
        return [half] if kind == "short" else _broken(environ, half)


def _drain(environ: dict[str, Any]) -> None:
    length = int(environ.get("CONTENT_LENGTH") or 0)
    while length > 0 and (data := environ["wsgi.input"].read(min(length, 1 << 20))):
        length -= len(data)


def _refused(kind: str, method: str, start_response: Any) -> list[bytes]:
    code, status = ("SlowDown", "503 Slow Down") if kind == "503" else ("InternalError", "500 Internal Server Error")
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{code} was planned</Message></Error>".encode()
    start_response(status, [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
    return [] if method == "HEAD" else [body]


def _broken(environ: dict[str, Any], first: bytes = b"") -> Iterator[bytes]:
    if first:
        yield first
    connection: socket.socket = environ["werkzeug.socket"]
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.shutdown(socket.SHUT_RDWR)  # at once; the handler holds the connection open for a while
    raise ConnectionResetError


@contextmanager
def faulty_server() -> Iterator[tuple[Any, dict[str, Any], Requests, Faults]]:
    """A client for a server with one bucket, storage options for it, its requests, and what goes wrong with them."""
    import boto3  # here, because importing moto and boto takes seconds that most tests need not pay
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    requests, faults = Requests(), Faults()
    log = logging.getLogger("werkzeug")
    log.addHandler(requests)
    level = log.level
    log.setLevel(logging.INFO)
    application = _Faulty(DomainDispatcherApplication(create_backend_app), faults)
    running = make_server("127.0.0.1", 0, application, threaded=True)
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    endpoint = f"http://127.0.0.1:{running.server_port}"
    credentials = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
    client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", **credentials)
    client.create_bucket(Bucket=BUCKET)
    options = {"key": "test", "secret": "test", "client_kwargs": {"endpoint_url": endpoint, "region_name": "us-east-1"}}
    try:
        yield client, options, requests, faults
    finally:
        client.close()
        running.shutdown()
        thread.join()
        running.server_close()
        log.removeHandler(requests)
        log.setLevel(level)


@contextmanager
def server() -> Iterator[tuple[Any, dict[str, Any], Requests]]:
    """A client for a server with one bucket, storage options for it, and its requests."""
    with faulty_server() as (client, options, requests, _):
        yield client, options, requests


def upload(client: Any, folder: Path, prefix: str) -> None:
    """Put the files of a folder into the bucket."""
    for path in sorted(folder.iterdir()):
        client.put_object(Bucket=BUCKET, Key=f"{prefix}/{path.name}", Body=path.read_bytes())
