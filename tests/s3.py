"""A real S3 server on loopback for tests, and the requests that it gets."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

BUCKET = "shards"


class Requests(logging.Handler):
    """Collects what a server logs of its requests."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())

    def of(self, method: str, path: str) -> list[str]:
        return [line for line in self.lines if f"{method} /{BUCKET}{path} " in line]


@contextmanager
def server() -> Iterator[tuple[Any, dict[str, Any], Requests]]:
    """A client for a server with one bucket, storage options for it, and its requests."""
    import boto3  # here, because importing moto and boto takes seconds that most tests need not pay
    from moto.server import ThreadedMotoServer

    requests = Requests()
    log = logging.getLogger("werkzeug")
    log.addHandler(requests)
    level = log.level
    log.setLevel(logging.INFO)
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    credentials = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
    client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", **credentials)
    client.create_bucket(Bucket=BUCKET)
    options = {"key": "test", "secret": "test", "client_kwargs": {"endpoint_url": endpoint, "region_name": "us-east-1"}}
    yield client, options, requests
    client.close()
    moto.stop()
    log.removeHandler(requests)
    log.setLevel(level)


def upload(client: Any, folder: Path, prefix: str) -> None:
    """Put the files of a folder into the bucket."""
    for path in sorted(folder.iterdir()):
        client.put_object(Bucket=BUCKET, Key=f"{prefix}/{path.name}", Body=path.read_bytes())
