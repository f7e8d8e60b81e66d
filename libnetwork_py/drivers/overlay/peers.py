"""The endpoints of other hosts, as this host is told of them.

Division of labour: of thousands of peers one changes at a time, and all are described each time: what each of them needs is remembered,
with its keys, and said again.

May import: drivers.api, desired, network, types.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

from ...desired import Entry, Forwarding, Key, Neighbour
from ...network import Subnet
from ...types import IPAddress
from ..api import Peer

REMEMBERED, NETWORKS = 1 << 17, 1 << 10
"""Peers of a network whose words are remembered, and of how many networks."""

Said: TypeAlias = tuple[tuple[Key, Entry], ...]

_known: dict[str, tuple[tuple[Subnet, ...], dict[str, tuple[Peer, Said]]]] = {}
"""By namespace: the subnets of its network, and what was last said of each peer."""


def peer_words(namespace: str, subnets: Sequence[Subnet], peers: Iterable[Peer], vtep: IPAddress) -> Iterator[Entry]:
    """Say where every peer is.

    A peer hangs on the device of its first address's subnet; one whose host has only an address of the other family cannot be reached. Of
    two with one address or MAC address the one with the lower id counts, on every host.
    """
    known = _memory(namespace, tuple(subnets))
    said: set[Key] = set()
    for peer in sorted(peers, key=_id):
        if peer.vtep.version != vtep.version:
            continue
        held = known.get(peer.endpoint_id)
        if held is None or held[0] != peer:
            held = known[peer.endpoint_id] = peer, _say(namespace, subnets, peer)
        for key, word in held[1]:
            if key not in said:
                said.add(key)
                yield word


def device(number: int) -> str:
    """Return the name of the VXLAN device of a subnet, in the network's namespace."""
    return f"vxlan{number}"


def _memory(namespace: str, subnets: tuple[Subnet, ...]) -> dict[str, tuple[Peer, Said]]:
    held = _known.get(namespace)
    if held is None or held[0] != subnets or len(held[1]) > REMEMBERED:
        if len(_known) >= NETWORKS:
            _known.clear()
        held = _known[namespace] = subnets, {}
    return held[1]


def _say(namespace: str, subnets: Sequence[Subnet], peer: Peer) -> Said:
    first = peer.addresses[0].ip if peer.addresses else None
    links = (device(number) for number, each in enumerate(subnets) if first is not None and first in each.subnet)
    link = next(links, "")
    if not link:
        return ()
    words: list[Entry] = [Neighbour(namespace, link, address.ip, peer.mac) for address in peer.addresses]
    words.append(Forwarding(namespace, link, peer.mac, peer.vtep))
    return tuple((word.key, word) for word in words)


def _id(peer: Peer) -> str:
    return peer.endpoint_id
