"""The IPAM driver that gives nothing: for networks whose addresses are somebody else's business, a DHCP server's for example.

May import: ipam.api, types, errors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network
from typing import Final

from ..errors import InvalidParameter, NotFound, NotSupported
from ..types import EMPTY, Family, IPAddress, IPInterface, IPNetwork, MacAddress
from .api import Pool, PoolRequest

_EVERYTHING: Final[Mapping[Family, IPNetwork]] = {4: IPv4Network("0.0.0.0/0"), 6: IPv6Network("::/0")}
_POOLS: Final[Mapping[Family, Pool]] = {
    family: Pool(f"null/{subnet}", subnet) for family, subnet in _EVERYTHING.items()
}
_IDS: Final = frozenset(pool.id for pool in _POOLS.values())


class NullIpam:
    """One pool for each family, ``null/0.0.0.0/0`` and ``null/::/0``, given to all who ask, without any addresses in it."""

    def request_pool(self, request: PoolRequest) -> Pool:
        """Give out the family's pool, the same each time.

        Raises:
            InvalidParameter: a subnet or range was asked for.
        """
        pool = _POOLS[request.family]
        if request.subnet not in {None, pool.subnet} or request.ip_range is not None:
            raise InvalidParameter(
                f"the null IPAM driver takes no subnet or range, not {request.subnet or request.ip_range}: "
                "leave them out, or use the default IPAM driver",
                code="subnet_not_supported",
                subnet=str(request.subnet or request.ip_range),
            )
        return pool

    def release_pool(self, pool_id: str) -> None:
        """Take a pool back, which changes nothing.

        Raises:
            NotFound: not one of the two pools.
        """
        _check(pool_id)

    def request_address(
        self,
        pool_id: str,
        address: IPAddress | None = None,
        *,
        mac: MacAddress | None = None,
        options: Mapping[str, str] = EMPTY,
    ) -> IPInterface:
        """Refuse.

        Raises:
            NotSupported: always, for there are no addresses. NotFound: not one of the two pools.
        """
        _check(pool_id)
        raise NotSupported(
            "the null IPAM driver has no addresses: use the default IPAM driver for endpoints that need one",
            code="addresses_not_supported",
            pool_id=pool_id,
            address=None if address is None else str(address),
        )

    def release_address(self, pool_id: str, address: IPAddress) -> None:
        """Take an address back: none is ever out.

        Raises:
            NotFound: not one of the two pools.
        """
        _check(pool_id)

    def reserve(self, pool: Pool, request: PoolRequest, addresses: Sequence[IPAddress]) -> None:
        """Be told again what is out, which changes nothing.

        Raises:
            NotFound: not one of the two pools. NotSupported: an address is said to be out.
        """
        _check(pool.id)
        for address in addresses:
            self.request_address(pool.id, address)


def _check(pool_id: str) -> None:
    if pool_id not in _IDS:
        raise NotFound(
            f"the null IPAM driver has no pool {pool_id!r}: it has {' and '.join(sorted(_IDS))}",
            code="pool_not_found",
            pool_id=pool_id,
        )


__all__ = ["NullIpam"]
