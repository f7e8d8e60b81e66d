"""One HTTP request to a plug-in, and its answer, within a limit of time and size.

Division of labour: `client` knows the protocol and when to try again; here is what goes over one connection. HTTP is the standard
library's. The limit is for the whole exchange: a plug-in that sends one byte a second is as late as one that sends none.

May import: plugins.discovery, errors.
"""

from __future__ import annotations

import http.client
import io
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from attrs import frozen

from ..errors import InvalidParameter
from .discovery import PluginAddress, TlsFiles

CONTENT_TYPE = "application/vnd.docker.plugins.v1.2+json"
HOST = "plugin.moby.localhost"
MAX_ANSWER = 16 << 20
"""Bytes of an answer's body; a longer one is nonsense."""


class NoConnection(Exception):
    """Nobody listens, or a connection could not be made: nothing was sent, so trying again is safe."""


class NoAnswer(Exception):
    """The request was sent and no whole answer came."""


@frozen
class Answer:
    """What came back."""

    status: int
    body: bytes
    content_type: str = ""


def exchange(address: PluginAddress, path: str, body: bytes, seconds: float) -> Answer:
    """Send one request and return its answer.

    Raises:
        NoConnection: before anything was sent. NoAnswer: after it; its text says why. InvalidParameter: its TLS files are none.
    """
    connection = _connect(address, seconds)
    headers = {
        "Accept": CONTENT_TYPE,
        "Host": HOST if address.path else f"{address.host}:{address.port}",
        "Connection": "close",
    }
    headers |= {"Content-Type": CONTENT_TYPE} if body else {}
    with _limited(connection, seconds) as late:
        try:
            connection.request("POST", path, body, headers)
            return _answer(connection)
        except (OSError, http.client.HTTPException, ValueError) as error:
            if late.is_set() or isinstance(error, TimeoutError):
                raise NoAnswer(f"it did not answer within {seconds:g} s") from error
            raise NoAnswer(f"its connection broke ({type(error).__name__}: {error})") from error


def _answer(connection: _Connection) -> Answer:
    response = connection.getresponse()
    body = response.read(MAX_ANSWER + 1)
    if len(body) > MAX_ANSWER:
        raise ValueError(f"more than {MAX_ANSWER} bytes")
    if response.length:
        raise ValueError(f"its answer lacks {response.length} bytes")
    if connection.tap.left():
        raise ValueError("it answered twice")
    return Answer(response.status, body, response.headers.get_content_type())


@contextmanager
def _limited(connection: _Connection, seconds: float) -> Iterator[threading.Event]:
    """Cut the connection when the time is over."""
    late = threading.Event()

    def cut() -> None:
        late.set()
        connection.tap.cut()

    timer = threading.Timer(seconds, cut)
    timer.daemon = True
    timer.start()
    try:
        yield late
    finally:
        timer.cancel()
        connection.tap.end()


class _Tap:
    """A connected socket as `http.client` uses it, which tells whether more came than was read."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._reader = _Reader(socket.SocketIO(sock, "r"))

    def makefile(self, _mode: str) -> io.BufferedReader:
        """Return the reader."""
        return self._reader

    def sendall(self, data: bytes) -> None:
        """Send."""
        self._sock.sendall(data)

    def left(self) -> bool:
        """Whether bytes wait that belong to no answer."""
        self._sock.settimeout(0)
        try:
            return bool(self._reader.peek(1))
        except OSError:
            return False

    def close(self) -> None:
        """Stay open: `end` closes."""

    def cut(self) -> None:
        """End both directions, whoever waits for one."""
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def end(self) -> None:
        """Close."""
        self._sock.close()


class _Reader(io.BufferedReader):
    """What `http.client` reads from, and closes after an answer: it stays open, so that what follows can be seen."""

    def close(self) -> None:
        """Stay open."""


class _Connection(http.client.HTTPConnection):
    """Over a socket that is connected already."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__("plugin")
        self.tap = _Tap(sock)
        self.sock = self.tap


def _connect(address: PluginAddress, seconds: float) -> _Connection:
    context = _context(address, address.tls) if address.tls else None
    try:
        if address.path:
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(seconds)
            try:
                sock.connect(address.path)
            except BaseException:
                sock.close()
                raise
        else:
            sock = socket.create_connection((address.host, address.port), seconds)
            sock = _secured(sock, address, context) if context else sock
    except ssl.SSLCertVerificationError as error:  # that is not going to change
        raise NoAnswer(f"its certificate is not valid: {error.verify_message}") from error
    except (OSError, ValueError) as error:
        raise NoConnection(f"{error.strerror if isinstance(error, OSError) and error.strerror else error}") from error
    return _Connection(sock)


def _secured(sock: socket.socket, address: PluginAddress, context: ssl.SSLContext) -> socket.socket:
    try:
        return context.wrap_socket(sock, server_hostname=address.host)
    except BaseException:
        sock.close()
        raise


def _context(address: PluginAddress, files: TlsFiles) -> ssl.SSLContext:
    """Return how to speak TLS; trying again would not mend the files."""
    try:
        context = ssl.create_default_context(cafile=files.ca or None)
        if not files.verify:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if files.certificate:
            context.load_cert_chain(files.certificate, files.key or None)
    except (OSError, ValueError) as error:
        named = ", ".join(filter(None, (files.ca, files.certificate, files.key)))
        raise InvalidParameter(
            f"{address.source} names TLS files that cannot be used ({named}): {error}",
            code="tls_files",
            path=address.source,
        ) from error
    return context
