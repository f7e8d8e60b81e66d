"""A network: endpoints that reach each other directly. Its record and the handle that users hold.

Division of labour: `NetworkRecord` is what is stored; `Network` is a handle: an id and a narrow port (`NetworkOps`) that
`lifecycle/` implements.

May import: endpoint, sandbox, labels, types, errors.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen

from .types import EMPTY, Family, IPAddress, IPNetwork, Scope


@frozen
class Subnet:
    """One subnet of a network, as IPAM gave it.

    Attributes:
        pool_id: IPAM's name for it.
        gateway: Address of the network's own way out; ``None`` where there is none.
        gateway_reserved: The gateway was taken from the pool and goes back with it.
        ip_range: Sub-pool that endpoint addresses come from.
        aux_addresses: Names and addresses kept back.
        chosen: The subnet was IPAM's choice, not the caller's.
    """

    pool_id: str
    subnet: IPNetwork
    gateway: IPAddress | None = None
    gateway_reserved: bool = False
    ip_range: IPNetwork | None = None
    aux_addresses: Mapping[str, IPAddress] = EMPTY  # type: ignore[assignment]
    chosen: bool = False

    @property
    def family(self) -> Family:
        """4 or 6."""
        return 4 if self.subnet.version == 4 else 6


@frozen
class NetworkRecord:
    """What is stored of a network. ``created``: seconds since the epoch."""

    id: str
    name: str
    driver: str
    scope: Scope = "local"
    subnets: tuple[Subnet, ...] = ()
    ipv4: bool = True
    ipv6: bool = False
    internal: bool = False
    attachable: bool = False
    options: Mapping[str, str] = EMPTY
    labels: Mapping[str, str] = EMPTY
    ipam: str = "default"
    ipam_options: Mapping[str, str] = EMPTY
    config_only: bool = False
    config_from: str | None = None
    created: float = 0.0

    def gateway(self, family: Family) -> IPAddress | None:
        """The gateway of the first subnet of a family that has one."""
        return next((subnet.gateway for subnet in self.subnets if subnet.family == family and subnet.gateway), None)
