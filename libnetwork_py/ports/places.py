"""Where a port can be held: addresses of the host, and how they stand in each other's way.

An unspecified address (0.0.0.0, ::) conflicts with every address of its family, and the families do not know each other. A place is an
address, or ``None``: the unspecified addresses of both families, kept by one socket.

May import: types.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from ipaddress import IPv4Address, IPv6Address

from ..types import FAMILIES, Family, IPAddress, PortBinding

ANY: dict[Family, IPAddress] = {4: IPv4Address(0), 6: IPv6Address(0)}
_BOTH = frozenset(ANY.values())


def addresses_of(binding: PortBinding, families: Collection[Family]) -> list[IPAddress]:
    """Return the host addresses of a binding."""
    if binding.host_ip is not None:
        return [binding.host_ip]
    return [ANY[family] for family in FAMILIES if family in families]


def places_of(addresses: Sequence[IPAddress]) -> list[IPAddress | None]:
    """Return the addresses of a binding, with ``None`` for both of the unspecified ones."""
    return [None] if len(addresses) == len(_BOTH) else list(addresses)


def shared(held: IPAddress | None, place: IPAddress | None) -> IPAddress | None:
    """Return the held address that stands in the way of a place; ``None`` if none does."""
    if held is None:
        return ANY[6 if place is not None and place.version == 6 else 4]
    if place is None or held == place:
        return held
    return held if held.version == place.version and (held.is_unspecified or place.is_unspecified) else None
