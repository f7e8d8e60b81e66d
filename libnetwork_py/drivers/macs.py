"""MAC addresses that follow from what has them: the same after a restart, and on every host.

May import: endpoint, types.
"""

from __future__ import annotations

import hashlib
from ipaddress import IPv4Interface

from ..endpoint import EndpointRecord
from ..types import MacAddress


def derived_mac(endpoint: EndpointRecord) -> MacAddress:
    """Return 02:42 and the octets of the IPv4 address, so that an address moves with its MAC; without one, from the id."""
    for interface in endpoint.addresses:
        if isinstance(interface, IPv4Interface):
            return MacAddress(b"\x02\x42" + interface.ip.packed)
    return hashed_mac(endpoint.id)


def hashed_mac(text: str) -> MacAddress:
    """Return a locally administered address made of a text."""
    return MacAddress(b"\x02" + hashlib.blake2s(text.encode(), digest_size=5).digest())
