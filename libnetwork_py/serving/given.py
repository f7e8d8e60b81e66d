"""The IPAM of networks whose addresses somebody else chose: it gives what is asked for, whatever that is, and nothing else.

May import: ipam.api, types, errors.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence

from ..errors import InvalidParameter
from ..ipam.api import Pool, PoolRequest
from ..types import EMPTY, IPAddress, IPInterface, MacAddress, parse_network


class GivenIpam:
    """Keeps no account: who asks has done so. Its pools are named by their subnet."""

    def request_pool(self, request: PoolRequest) -> Pool:
        """Return the pool that is asked for.

        Raises:
            InvalidParameter: none was.
        """
        if request.subnet is None:
            raise InvalidParameter(f"the IPv{request.family} pool is missing", code="no_pool", family=request.family)
        return Pool(str(request.subnet), request.subnet, request.ip_range)

    def release_pool(self, pool_id: str) -> None:
        """Nothing was taken."""

    def request_address(
        self,
        pool_id: str,
        address: IPAddress | None = None,
        *,
        mac: MacAddress | None = None,
        options: Mapping[str, str] = EMPTY,
    ) -> IPInterface:
        """Return the address that is asked for.

        Raises:
            InvalidParameter: none was.
        """
        if address is None:
            raise InvalidParameter(
                f"an address of {pool_id} is missing",
                code="no_address",
                pool_id=pool_id,
            )
        return ipaddress.ip_interface(f"{address}/{parse_network(pool_id).prefixlen}")

    def release_address(self, pool_id: str, address: IPAddress) -> None:
        """Nothing was taken."""

    def reserve(self, pool: Pool, request: PoolRequest, addresses: Sequence[IPAddress]) -> None:
        """Nothing is remembered."""
