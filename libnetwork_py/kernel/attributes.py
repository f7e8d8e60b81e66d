"""Netlink attributes taken out of bytes: pyroute2's decoder takes 100 µs for a link, and a restart looks at thousands.

May import: types.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address
from typing import TypeAlias

from ..types import IPAddress

Place: TypeAlias = tuple[int, int]
"""Where a payload begins and ends."""

_HEAD = struct.Struct("=HH")
_NUMBER = struct.Struct("=I")
_NESTED = 0x3FFF  # without the flags NLA_F_NESTED and NLA_F_NET_BYTEORDER


def pieces(data: bytes, start: int, end: int = -1) -> dict[int, Place]:
    """Type and payload bounds of each attribute between two places of ``data``."""
    found: dict[int, Place] = {}
    last = (len(data) if end < 0 else end) - 4
    head = _HEAD.unpack_from
    while start <= last:
        length, kind = head(data, start)
        if length < 4:
            break
        found[kind & _NESTED] = start + 4, start + length
        start += (length + 3) & ~3
    return found


def octets_in(data: bytes, attributes: Mapping[int, Place], kind: int) -> bytes:
    """Return the payload of an attribute, empty where there is none."""
    start, end = attributes.get(kind, (0, 0))
    return data[start:end]


def number_in(data: bytes, attributes: Mapping[int, Place], kind: int) -> int:
    """Return the 32-bit number of an attribute, 0 where there is none."""
    place = attributes.get(kind)
    return int(_NUMBER.unpack_from(data, place[0])[0]) if place else 0


def text_of(data: bytes, place: Place) -> str:
    """Return a payload as text."""
    return data[place[0] : place[1]].rstrip(b"\0").decode(errors="replace")


def address_of(packed: bytes) -> IPAddress | None:
    """Return the address of 4 or 16 bytes, ``None`` of none."""
    if not packed:
        return None
    return IPv4Address(packed) if len(packed) == 4 else IPv6Address(packed)
