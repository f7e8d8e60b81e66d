"""By which interface somebody came, and whether that one is a network that nothing enters or leaves.

An internal network's sandboxes reach the host itself, as the reference's do, but nobody beyond it: so the relay, a process of the host,
asks. The library marks the links of such networks in their group (``IFLA_GROUP``): the bridge, and the sandboxes' ports of one that
somebody else made, which is left as it was.

May import: nothing of this library.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

MARKED, MARK = 0xD0000000, 0x40000000
"""What the group of every link of ours has in common; `firewall.table` has the same numbers."""
MASK, INTERNAL = 0xD8000000, 0x48000000
"""And that of those of internal networks."""

_NEW_LINK, _GET_LINK, _REQUEST, _DUMP = 16, 18, 1, 0x300
_LINK_INFO, _KIND, _MASTER, _GROUP, _HEADERS = 18, 1, 10, 27, 32
_STRICT = (270, 12)
"""``SOL_NETLINK``, ``NETLINK_GET_STRICT_CHK``: the kernel lists the ports of one bridge."""
_PACKET_OPTIONS = 6
"""``IPV6_2292PKTOPTIONS``: of a connection, what its first packet came with (``do_ipv6_getsockopt`` in ``net/ipv6/ipv6_sockglue.c``)."""
_INTERFACE = struct.Struct("=I")
_OPTION, _ATTRIBUTE = struct.Struct("@NII16sI"), struct.Struct("=HH")


class Doors:
    """Asks the kernel about interfaces."""

    def __init__(self) -> None:
        self._netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        self._netlink.settimeout(1.0)
        self._netlink.setsockopt(*_STRICT, 1)
        self._number = 0

    def closed_to(self, client: socket.socket, address: str) -> bool:
        """Return whether a TCP connection came from an address on an internal network."""
        client.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        options = client.getsockopt(socket.IPPROTO_IPV6, _PACKET_OPTIONS, 256)
        client.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 0)
        return len(options) >= _OPTION.size and self.closed(_OPTION.unpack_from(options)[4], address)

    def closed(self, index: int, address: str) -> bool:
        """Return whether an interface is an internal network's bridge (one that is gone is), and the address beyond it.

        What the host sends to itself comes by the interface that has the address (``ip6_rcv_core`` in ``net/ipv6/ip6_input.c``).
        """
        return self._internal(index) and not _own(address)

    def _internal(self, index: int) -> bool:
        answer = next(iter(self._ask(struct.pack("=BxHiII", 0, 0, index, 0, 0))), b"")
        found = dict(_attributes(answer, _HEADERS, len(answer)))
        if _GROUP not in found:
            return True
        group = _number(answer, found[_GROUP])
        if group & MARKED != MARK and _bridge(
            answer, found
        ):  # somebody else's: a port of ours says whose network is on it
            ports = self._ask(struct.pack("=BxHiII", 0, 0, 0, 0, 0) + struct.pack("=HHI", 8, _MASTER, index), _DUMP)
            groups = (_number(port, dict(_attributes(port, _HEADERS, len(port)))[_GROUP]) for port in ports)
            return any(each & MASK == INTERNAL for each in groups)
        return group & MASK == INTERNAL

    def _ask(self, request: bytes, flags: int = 0) -> list[bytes]:
        """The links that answer a request, each with its headers."""
        self._number += 1
        self._netlink.send(
            struct.pack("=IHHII", 16 + len(request), _GET_LINK, _REQUEST | flags, self._number, 0) + request
        )
        links: list[bytes] = []
        while True:
            data, at = self._netlink.recv(1 << 16), 0
            while at + 16 <= len(data):
                length, kind, _, number = struct.unpack_from("=IHHI", data, at)
                if number == self._number:  # else late, for somebody before
                    if kind == _NEW_LINK:
                        links.append(data[at : at + length])
                    if kind != _NEW_LINK or not flags:
                        return links
                at += max((length + 3) & ~3, 16)


def _own(address: str) -> bool:
    """Whether an address is the host's own."""
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        try:
            sock.bind((address, 0))
        except OSError:
            return False
    return True


def _attributes(data: bytes, at: int, end: int) -> Iterator[tuple[int, tuple[int, int]]]:
    """Type, start and end of each attribute."""
    while at + _ATTRIBUTE.size <= end:
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        yield kind & 0x3FFF, (at + _ATTRIBUTE.size, at + length)
        at += max((length + 3) & ~3, _ATTRIBUTE.size)


def _number(data: bytes, place: tuple[int, int]) -> int:
    return int(_INTERFACE.unpack_from(data, place[0])[0])


def _bridge(data: bytes, found: dict[int, tuple[int, int]]) -> bool:
    inner = dict(_attributes(data, *found[_LINK_INFO])) if _LINK_INFO in found else {}
    start, end = inner.get(_KIND, (0, 0))
    return data[start:end].rstrip(b"\0") == b"bridge"
