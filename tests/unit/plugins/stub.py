"""A plug-in process's half: a real HTTP server on a Unix socket that answers what a test says, well or badly."""

from __future__ import annotations

import json
import socketserver
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

Answer = Mapping[str, Any] | Callable[[Any], Mapping[str, Any]]


class Stub(socketserver.ThreadingUnixStreamServer):
    """Answers methods; what it has no answer for is 404.

    ``answers``: method → answer, or what makes one of the request. ``raw``: method → bytes to send instead of an HTTP answer.
    ``status``: method → HTTP status. ``hang``: methods that get no answer.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, path: Path, implements: tuple[str, ...] = ("NetworkDriver", "IpamDriver")) -> None:
        self.answers: dict[str, Answer] = {"Plugin.Activate": {"Implements": list(implements)}}
        self.raw: dict[str, bytes] = {}
        self.status: dict[str, int] = {}
        self.hang: set[str] = set()
        self.content_type = "application/vnd.docker.plugins.v1.2+json"
        self.requests: list[tuple[str, Any]] = []
        self.headers: list[Mapping[str, str]] = []
        super().__init__(str(path), _Handler)

    def asked(self, *methods: str) -> list[Any]:
        """What was asked of some methods."""
        return [body for method, body in self.requests if method in methods]

    def calls(self) -> list[str]:
        """The methods that were called, without the questions of what it is."""
        quiet = {
            "Plugin.Activate",
            "NetworkDriver.GetCapabilities",
            "IpamDriver.GetCapabilities",
            "IpamDriver.GetDefaultAddressSpaces",
        }
        return [method.partition(".")[2] for method, _ in self.requests if method not in quiet]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def address_string(self) -> str:
        return "unix"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the name it has there)
        """Be quiet."""

    @property
    def stub(self) -> Stub:
        """The server."""
        assert isinstance(self.server, Stub)
        return self.server

    def do_POST(self) -> None:
        method = self.path.lstrip("/")
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = json.loads(raw) if raw else None
        self.stub.requests.append((method, body))
        self.stub.headers.append(dict(self.headers))
        if method in self.stub.hang:
            time.sleep(30)
            return
        if method in self.stub.raw:
            self.wfile.write(self.stub.raw[method])
            self.close_connection = True
            return
        answer = self.stub.answers.get(method)
        status = self.stub.status.get(method, 200 if answer is not None else 404)
        document = answer(body) if callable(answer) else answer or {}
        self._send(status, json.dumps(document).encode())

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", self.stub.content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def serving(path: Path, *implements: str) -> Iterator[Stub]:
    """A stub that listens at a path."""
    stub = Stub(path, implements or ("NetworkDriver", "IpamDriver"))
    thread = threading.Thread(target=stub.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield stub
    finally:
        stub.shutdown()
        thread.join()
        stub.server_close()
        path.unlink(missing_ok=True)
