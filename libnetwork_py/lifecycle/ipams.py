"""IPAM drivers as operations need them: nobody can be kept from giving back.

An IPAM driver of ours cannot fail at that. Somebody else's, in another process perhaps, can be gone when a network is deleted or an
operation taken back: that becomes a warning, as in the reference.

May import: ipam.api, plugins, types, errors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ..errors import LibnetworkError
from ..ipam.api import IpamDriver, Pool, PoolRequest
from ..plugins.registry import Registry
from ..types import EMPTY, IPAddress, IPInterface, MacAddress

OURS = frozenset({"default", "null"})


class Ipams:
    """Gives IPAM drivers by name. ``warnings`` is where problems are written that stop nothing."""

    def __init__(self, registry: Registry[IpamDriver]) -> None:
        self._registry = registry
        self.warnings: list[str] = []

    def get(self, name: str) -> IpamDriver:
        """Return the driver of a name.

        Raises:
            LibnetworkError: as `Registry.get`.
        """
        return self._lenient(name, self._registry.get(name))

    def recall(self, name: str) -> IpamDriver | None:
        """Return the driver that a record names; ``None`` where it cannot be had any more."""
        found = self._registry.recall(name)
        if found is None:
            self.warnings.append(f"IPAM driver {name!r} is gone: it was not told what is out or free")
            return None
        return self._lenient(name, found)

    def _lenient(self, name: str, ipam: IpamDriver) -> IpamDriver:
        return ipam if name in OURS else _Lenient(name, ipam, self.warnings)


class _Lenient:
    """An IPAM driver whose taking back never fails."""

    def __init__(self, name: str, ipam: IpamDriver, warnings: list[str]) -> None:
        self._name, self._ipam, self._warnings = name, ipam, warnings

    def request_pool(self, request: PoolRequest) -> Pool:
        return self._ipam.request_pool(request)

    def release_pool(self, pool_id: str) -> None:
        self._try(f"pool {pool_id} was not given back", lambda: self._ipam.release_pool(pool_id))

    def request_address(
        self,
        pool_id: str,
        address: IPAddress | None = None,
        *,
        mac: MacAddress | None = None,
        options: Mapping[str, str] = EMPTY,
    ) -> IPInterface:
        return self._ipam.request_address(pool_id, address, mac=mac, options=options)

    def release_address(self, pool_id: str, address: IPAddress) -> None:
        self._try(f"{address} was not given back", lambda: self._ipam.release_address(pool_id, address))

    def reserve(self, pool: Pool, request: PoolRequest, addresses: Sequence[IPAddress]) -> None:
        self._try("it was not told what is out", lambda: self._ipam.reserve(pool, request, addresses))

    def _try(self, what: str, call: Callable[[], object]) -> None:
        try:
            call()
        except LibnetworkError as error:
            self._warnings.append(f"IPAM driver {self._name!r}: {what}: {error}")
