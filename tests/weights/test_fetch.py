"""Fetching: whole and verified, or not at all.  A server on loopback stands for the network."""

from __future__ import annotations

import io
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from imagecurate.errors import WeightsError
from imagecurate.weights import fetch as module
from imagecurate.weights.fetch import fetch

BODY = bytes(range(256)) * 40


def zipped(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name.replace("__", "/"), data)
    return buffer.getvalue()


class Handler(BaseHTTPRequestHandler):
    """Answers by the path that is asked for."""

    protocol_version = "HTTP/1.1"
    stop = threading.Event()

    def log_message(self, *args: object) -> None:
        """Say nothing."""

    def answer(self, body: bytes, length: int | None, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True

    def do_GET(self) -> None:
        bodies = {
            "zip": zipped(readme=b"hello", folder__weights=BODY),
            "twice": zipped(a__weights=BODY, b__weights=BODY),
            "without": zipped(readme=b"hello"),
            "bomb": zipped(weights=bytes(1 << 20)),
        }
        name = self.path.strip("/")
        if name == "good":
            self.answer(BODY, len(BODY))
        elif name == "unsaid":
            self.answer(BODY, None)
        elif name == "half":
            self.answer(BODY[:5000], len(BODY))
        elif name == "moved":
            self.answer(b"", 0, status=302, Location="/good")
        elif name == "silent":
            self.stop.wait(10)
            self.close_connection = True
        elif name in bodies:
            self.answer(bodies[name], len(bodies[name]))
        else:
            self.answer(b"nothing", 7, status=404)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Address of the server."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    Handler.stop.set()
    server.shutdown()
    thread.join()
    server.server_close()


def anything(path: Path) -> None:
    assert path.is_file()


def refuse(path: Path) -> None:
    raise WeightsError("not these")


@pytest.mark.parametrize("name", ["good", "unsaid", "moved"])
def test_a_file_arrives(address: str, tmp_path: Path, name: str) -> None:
    """Byte for byte, in a folder that is made, with nothing beside it."""
    target = tmp_path / "new" / "weights"
    fetch(f"{address}/{name}", target, max_bytes=1 << 20, verify=anything)
    assert target.read_bytes() == BODY
    assert list(target.parent.iterdir()) == [target]


def test_a_file_in_an_archive_arrives(address: str, tmp_path: Path) -> None:
    """The one member of that base name, whatever its folder; the archive is not kept."""
    fetch(f"{address}/zip", tmp_path / "weights", max_bytes=1 << 20, verify=anything, member="weights")
    assert (tmp_path / "weights").read_bytes() == BODY
    assert [path.name for path in tmp_path.iterdir()] == ["weights"]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("missing", {}, "the server answers 404 Not Found"),
        ("half", {}, "the transfer broke off after 5000 of 10240 bytes"),
        ("good", {"max_bytes": 10239}, "has 10240 bytes, where at most 10239 were expected"),
        ("unsaid", {"max_bytes": 10239}, "sends more than the 10239 bytes"),
        ("good", {"verify": refuse}, "not these"),
        ("good", {"member": "weights"}, "is no zip archive that can be read"),
        ("without", {"member": "weights"}, "holds 0 files named 'weights', not one"),
        ("twice", {"member": "weights"}, "holds 2 files named 'weights', not one"),
        ("bomb", {"member": "weights", "max_bytes": 100_000}, "is longer than 100000 bytes"),
    ],
)
def test_what_is_not_right_leaves_nothing(
    address: str, tmp_path: Path, name: str, options: dict[str, object], message: str
) -> None:
    """Every failure says what happened, and no file is there afterwards."""
    given: dict[str, object] = {"max_bytes": 1 << 20, "verify": anything} | options
    with pytest.raises(WeightsError, match=message):
        fetch(f"{address}/{name}", tmp_path / "weights", **given)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_a_silent_server_is_given_up(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that accepts and says nothing does not hang the run."""
    monkeypatch.setattr(module, "TIMEOUT_S", 0.2)
    with pytest.raises(WeightsError, match=r"cannot fetch .*timed out"):
        fetch(f"{address}/silent", tmp_path / "weights", max_bytes=100, verify=anything)


def test_nobody_there(tmp_path: Path) -> None:
    """A refused connection is an error of ours that names the address."""
    with pytest.raises(WeightsError, match=r"cannot fetch http://127.0.0.1:9/x: .*refused"):
        fetch("http://127.0.0.1:9/x", tmp_path / "weights", max_bytes=100, verify=anything)


def test_other_schemes_are_refused(tmp_path: Path) -> None:
    """A local file is no download."""
    with pytest.raises(WeightsError, match="over https, not from 'file:///etc/hostname'"):
        fetch("file:///etc/hostname", tmp_path / "weights", max_bytes=100, verify=anything)


def test_an_interruption_leaves_nothing(address: str, tmp_path: Path) -> None:
    """Ctrl-C while the file is verified; what was there before stays."""
    target = tmp_path / "weights"
    target.write_bytes(b"before")

    def interrupted(path: Path) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(f"{address}/good", target, max_bytes=1 << 20, verify=interrupted)
    assert target.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_that_cannot_be_written(address: str, tmp_path: Path) -> None:
    """Where the folder should be there is a file."""
    (tmp_path / "models").write_bytes(b"")
    with pytest.raises(WeightsError, match="cannot write weights to"):
        fetch(f"{address}/good", tmp_path / "models" / "weights", max_bytes=1 << 20, verify=anything)


def test_many_fetch_at_once(address: str, tmp_path: Path) -> None:
    """Processes that start together do not disturb each other."""
    seen: list[bytes] = []

    def work() -> None:
        fetch(f"{address}/good", tmp_path / "weights", max_bytes=1 << 20, verify=anything)
        seen.append((tmp_path / "weights").read_bytes())

    run_all([work] * 8)
    assert seen == [BODY] * 8
    assert [path.name for path in tmp_path.iterdir()] == ["weights"]


def run_all(tasks: list[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=task) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
