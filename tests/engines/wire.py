"""A wire between a host and its store that a test can cut: a TCP forwarder on loopback."""

from __future__ import annotations

import selectors
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Wire:
    """Forwards connections to ``port``; `cut` breaks them and refuses new ones, `silence` drops every byte, `heal` ends both."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._pairs: dict[socket.socket, socket.socket] = {}
        self._selector = selectors.DefaultSelector()
        self._silent = self._over = False
        self._listener = self._listening(0)
        self.port = self._listener.getsockname()[1]
        self._guard = threading.RLock()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _listening(self, port: int) -> socket.socket:
        listener = socket.create_server(("127.0.0.1", port), backlog=64)
        listener.setblocking(False)
        self._selector.register(listener, selectors.EVENT_READ)
        return listener

    def cut(self) -> None:
        """Break every connection and refuse new ones."""
        with self._guard:
            self._selector.unregister(self._listener)
            self._listener.close()
            for each in list(self._pairs):
                self._drop(each)

    def silence(self) -> None:
        """Drop every byte from now on; connections seem to stand."""
        self._silent = True

    def heal(self) -> None:
        """Carry again; what stood through a silence is broken, as bytes of it are missing."""
        with self._guard:
            for each in list(self._pairs):
                self._drop(each)
            if self._listener.fileno() < 0:
                self._listener = self._listening(self.port)
            self._silent = False

    def close(self) -> None:
        """End it."""
        self._over = True
        self._thread.join()
        with self._guard:
            for each in (*self._pairs, self._listener):
                each.close()
        self._selector.close()

    def _run(self) -> None:
        while not self._over:
            ready = self._selector.select(0.02)
            with self._guard:
                for key, _ in ready:
                    source = key.fileobj
                    assert isinstance(source, socket.socket)
                    if source is self._listener and source.fileno() >= 0:
                        self._accept()
                    elif source in self._pairs:
                        self._carry(source)

    def _accept(self) -> None:
        with suppress(OSError):
            near, _ = self._listener.accept()
            try:
                far = socket.create_connection(("127.0.0.1", self._target), timeout=1)
            except OSError:
                near.close()
                return
            self._pairs |= {near: far, far: near}
            for each in (near, far):
                each.settimeout(5)
                self._selector.register(each, selectors.EVENT_READ)

    def _carry(self, source: socket.socket) -> None:
        try:
            data = source.recv(1 << 16)
            if data and not self._silent:
                self._pairs[source].sendall(data)
        except OSError:
            data = b""
        if not data:
            self._drop(source)

    def _drop(self, each: socket.socket) -> None:
        for end in (each, self._pairs.pop(each, None)):
            if end is not None:
                self._pairs.pop(end, None)
                with suppress(KeyError, ValueError):
                    self._selector.unregister(end)
                end.close()


@contextmanager
def wires(port: int, count: int) -> Iterator[list[Wire]]:
    """Lay so many wires to a port."""
    found = [Wire(port) for _ in range(count)]
    try:
        yield found
    finally:
        for each in found:
            each.close()
