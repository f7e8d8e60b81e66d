"""Fills a host's memory of connections, as ``conntrack -I`` does, a hundred thousand in a second."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import IPv4Address

from tests.root.firewall_lab import netfilter

_NEW = 0x100
_FLAGS = 0x1 | 0x400 | 0x200  # request, create, exclusive
_NESTED = 0x8000
_TIMEOUT = 3600
_PROTOCOLS = {"tcp": 6, "udp": 17}
SERVER = IPv4Address("10.77.0.1")
FIRST_CLIENT = IPv4Address("10.66.0.1")
PORT = 53


def fill(host: str, count: int, protocol: str = "tcp") -> None:
    """Let a host remember ``count`` connections from clients in 10.66.0.0/16 to 10.77.0.1, port 53."""
    with netfilter(host) as sock:
        with suppress(PermissionError):  # without root what the machine's limit allows is enough
            sock.setsockopt(socket.SOL_SOCKET, 32, 1 << 22)  # SO_SNDBUFFORCE
        chunk: list[bytes] = []
        for message in _messages(count, _PROTOCOLS[protocol]):
            chunk.append(message)
            if len(chunk) == 500:
                sock.send(b"".join(chunk))
                chunk.clear()
        if chunk:
            sock.send(b"".join(chunk))


def _messages(count: int, protocol: int) -> Iterator[bytes]:
    for number in range(count):
        client, port = FIRST_CLIENT + number % 60000, 1024 + number // 60000
        body = _tuple(1, client, SERVER, protocol, port, PORT) + _tuple(2, SERVER, client, protocol, PORT, port)
        body += _attribute(3, struct.pack(">I", 0xE)) + _attribute(7, struct.pack(">I", _TIMEOUT))
        if protocol == 6:
            state = _attribute(1, b"\x03")
            body += _attribute(4 | _NESTED, _attribute(1 | _NESTED, state))
        yield struct.pack("=IHHIIBBH", 20 + len(body), _NEW, _FLAGS, 0, 0, socket.AF_INET, 0, 0) + body


def _tuple(number: int, source: IPv4Address, target: IPv4Address, protocol: int, sport: int, dport: int) -> bytes:
    ends = _attribute(1, source.packed) + _attribute(2, target.packed)
    ports = _attribute(1, bytes((protocol,))) + b"".join(
        _attribute(place, struct.pack(">H", port)) for place, port in ((2, sport), (3, dport))
    )
    return _attribute(number | _NESTED, _attribute(1 | _NESTED, ends) + _attribute(2 | _NESTED, ports))


def _attribute(number: int, payload: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(payload), number) + payload + bytes(-len(payload) % 4)
