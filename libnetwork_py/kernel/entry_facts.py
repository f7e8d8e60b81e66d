"""The permanent neighbours and the forwarding entries of a namespace, as the kernel has them.

Division of labour: as `snapshot`, for the tables that may have tens of thousands of entries and are looked at only where words name some.

May import: attributes, messages, transport, facts, types.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Mapping

from attrs import evolve

from ..facts import NamespaceFacts
from ..types import IPAddress
from . import messages
from .attributes import address_of, octets_in, pieces
from .transport import Transport

_ENTRY = struct.Struct("=BxxxiHBB")  # struct ndmsg: family, index, state, flags, type
_DST, _LLADDR, _MASTER = 1, 2, 9
_NOARP, _PERMANENT = 0x40, 0x80


def added(facts: NamespaceFacts, transport: Transport, names: Mapping[int, str]) -> NamespaceFacts:
    """Return facts with the entries of the namespace; ``names`` are its interfaces' by index."""
    forwarding: dict[tuple[str, str], IPAddress | None] = {}
    bridged: set[tuple[str, str]] = set()
    for name, state, data, attributes in _entries(transport, names, socket.AF_BRIDGE):
        place = name, octets_in(data, attributes, _LLADDR).hex(":")
        if _MASTER not in attributes:
            forwarding |= {place: address_of(octets_in(data, attributes, _DST))} if _DST in attributes else {}
        elif state & _NOARP:
            bridged.add(place)
    neighbours = dict(_neighbours(transport, names))
    return evolve(facts, neighbours=neighbours, forwarding=forwarding, bridged=frozenset(bridged))


def _neighbours(transport: Transport, names: Mapping[int, str]) -> Iterator[tuple[tuple[str, IPAddress], str]]:
    for family in (socket.AF_INET, socket.AF_INET6):
        for name, state, data, attributes in _entries(transport, names, family):
            address = address_of(octets_in(data, attributes, _DST))
            if state & _PERMANENT and address is not None:
                yield (name, address), octets_in(data, attributes, _LLADDR).hex(":")


def _entries(
    transport: Transport, names: Mapping[int, str], family: int
) -> Iterator[tuple[str, int, bytes, dict[int, tuple[int, int]]]]:
    """Interface, state, and attributes of each entry."""
    for _, data in transport.dump(messages.dump_neighbours(family), "read the neighbours"):
        _, index, state, _, _ = _ENTRY.unpack_from(data)
        if index in names:
            yield names[index], state, data, pieces(data, _ENTRY.size)
