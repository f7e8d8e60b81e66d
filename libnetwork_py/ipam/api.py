"""The IPAM contract: who hands out subnets and addresses.

Division of labour: an IPAM driver knows pools and addresses and nothing of networks, endpoints or the kernel. It keeps no files:
what it gave out is in the network and endpoint records, and is said to it again (`reserve`) when a controller starts.

May import: types, errors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from attrs import frozen

from ..types import EMPTY, Family, IPAddress, IPInterface, IPNetwork, MacAddress, Scope


@frozen
class PoolRequest:
    """A pool that is wanted.

    Attributes:
        family: 4 or 6.
        scope: ``local`` pools come from the host's predefined ones, ``global`` from the cluster's.
        subnet: The pool; ``None`` for any predefined one. ``0.0.0.0/N`` or ``::/N``: any of that size.
        ip_range: Sub-pool that addresses are taken from.
        exclude: Networks that a pool of IPAM's own choice must not overlap: what the host routes already, its name servers.
        options: The network's ``ipam_options``.
    """

    family: Family
    scope: Scope = "local"
    subnet: IPNetwork | None = None
    ip_range: IPNetwork | None = None
    exclude: Sequence[IPNetwork] = ()
    options: Mapping[str, str] = EMPTY


@frozen
class Pool:
    """A pool that was given out. ``gateway``: an address IPAM suggests as the gateway, not reserved."""

    id: str
    subnet: IPNetwork
    ip_range: IPNetwork | None = None
    gateway: IPAddress | None = None


@runtime_checkable
class IpamDriver(Protocol):
    """Hands out pools and addresses. Called under the controller's lock, so never by two threads at once."""

    def request_pool(self, request: PoolRequest) -> Pool:
        """Give out a pool.

        Raises:
            InvalidParameter: malformed or contradictory request. Conflict: overlaps a pool given out. Unavailable: none is left.
        """
        ...

    def release_pool(self, pool_id: str) -> None:
        """Take a pool back.

        Raises:
            NotFound: no such pool is out.
        """
        ...

    def request_address(
        self,
        pool_id: str,
        address: IPAddress | None = None,
        *,
        mac: MacAddress | None = None,
        options: Mapping[str, str] = EMPTY,
    ) -> IPInterface:
        """Give out ``address``, or one of IPAM's choice, with the pool's prefix length.

        Raises:
            Conflict: in use. InvalidParameter: outside the pool. Unavailable: none is left. NotFound: no such pool.
        """
        ...

    def release_address(self, pool_id: str, address: IPAddress) -> None:
        """Take an address back; one that is not out is no error."""
        ...

    def reserve(self, pool: Pool, request: PoolRequest, addresses: Sequence[IPAddress]) -> None:
        """Be told again, after a restart, what is out: a pool and its addresses. Telling twice changes nothing."""
        ...
