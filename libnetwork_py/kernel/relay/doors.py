"""By which interface somebody came, and whether that one is a network that nothing enters or leaves.

An internal network's sandboxes reach the host itself, as the reference's do, but nobody beyond it: so the relay, a process of the host,
asks. The library marks the bridges of such networks in their group (``IFLA_GROUP``).

May import: nothing of this library.
"""

from __future__ import annotations

import socket
import struct

MASK, INTERNAL = 0xD8000000, 0x48000000
"""What the group of every internal network's bridge has in common; `firewall.table` has the same numbers."""

_GET_LINK, _REQUEST, _GROUP, _HEADERS = 18, 1, 27, 32
_PACKET_OPTIONS = 6
"""``IPV6_2292PKTOPTIONS``: of a connection, what its first packet came with (``do_ipv6_getsockopt`` in ``net/ipv6/ipv6_sockglue.c``)."""
_INTERFACE = struct.Struct("=I")
_OPTION, _ATTRIBUTE = struct.Struct("@NII16sI"), struct.Struct("=HH")


class Doors:
    """Asks the kernel about interfaces."""

    def __init__(self) -> None:
        self._netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        self._netlink.settimeout(1.0)

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
        return self._group(index) & MASK == INTERNAL and not _own(address)

    def _group(self, index: int) -> int:
        head = struct.pack("=IHHII", _HEADERS, _GET_LINK, _REQUEST, index, 0)
        self._netlink.send(head + struct.pack("=BxHiII", 0, 0, index, 0, 0))
        answer = self._netlink.recv(1 << 16)
        while int(struct.unpack_from("=I", answer, 8)[0]) != index:  # late, for somebody before
            answer = self._netlink.recv(1 << 16)
        return _group(answer)


def _own(address: str) -> bool:
    """Whether an address is the host's own."""
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        try:
            sock.bind((address, 0))
        except OSError:
            return False
    return True


def _group(answer: bytes) -> int:
    at = _HEADERS
    while at + _ATTRIBUTE.size <= len(answer):
        length, kind = _ATTRIBUTE.unpack_from(answer, at)
        if kind == _GROUP:
            return int(_INTERFACE.unpack_from(answer, at + _ATTRIBUTE.size)[0])
        at += max((length + 3) & ~3, _ATTRIBUTE.size)
    return INTERNAL
