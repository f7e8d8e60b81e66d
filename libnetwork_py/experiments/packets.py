"""A captured frame, and what its headers say: Ethernet, ARP, IPv4, IPv6, TCP, UDP, ICMP.

May import: nothing of this package.
"""

from __future__ import annotations

import ipaddress
import struct

from attrs import frozen

_ARP, _IPV4, _IPV6, _VLAN = 0x0806, 0x0800, 0x86DD, 0x8100
_PROTOCOLS = {1: "ICMP", 6: "TCP", 17: "UDP", 58: "ICMPv6", 132: "SCTP"}
_FLAGS = ((0x02, "S"), (0x01, "F"), (0x04, "R"), (0x08, "P"), (0x10, "."))
"""As tcpdump writes them."""
_ICMP = {
    (1, 0): "echo reply",
    (1, 3): "unreachable",
    (1, 8): "echo request",
    (58, 1): "unreachable",
    (58, 128): "echo request",
    (58, 129): "echo reply",
    (58, 135): "neighbour solicitation",
    (58, 136): "neighbour advertisement",
}


@frozen
class Packet:
    """A frame as it passed an interface.

    Attributes:
        time: Nanoseconds since the epoch, by the kernel.
        data: Its bytes, from the Ethernet header on.
        length: Bytes that it had, which may be more than were kept.
        outgoing: The sandbox sent it.
    """

    time: int
    data: bytes
    length: int
    outgoing: bool


@frozen
class Headers:
    """What a frame's headers say, in text; empty where there is none of it."""

    protocol: str
    source: str = ""
    destination: str = ""
    source_port: int | None = None
    destination_port: int | None = None
    flags: str = ""
    sequence: int | None = None
    payload: int = 0
    info: str = ""


def headers(data: bytes) -> Headers:
    """Read a frame's headers; one that is cut short or malformed is read as far as it goes."""
    try:
        return _ethernet(data)
    except (struct.error, ValueError, IndexError):
        return Headers("malformed")


def _ethernet(data: bytes) -> Headers:
    if len(data) < 14:
        return Headers("malformed")
    kind, start = int.from_bytes(data[12:14], "big"), 14
    if kind == _VLAN:
        kind, start = int.from_bytes(data[16:18], "big"), 18
    if kind == _ARP:
        return _arp(data[start:])
    if kind == _IPV4:
        return _ipv4(data[start:])
    if kind == _IPV6:
        return _ipv6(data[start:])
    return Headers(f"0x{kind:04x}", data[6:12].hex(":"), data[:6].hex(":"))


def _arp(data: bytes) -> Headers:
    operation, mac, sender, target = struct.unpack_from(">6xH6s4s6x4s", data)
    asked, asks = (str(ipaddress.IPv4Address(each)) for each in (target, sender))
    info = f"who has {asked}? tell {asks}" if operation == 1 else f"{asks} is at {mac.hex(':')}"
    return Headers("ARP", asks, asked, info=info)


def _ipv4(data: bytes) -> Headers:
    size, total = (data[0] & 15) * 4, int.from_bytes(data[2:4], "big")
    fragment = int.from_bytes(data[6:8], "big") & 0x1FFF
    source, destination = (str(ipaddress.IPv4Address(data[at : at + 4])) for at in (12, 16))
    if fragment:
        return Headers(_PROTOCOLS.get(data[9], str(data[9])), source, destination, info=f"fragment at {fragment * 8}")
    return _transport(data[9], source, destination, data[size:], (total or len(data)) - size)


def _ipv6(data: bytes) -> Headers:
    source, destination = (str(ipaddress.IPv6Address(data[at : at + 16])) for at in (8, 24))
    return _transport(data[6], source, destination, data[40:], int.from_bytes(data[4:6], "big") or len(data) - 40)


def _transport(protocol: int, source: str, destination: str, data: bytes, length: int) -> Headers:
    name = _PROTOCOLS.get(protocol, str(protocol))
    if name == "TCP":
        ports = struct.unpack_from(">HHIIBB", data)
        flags = "".join(letter for bit, letter in _FLAGS if ports[5] & bit)
        payload = length - (ports[4] >> 4) * 4
        return Headers(name, source, destination, ports[0], ports[1], flags, ports[2], payload, f"ack {ports[3]}")
    if name == "UDP":
        one, other = struct.unpack_from(">HH", data)
        return Headers(name, source, destination, one, other, payload=length - 8)
    if name in {"ICMP", "ICMPv6"}:
        what = _ICMP.get((protocol, data[0]), f"type {data[0]} code {data[1]}")
        number = f" {int.from_bytes(data[6:8], 'big')}" if what.startswith("echo") else ""
        return Headers(name, source, destination, payload=length - 8, info=f"{what}{number}")
    return Headers(name, source, destination, payload=length)
