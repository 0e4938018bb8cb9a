"""A web server on loopback that answers like the Hugging Face Hub, for one public data set."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

REPOSITORY = "someone/pairs"
#: Entries of one answer to a listing; the real one gives a thousand.
PAGE = 3


class Hub(BaseHTTPRequestHandler):
    """The calls that listing a repository and reading its files make.

    As on the real one a listing comes in pages, and a file is a redirection to a server elsewhere, which knows ranges.
    """

    protocol_version = "HTTP/1.1"
    folder: Path
    requests: list[str]

    def do_GET(self) -> None:
        """Answer one request."""
        url = urlsplit(self.path)
        path = unquote(url.path)
        self.requests.append(f"GET {path} {self.headers.get('Range', '')}".strip())
        api, files = f"/api/datasets/{REPOSITORY}", f"/datasets/{REPOSITORY}/resolve/main/"
        if path in (api, f"{api}/revision/main"):
            self._json({"id": REPOSITORY, "sha": "0" * 40, "private": False, "tags": [], "siblings": []})
        elif path == f"{api}/tree/main" or path.startswith(f"{api}/tree/main/"):
            self._tree(path.removeprefix(f"{api}/tree/main").strip("/"), parse_qs(url.query))
        elif path.startswith(files):
            self._answer(302, b"", Location=f"/elsewhere/{path.removeprefix(files)}")
        elif path.startswith("/elsewhere/"):
            self._range((self.folder / path.removeprefix("/elsewhere/")).read_bytes())
        else:
            self._answer(404, b"", **{"X-Error-Code": "RepoNotFound"})

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base class calls it so
        """Keep quiet."""

    def _tree(self, below: str, query: dict[str, list[str]]) -> None:
        root = self.folder / below
        if not root.is_dir():
            self._answer(404, b"", **{"X-Error-Code": "EntryNotFound"})
            return
        recursive = query.get("recursive") == ["true"]
        entries = [self._entry(path) for path in sorted(root.rglob("*") if recursive else root.iterdir())]
        first = int(query.get("cursor", ["0"])[0])
        more = {}
        if first + PAGE < len(entries):
            host = f"http://{self.headers['Host']}"
            link = f"{host}{urlsplit(self.path).path}?recursive={str(recursive).lower()}&cursor={first + PAGE}"
            more = {"Link": f'<{link}>; rel="next"'}
        self._json(entries[first : first + PAGE], **more)

    def _entry(self, path: Path) -> dict[str, Any]:
        name = path.relative_to(self.folder).as_posix()
        if path.is_dir():
            return {"type": "directory", "oid": hashlib.sha1(name.encode()).hexdigest(), "size": 0, "path": name}
        data = path.read_bytes()
        large = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
        oid = hashlib.sha1(large["oid"].encode()).hexdigest()  # type: ignore[attr-defined]
        return {"type": "file", "oid": oid, "size": len(data), "lfs": large, "path": name}

    def _range(self, data: bytes) -> None:
        wanted = self.headers.get("Range")
        if wanted is None:
            self._answer(200, data)
            return
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        end = min(int(last) + 1 if last else len(data), len(data))
        self._answer(206, data[int(first) : end], **{"Content-Range": f"bytes {first}-{end - 1}/{len(data)}"})

    def _json(self, value: Any, **headers: str) -> None:
        self._answer(200, json.dumps(value).encode(), **headers, **{"Content-Type": "application/json"})

    def _answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def hub(folder: Path) -> Iterator[tuple[dict[str, Any], list[str]]]:
    """Serve a folder as the data set ``someone/pairs``; storage options for it, and the requests that it gets."""
    requests: list[str] = []
    handler = type("Served", (Hub,), {"folder": folder, "requests": requests})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield {"endpoint": f"http://127.0.0.1:{server.server_port}", "token": False}, requests
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
