"""The endpoints of other hosts, as this host is told of them.

Division of labour: of thousands of peers one changes at a time: what each of them needs is remembered and said again.

May import: drivers.api, desired, network, types.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache

from ...desired import Entry, Forwarding, Key, Neighbour
from ...network import Subnet
from ...types import IPAddress
from ..api import Peer

REMEMBERED = 1 << 17
"""Peers whose words are remembered, of all networks."""


def peer_words(namespace: str, subnets: Iterable[Subnet], peers: Iterable[Peer], vtep: IPAddress) -> Iterator[Entry]:
    """Say where every peer is.

    A peer hangs on the device of its first address's subnet; one whose host has only an address of the other family cannot be reached. Of
    two with one address or MAC address the one with the lower id counts, on every host.
    """
    devices = tuple((subnet.subnet, device(number)) for number, subnet in enumerate(subnets))
    said: set[Key] = set()
    for peer in sorted(peers, key=_id):
        if peer.vtep.version != vtep.version or not peer.addresses:
            continue
        first = peer.addresses[0].ip
        link = next((name for subnet, name in devices if first in subnet), "")
        for word in _words(namespace, link, peer) if link else ():
            if word.key not in said:
                said.add(word.key)
                yield word


def device(number: int) -> str:
    """Return the name of the VXLAN device of a subnet, in the network's namespace."""
    return f"vxlan{number}"


def _id(peer: Peer) -> str:
    return peer.endpoint_id


@lru_cache(maxsize=REMEMBERED)
def _words(namespace: str, link: str, peer: Peer) -> tuple[Entry, ...]:
    return (
        *(Neighbour(namespace, link, address.ip, peer.mac) for address in peer.addresses),
        Forwarding(namespace, link, peer.mac, peer.vtep),
    )
