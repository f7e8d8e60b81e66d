"""What the words of a machine in memory look like in a snapshot.

Division of labour: `machine` remembers words; here they become facts.

May import: desired, facts, types.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Interface, IPv6Interface
from typing import TypeAlias

from ..desired import Bridge, Forwarding, Link, Neighbour, Route, Vxlan, Word
from ..facts import LinkFact, RouteFact, tunnel_of
from ..types import IPAddress, IPInterface

LOOPBACK = LinkFact("lo", 1, "", "00:00:00:00:00:00", 65536, up=True)
LOOPBACK_ADDRESSES: tuple[IPInterface, ...] = (IPv4Interface("127.0.0.1/8"), IPv6Interface("::1/128"))

METRICS = {4: (0, 0), 6: (1024, 256)}
"""The metric of a route that names none, and of a connected one, per family."""


def metric_of(route: Route) -> int:
    """Return the metric that the kernel gives a route."""
    return route.metric or METRICS[route.destination.version][0]


def connected(addresses: Iterable[tuple[str, IPInterface]]) -> Iterator[RouteFact]:
    """Return the routes that the kernel makes for addresses."""
    for link, address in addresses:
        # IPv4 has no route for a /32, IPv6 has one for a /128; those of loopback are in the local table
        if link != LOOPBACK.name and (address.version == 6 or address.network.prefixlen < 32):
            yield RouteFact(address.network, link, None, METRICS[address.version][1], connected=True)


def link_fact(word: Link, index: int) -> LinkFact:
    """Return a link as a snapshot shows it; of a pair, the outer end."""
    mtu = word.mtu or 1500
    if isinstance(word, Bridge):
        return LinkFact(word.name, index, "bridge", word.mac, mtu, up=True, group=word.group)
    # the kernel gives the outer end a random address; here it follows from the name, so that texts are the same every time
    mac = (b"\x02\x00" + zlib.crc32(f"{word.namespace} {word.name}".encode()).to_bytes(4, "big")).hex(":")
    if isinstance(word, Vxlan):
        port = not word.master
        return LinkFact(
            word.name, index, "vxlan", mac, mtu, up=True, group=word.group,
            master=word.master, isolated=not port, learning=port, flood=port, tunnel=tunnel_of(word),
        )  # fmt: skip
    return LinkFact(
        word.name, index, "veth", mac, mtu, up=not word.down, group=word.group,
        master=word.master, hairpin=word.hairpin, isolated=word.isolated,
    )  # fmt: skip


Entries: TypeAlias = tuple[
    dict[tuple[str, IPAddress], str], dict[tuple[str, str], IPAddress | None], frozenset[tuple[str, str]]
]


def entries(words: Iterable[Word]) -> Entries:
    """Return the neighbours, the entries of VXLAN devices, and those of their bridges."""
    some = [word for word in words if isinstance(word, Neighbour | Forwarding)]
    neighbours = {(each.link, each.address): str(each.mac) for each in some if isinstance(each, Neighbour)}
    forwarding: dict[tuple[str, str], IPAddress | None] = {
        (each.link, str(each.mac)): each.vtep for each in some if isinstance(each, Forwarding)
    }
    return neighbours, forwarding, frozenset(forwarding)
