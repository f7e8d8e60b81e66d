"""Tells an interface's neighbours that an address is at its MAC address now.

Who has talked to an address goes on sending to the MAC address that it had, for about a minute. A gratuitous ARP request (RFC 5944,
section 4.6; "announcement" in RFC 5227, section 3) and an unsolicited neighbour advertisement with the override flag (RFC 4861, section
7.2.6) correct that at once.

Every port of the bridge gets them, which with a thousand ports takes longer than joining does. So they are sent by who knows that an
address has moved, rather than by the kernel each time an interface goes up (``arp_notify``, ``ndisc_notify``).

May import: opener, types, errors.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable
from contextlib import suppress

from ..errors import LibnetworkError
from ..types import IPAddress
from .opener import Opener

_ARP, _IPV6, _ICMPV6 = 0x0806, 0x86DD, 58
_ETHERNET, _IPV4, _REQUEST = 1, 0x0800, 1
_BROADCAST = b"\xff" * 6
_ALL_NODES = b"\xff\x02" + bytes(13) + b"\x01"
_ALL_NODES_MAC = b"\x33\x33\x00\x00\x00\x01"
_ADVERTISEMENT, _OVERRIDE, _TARGET_LINK_ADDRESS = 136, 0x20000000, 2


def announce(opener: Opener, namespace: str, link: str, addresses: Iterable[IPAddress]) -> None:
    """Announce addresses from an interface; see `Kernel.announce`."""
    with (
        suppress(LibnetworkError, OSError),
        opener.socket(namespace, socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC) as sock,
    ):
        sock.bind((link, 0))
        mac: bytes = sock.getsockname()[4]
        for address in addresses:
            sock.send(_arp(mac, address.packed) if address.version == 4 else _advertisement(mac, address.packed))


def _arp(mac: bytes, address: bytes) -> bytes:
    body = struct.pack(">HHBBH", _ETHERNET, _IPV4, 6, 4, _REQUEST) + mac + address + bytes(6) + address
    return _BROADCAST + mac + struct.pack(">H", _ARP) + body


def _advertisement(mac: bytes, address: bytes) -> bytes:
    option = struct.pack(">BB", _TARGET_LINK_ADDRESS, 1) + mac
    message = struct.pack(">BBHI", _ADVERTISEMENT, 0, 0, _OVERRIDE) + address + option
    pseudo = address + _ALL_NODES + struct.pack(">II", len(message), _ICMPV6)
    message = message[:2] + struct.pack(">H", _checksum(pseudo + message)) + message[4:]
    header = struct.pack(">IHBB", 6 << 28, len(message), _ICMPV6, 255) + address + _ALL_NODES
    return _ALL_NODES_MAC + mac + struct.pack(">H", _IPV6) + header + message


def _checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
