"""A plug-in of Docker's in another process that hands out subnets and addresses (libnetwork ``ipams/remote``).

What it gave out is its own business to remember; one that says ``RequiresRequestReplay`` is told again after a restart.

May import: ipam.api, plugins, labels, types, errors.
"""

from __future__ import annotations

import ipaddress
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen

from .. import labels
from ..errors import Conflict, LibnetworkError, Unavailable
from ..plugins.client import Answered, Subsystem
from ..types import EMPTY, IPAddress, IPInterface, MacAddress, parse_address, parse_network
from .api import Pool, PoolRequest

OFFERS = 256
"""Pools of its own choice that a plug-in may offer before one is free."""


@frozen
class Capabilities:
    """What a plug-in says of itself. ``macs``: it wants an endpoint's MAC address with each request; ``replay``: see the module."""

    macs: bool = False
    replay: bool = False


class RemoteIpam:
    """Asks a plug-in.

    Args:
        plugin: The plug-in's IPAM driver.
    """

    def __init__(self, plugin: Subsystem) -> None:
        self._plugin = plugin
        self._capabilities: Capabilities | None = None
        self._spaces: tuple[str, str] | None = None
        self._lock = threading.Lock()

    @property
    def capabilities(self) -> Capabilities:
        """What the plug-in says of itself, which it need not; asked once."""
        with self._lock:
            if self._capabilities is None:
                answer = self._plugin.call("GetCapabilities", optional=True)
                self._capabilities = Capabilities(
                    answer.flag("RequiresMACAddress"), answer.flag("RequiresRequestReplay")
                )
            return self._capabilities

    def spaces(self) -> tuple[str, str]:
        """Return its address spaces for local and for global pools; asked once."""
        if self._spaces is None:
            answer = self._plugin.call("GetDefaultAddressSpaces")
            self._spaces = answer.text("LocalDefaultAddressSpace"), answer.text("GlobalDefaultAddressSpace")
        return self._spaces

    def request_pool(self, request: PoolRequest) -> Pool:
        """Ask for a pool. One of the plug-in's own choice that overlaps what the host uses is refused, and another asked for.

        Raises:
            LibnetworkError: the plug-in refused, or answered nonsense. Conflict: it only has pools that are in use.
        """
        refused: list[str] = []
        try:
            while True:
                pool, _ = self._ask_pool(request)
                if request.subnet is not None or request.scope == "global" or not _overlaps(pool, request):
                    return pool
                refused.append(pool.id)
                if len(set(refused)) < len(refused) or len(refused) == OFFERS:
                    raise Conflict(
                        f"IPAM plug-in {self._plugin.name!r} only offers {pool.subnet}, which overlaps what the host uses already",
                        code="pool_overlaps", name=self._plugin.name,
                    )  # fmt: skip
        finally:  # held till now, so that it offers others
            for pool_id in dict.fromkeys(refused):
                self._release(pool_id)

    def _ask_pool(self, request: PoolRequest) -> tuple[Pool, Answered]:
        space = self.spaces()[request.scope == "global"]
        answer = self._plugin.call("RequestPool", {
            "AddressSpace": space,
            "Pool": str(request.subnet or ""),
            "SubPool": str(request.ip_range or ""),
            "Options": dict(request.options) or None,
            "V6": request.family == 6,
        })  # fmt: skip
        subnet = answer.parsed("Pool", parse_network)
        pool_id = answer.text("PoolID")
        if subnet is None or not pool_id or subnet.version != request.family:
            raise answer.nonsense(
                f"PoolID is {pool_id!r} and Pool is {str(subnet or '')!r}, for an IPv{request.family} pool"
            )
        gateway = answer.object("Data").parsed(labels.IPAM_GATEWAY, lambda text: ipaddress.ip_interface(text).ip)
        if gateway is not None and gateway not in subnet:
            raise answer.nonsense(f"{labels.IPAM_GATEWAY} is {gateway}, which is not in {subnet}")
        return Pool(pool_id, subnet, request.ip_range, gateway), answer

    def release_pool(self, pool_id: str) -> None:
        """Give a pool back."""
        self._plugin.call("ReleasePool", {"PoolID": pool_id})

    def _release(self, pool_id: str) -> None:
        try:
            self.release_pool(pool_id)
        except LibnetworkError:  # there is nobody to tell
            return

    def request_address(
        self,
        pool_id: str,
        address: IPAddress | None = None,
        *,
        mac: MacAddress | None = None,
        options: Mapping[str, str] = EMPTY,
    ) -> IPInterface:
        """Ask for an address.

        Raises:
            LibnetworkError: the plug-in refused, or answered nonsense. Unavailable: it had no address.
        """
        kind = labels.IPAM_REQUEST_ADDRESS_TYPE  # the pool's options are the pool's: the reference does not repeat them
        given = {kind: options[kind]} if kind in options else {}
        if mac is not None:
            given[labels.ENDPOINT_MACADDRESS] = str(mac)
        body: dict[str, Any] = {"PoolID": pool_id, "Address": str(address or ""), "Options": given or None}
        answer = self._plugin.call("RequestAddress", body)
        found = answer.parsed("Address", _with_length)
        if found is None:
            raise Unavailable(
                f"IPAM plug-in {self._plugin.name!r}: no address returned",
                code="addresses_exhausted",
                name=self._plugin.name,
            )
        if address is not None and found.ip != address:
            self.release_address(pool_id, found.ip)
            raise answer.nonsense(f"Address is {found} although {address} was asked for")
        return found

    def release_address(self, pool_id: str, address: IPAddress) -> None:
        """Give an address back."""
        self._plugin.call("ReleaseAddress", {"PoolID": pool_id, "Address": str(address)})

    def reserve(self, pool: Pool, request: PoolRequest, addresses: Sequence[IPAddress]) -> None:
        """Tell the plug-in again, after a restart, what is out, if it wants that."""
        if not self.capabilities.replay:
            return
        self._ask_pool(request)
        for address in addresses:
            self.request_address(pool.id, parse_address(address))


def _with_length(text: str) -> IPInterface:
    if "/" not in text:
        raise ValueError("it has no prefix length")
    return ipaddress.ip_interface(text)


def _overlaps(pool: Pool, request: PoolRequest) -> bool:
    return any(pool.subnet.version == each.version and pool.subnet.overlaps(each) for each in request.exclude)
