"""The sockets that clients come to, in runs of ports, and where they lead.

May import: loop, doors.
"""

from __future__ import annotations

import socket

from .doors import Doors
from .loop import Loop

STREAM, DATAGRAM = socket.SOCK_STREAM, socket.SOCK_DGRAM
PROTOCOLS = {"tcp": (STREAM, socket.IPPROTO_TCP), "udp": (DATAGRAM, socket.IPPROTO_UDP), "sctp": (STREAM, 132)}
"""Protocol → type and number of its sockets."""
AT_ONCE = 64
"""Connections, or datagrams, taken from one socket before another's turn."""
LOOPBACK, MAPPED = "::1", "::ffff:"
"""The host itself, and how the IPv6 form of an IPv4 address begins."""

Address = tuple[str, int, int, int]


class Run:
    """A run of ports of one host address, and where they lead.

    ``mapped``: the address is 127.0.0.1 of the machine where the caller is, for whom this host is a namespace.
    """

    def __init__(self, protocol: str, count: int, *, mapped: bool = False) -> None:
        self.protocol, self.count, self.mapped = protocol, count, mapped
        self.address, self.port = "", 0
        self.ports: dict[int, Listener] = {}

    def connect(self, number: int) -> socket.socket:
        """Begin a connection to where a port leads."""
        family = socket.AF_INET6 if ":" in self.address else socket.AF_INET
        sock = socket.socket(family, *PROTOCOLS[self.protocol])
        sock.setblocking(False)
        try:
            sock.connect((self.address, self.port + number))
        except BlockingIOError:
            pass
        except OSError:
            sock.close()
            raise
        return sock

    def close(self) -> None:
        """Close the sockets, and with them what came by them."""
        for each in self.ports.values():
            each.close()
        self.ports.clear()


class Listener:
    """A socket that clients come to."""

    def __init__(self, loop: Loop, doors: Doors, run: Run, number: int, sock: socket.socket) -> None:
        self.loop, self.doors, self.run, self.number, self.sock = loop, doors, run, number, sock
        loop.add(sock.fileno(), self.ready)

    def ready(self, events: int) -> None:
        """Take what has come."""

    def close(self) -> None:
        """Close the socket, and what came by it."""
        self.loop.remove(self.sock.fileno())
        self.sock.close()
