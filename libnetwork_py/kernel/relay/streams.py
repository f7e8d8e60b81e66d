"""Carries TCP and SCTP: every client's connection to one of its own, byte by byte, each direction to its own end.

May import: loop, doors, listeners.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
from contextlib import suppress

from .doors import Doors
from .listeners import AT_ONCE, LOOPBACK, MAPPED, Address, Listener, Run
from .loop import READ, WRITE, Loop

CHUNK = 1 << 17
"""Bytes read at once, and at most kept for a side that is slow to take them."""
RESET = struct.pack("ii", 1, 0)
"""``SO_LINGER``: closing sends a reset."""
BUSY = (errno.EAGAIN, errno.EINTR, errno.ECONNABORTED)


class Streams(Listener):
    """Takes connections of TCP or SCTP."""

    def __init__(self, loop: Loop, doors: Doors, run: Run, number: int, sock: socket.socket) -> None:
        self.talks: set[Talk] = set()
        super().__init__(loop, doors, run, number, sock)

    def ready(self, events: int) -> None:
        """Take connections."""
        for _ in range(AT_ONCE):
            try:
                client, peer = self.sock.accept()
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE):
                    self.loop.refuse(self.sock)
                return
            self.begin(client, peer)

    def begin(self, client: socket.socket, peer: Address) -> None:
        """Carry a client's connection on, or refuse it."""
        client.setblocking(False)
        try:
            if peer[0].startswith(MAPPED) != self.run.mapped:
                raise PermissionError
            if not self.run.mapped and peer[0] != LOOPBACK and self.closed_to(client, peer[0]):
                raise PermissionError
            server = self.run.connect(self.number)
        except OSError:
            reset(client)
            return
        if self.run.protocol == "tcp":
            for each in (client, server):
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.talks.add(Talk(self, client, server))

    def closed_to(self, client: socket.socket, address: str) -> bool:
        """Return whether a client is on an internal network; SCTP does not say by which interface it came."""
        return self.run.protocol == "tcp" and self.doors.closed_to(client, address)

    def close(self) -> None:
        """Close the socket, and break what came by it."""
        super().close()
        for each in list(self.talks):
            each.end(broken=True)


class Talk:
    """A client's connection and the one to the container."""

    def __init__(self, streams: Streams, client: socket.socket, server: socket.socket) -> None:
        self.streams = streams
        self.sides = (Side(self, client), Side(self, server))
        for side, other in (self.sides, self.sides[::-1]):
            side.other = other
        self.sides[1].connecting = True
        for side in self.sides:
            streams.loop.add(side.fd, side.ready, side.wanted())

    def end(self, *, broken: bool) -> None:
        """Close both connections; ``broken``: both ends see a reset."""
        self.streams.talks.discard(self)
        for side in self.sides:
            self.streams.loop.remove(side.fd)
            if broken:
                reset(side.sock)
            side.sock.close()


class Side:
    """One end of a talk: its socket, and what the other has sent that this one has not taken yet."""

    __slots__ = ("connecting", "ended", "events", "fd", "other", "pending", "sock", "talk")
    other: Side

    def __init__(self, talk: Talk, sock: socket.socket) -> None:
        self.talk, self.sock, self.fd = talk, sock, sock.fileno()
        self.pending = b""
        self.connecting = self.ended = False
        self.events = 0

    def wanted(self) -> int:
        """What to wait for: to read, while the other side takes what is read; to write, while there is something to."""
        reading = 0 if self.ended or self.connecting or self.other.pending or self.other.connecting else READ
        self.events = reading | (WRITE if self.pending or self.connecting else 0)
        return self.events

    def ready(self, events: int) -> None:
        """Carry what can be carried now."""
        try:
            if self.connecting:
                self.connected()
            if events & WRITE and self.pending:
                self.write(b"")
            if events & READ and not (self.ended or self.other.pending):
                self.read()
            elif events & (select.EPOLLERR | select.EPOLLHUP) and not events & (READ | WRITE):
                self.raise_error()
        except OSError as error:
            if error.errno not in BUSY:
                self.talk.end(broken=True)
                return
        if self.ended and self.other.ended and not (self.pending or self.other.pending):
            self.talk.end(broken=False)
            return
        for side in self.talk.sides:
            before = side.events
            if side.wanted() != before:
                self.talk.streams.loop.change(side.fd, side.events)

    def connected(self) -> None:
        """Take note that the connection to the container is there."""
        self.raise_error()
        self.connecting = False

    def raise_error(self) -> None:
        """Raise what has happened to the connection."""
        number = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            raise OSError(number, os.strerror(number))

    def read(self) -> None:
        """Take what has come, or its end, to the other side."""
        data = self.sock.recv(CHUNK)
        if data:
            self.other.write(data)
            return
        self.ended = True
        if not self.other.pending:
            self.other.shut()

    def write(self, data: bytes) -> None:
        """Send, and keep what is not taken."""
        data = self.pending + data if self.pending else data
        try:
            sent = self.sock.send(data)
        except BlockingIOError:
            sent = 0
        self.pending = data[sent:]
        if not self.pending and self.other.ended:
            self.shut()

    def shut(self) -> None:
        """Say that no more will come."""
        with suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)


def reset(sock: socket.socket) -> None:
    """Close a connection as a broken one is closed."""
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    sock.close()
