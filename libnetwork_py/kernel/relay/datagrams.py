"""Carries UDP: every client has a socket of its own towards the container, so that answers find it.

A client's socket is kept for `IDLE` seconds after its last datagram in either direction, as the reference's proxy keeps it.

May import: loop, doors, listeners.
"""

from __future__ import annotations

import socket
import sys
import time
from contextlib import suppress

from .doors import Doors
from .listeners import AT_ONCE, LOOPBACK, MAPPED, Address, Listener, Run
from .loop import Loop

IDLE = 90.0
"""Seconds after which a client is forgotten."""
GROUP = 0xFF
"""How the address of a group begins."""
CLIENTS_MAX = 4096
"""Clients of one port that are remembered; the one that was silent for longest goes first."""


class Datagrams(Listener):
    """Takes datagrams, and remembers by client and by the address that it asked."""

    def __init__(self, loop: Loop, doors: Doors, run: Run, number: int, sock: socket.socket) -> None:
        self.clients: dict[tuple[Address, bytes], Client] = {}
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        super().__init__(loop, doors, run, number, sock)

    def ready(self, events: int) -> None:
        """Carry what clients send."""
        for _ in range(AT_ONCE):
            try:
                data, details, _, peer = self.sock.recvmsg(65535, 64)
            except OSError:
                return
            asked = next((info for _, kind, info in details if kind == socket.IPV6_PKTINFO), b"")
            if asked and peer[0].startswith(MAPPED) == self.run.mapped and asked[0] != GROUP:
                with suppress(OSError):
                    client = self.client(peer, asked)
                    if client is not None:
                        client.send(data)

    def client(self, peer: Address, asked: bytes) -> Client | None:
        """Return a client, known or new; ``None`` for one on an internal network."""
        found = self.clients.pop((peer, asked), None)
        if found is None:
            known = self.run.mapped or peer[0] == LOOPBACK
            if not known and self.doors.closed(int.from_bytes(asked[16:20], sys.byteorder), peer[0]):
                return None
            if len(self.clients) >= CLIENTS_MAX:
                next(iter(self.clients.values())).close()
            found = Client(self, peer, asked, self.run.connect(self.number))
        self.clients[peer, asked] = found  # the last to have been heard stands last
        return found

    def expire(self, before: float) -> None:
        """Forget who was last heard before this moment."""
        for each in [each for each in self.clients.values() if each.heard < before]:
            each.close()

    def close(self) -> None:
        """Close the socket, and forget who came by it."""
        super().close()
        for each in list(self.clients.values()):
            each.close()


class Client:
    """One client of datagrams: a socket of its own towards the container."""

    def __init__(self, listener: Datagrams, peer: Address, asked: bytes, server: socket.socket) -> None:
        self.listener, self.peer, self.asked, self.server = listener, peer, asked, server
        # answer from the address that was asked; the interface counts only where the address does not say which
        local = asked if asked[:2] == b"\xfe\x80" else asked[:16] + bytes(4)
        self.details = [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, local)]
        self.heard = time.monotonic()
        listener.loop.add(server.fileno(), self.ready)

    def send(self, data: bytes) -> None:
        """Carry a datagram to the container."""
        self.heard = time.monotonic()
        self.server.send(data)

    def ready(self, events: int) -> None:
        """Carry what the container answers."""
        self.heard = time.monotonic()
        with suppress(OSError):
            for _ in range(AT_ONCE):
                self.listener.sock.sendmsg([self.server.recv(65535)], self.details, 0, self.peer)

    def close(self) -> None:
        """Be forgotten."""
        self.listener.loop.remove(self.server.fileno())
        self.server.close()
        self.listener.clients.pop((self.peer, self.asked), None)
