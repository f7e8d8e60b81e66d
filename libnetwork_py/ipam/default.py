"""The default IPAM driver: predefined pools or the caller's, and the lowest free address.

Division of labour: `predefined` has the pools to choose from, `subnets` finds overlaps, `pools` knows the addresses of a subnet; what
may be asked, and which pools are out, is here.

Where it leaves the reference (moby's defaultipam): a request with an ``ip_range`` is checked for overlap like any other unless its
subnet is the very one that is out (moby#46756); and a family without a configured pool keeps its predefined ones.

May import: ipam.api, ipam.pools, ipam.predefined, ipam.subnets, labels, types, errors.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from ..errors import Conflict, InvalidParameter, NotFound
from ..labels import IPAM_GATEWAY, IPAM_REQUEST_ADDRESS_TYPE, IPAM_SERIAL
from ..types import EMPTY, Family, IPAddress, IPInterface, IPNetwork, MacAddress, Scope
from .api import Pool, PoolRequest
from .pools import OpenPool, OpenSubnet, PoolStatus
from .predefined import GLOBAL_POOLS, LOCAL_POOLS, PredefinedPool, unique_local_pool
from .subnets import SubnetTable

SPACES: Final[Mapping[Scope, str]] = {"local": "LocalDefault", "global": "GlobalDefault"}
"""The reference's names of the two address spaces; a pool's id begins with one."""

MACHINE_ID: Final = Path("/etc/machine-id")


class DefaultIpam:
    """Gives out subnets of predefined pools or the caller's own, and the lowest free address in them.

    A pool's id is ``space/subnet`` or ``space/subnet/range``, as in the reference. Local pools and global ones do not know of each other.

    Args:
        pools: Predefined pools of the local scope: a network and the prefix length of each subnet. A family without one has the
            reference's: 31 IPv4 subnets, and for IPv6 a unique local /48 (RFC 4193) in /64s.
        ula_seed: What the unique local /48 is derived from; by default the content of ``/etc/machine-id``, else the host's name.

    Raises:
        InvalidParameter: a pool cannot be cut into subnets of that prefix length.
    """

    def __init__(self, pools: Sequence[tuple[IPNetwork, int]] | None = None, *, ula_seed: bytes | None = None) -> None:
        given = [PredefinedPool(base, size) for base, size in pools or ()]
        ula = (unique_local_pool(_host_id() if ula_seed is None else ula_seed),)
        predefined: dict[tuple[Scope, Family], Sequence[PredefinedPool]] = {
            ("local", 4): [pool for pool in given if pool.base.version == 4] or LOCAL_POOLS,
            ("local", 6): [pool for pool in given if pool.base.version == 6] or ula,
            ("global", 4): GLOBAL_POOLS,
            ("global", 6): (),  # a prefix derived from one host is not the cluster's
        }
        self._tables = {
            (scope, family): SubnetTable(each, f"{scope} IPv{family}") for (scope, family), each in predefined.items()
        }
        self._subnets: dict[str, OpenSubnet] = {}
        self._pools: dict[str, OpenPool] = {}

    # Pools

    def request_pool(self, request: PoolRequest) -> Pool:
        """Give out a pool.

        With an ``ip_range`` several networks may share one subnet; addresses still are unique in the subnet. A range larger than
        the subnet counts as the whole of it. ``exclude`` matters only where IPAM chooses the subnet.

        Raises:
            InvalidParameter: families differ, the range lies outside, no predefined pool has that size, unknown option or scope.
            Conflict: the subnet overlaps one that is out, or the very range is out.
            Unavailable: all predefined subnets are in use or excluded.
        """
        _check(request)
        table = self._tables[request.scope, request.family]
        ip_range = None
        if request.subnet is None or request.subnet.network_address.is_unspecified:
            size = request.subnet.prefixlen if request.subnet is not None else 0
            subnet = table.choose(size or None, request.exclude)
        else:
            subnet, ip_range = request.subnet, _clamp(request.ip_range, request.subnet)
            self._check_free(table, request.scope, subnet, ip_range)
        pool = Pool(_pool_id(request.scope, subnet, ip_range), subnet, ip_range)
        self._open(pool, request.scope)
        return pool

    def release_pool(self, pool_id: str) -> None:
        """Take a pool back. The subnet and its addresses stay out until the last pool that shares it is back.

        Raises:
            NotFound: no such pool is out.
        """
        master = self._pool(pool_id).master
        del self._pools[pool_id]
        master.pools -= 1
        if not master.pools:
            master.table.remove(master.subnet)
            del self._subnets[master.key]

    def reserve(self, pool: Pool, request: PoolRequest, addresses: Sequence[IPAddress]) -> None:
        """Be told again, after a restart, what is out; telling twice changes nothing. Overlaps are not checked: what is recorded exists.

        Raises:
            InvalidParameter: an address lies outside the pool's subnet; then none of the others is noted.
        """
        found = self._pools.get(pool.id) or self._open(pool, request.scope)
        offsets = [found.master.offset(address) for address in addresses]
        for offset in offsets:
            found.master.taken.add(offset)

    def status(self, pool_id: str) -> PoolStatus:
        """Return how many addresses of the subnet are in use, and how many can still be chosen from the pool's range.

        Raises:
            NotFound: no such pool is out.
        """
        return self._pool(pool_id).status()

    # Addresses

    def request_address(
        self,
        pool_id: str,
        address: IPAddress | None = None,
        *,
        mac: MacAddress | None = None,
        options: Mapping[str, str] = EMPTY,
    ) -> IPInterface:
        """Give out ``address``, or the lowest free one of the pool's range, with the subnet's prefix length.

        An address that is asked for may lie outside the range, in the rest of the subnet. Never given out are the first and the last
        of an IPv4 subnet (not of a /31 or /32: RFC 3021) and the first of an IPv6 one (RFC 4291, 2.6.1; not of a /127: RFC 6164).

        Args:
            options: ``com.docker.network.ipam.serial=true``: the next after the one chosen last, starting over at the end, so that
                a released address is not given out again at once. A gateway (``RequestAddressType``) is the lowest even so.

        Raises:
            Conflict: ``address`` is in use or reserved. InvalidParameter: it lies outside the subnet.
            Unavailable: no address of the range is free. NotFound: no such pool is out.
        """
        pool = self._pool(pool_id)
        if address is not None:
            return pool.master.claim(address)
        gateway = options.get(IPAM_REQUEST_ADDRESS_TYPE) == IPAM_GATEWAY
        return pool.choose(serial=options.get(IPAM_SERIAL) == "true" and not gateway)

    def release_address(self, pool_id: str, address: IPAddress) -> None:
        """Take an address back; one that is not out, or never is given out, is no error.

        Raises:
            NotFound: no such pool is out. InvalidParameter: the address lies outside the subnet.
        """
        self._pool(pool_id).master.release(address)

    # Below

    def _pool(self, pool_id: str) -> OpenPool:
        try:
            return self._pools[pool_id]
        except KeyError:
            raise NotFound(
                f"no address pool {pool_id!r} is out: it was released, or never requested of this IPAM driver",
                code="pool_not_found", pool_id=pool_id,
            ) from None  # fmt: skip

    def _open(self, pool: Pool, scope: Scope) -> OpenPool:
        key = pool.id if pool.ip_range is None else _pool_id(scope, pool.subnet)
        master = self._subnets.get(key)
        if master is None:
            table = self._tables[scope, 4 if pool.subnet.version == 4 else 6]
            table.add(pool.subnet)
            master = self._subnets[key] = OpenSubnet(pool.subnet, key, table)
        master.pools += 1
        opened = self._pools[pool.id] = OpenPool(master, pool.ip_range)
        return opened

    def _check_free(self, table: SubnetTable, scope: Scope, subnet: IPNetwork, ip_range: IPNetwork | None) -> None:
        same = _pool_id(scope, subnet) in self._subnets
        if same and ip_range is not None and _pool_id(scope, subnet, ip_range) not in self._pools:
            return
        other = subnet if same else table.overlapping(subnet)
        if other is None:
            return
        if not same:
            text = f"subnet {subnet} overlaps {other}, which another network uses: choose another, or none and have one chosen"
        elif ip_range is None:
            text = (
                f"subnet {subnet} is in use by another network: choose another, or share it by an ip_range of your own"
            )
        else:
            text = f"range {ip_range} of {subnet} is in use by another network: choose another range"
        raise Conflict(text, code="pool_overlap", subnet=str(subnet), other=str(other))


def _pool_id(scope: Scope, subnet: IPNetwork, ip_range: IPNetwork | None = None) -> str:
    return f"{SPACES[scope]}/{subnet}" if ip_range is None else f"{SPACES[scope]}/{subnet}/{ip_range}"


def _clamp(ip_range: IPNetwork | None, subnet: IPNetwork) -> IPNetwork | None:
    """Return the range, no larger than the subnet.

    Raises:
        InvalidParameter: it lies outside.
    """
    if ip_range is None:
        return None
    if ip_range.version != subnet.version or not ip_range.overlaps(subnet):
        raise InvalidParameter(
            f"ip_range {ip_range} does not lie in subnet {subnet}: choose a range of it",
            code="range_outside_subnet", subnet=str(subnet), ip_range=str(ip_range),
        )  # fmt: skip
    return subnet if ip_range.prefixlen < subnet.prefixlen else ip_range


def _check(request: PoolRequest) -> None:
    """Check what can be said of a request without knowing what is out."""
    if request.scope not in SPACES:
        raise InvalidParameter(
            f"cannot find address space {request.scope!r}: it is one of {', '.join(SPACES)}",
            code="invalid_address_space", scope=request.scope,
        )  # fmt: skip
    subnet = request.subnet
    if subnet is not None and subnet.version != request.family:
        raise InvalidParameter(
            f"subnet {subnet} is not an IPv{request.family} network", code="family_mismatch", subnet=str(subnet)
        )
    if request.ip_range is not None and (subnet is None or subnet.network_address.is_unspecified):
        raise InvalidParameter(
            f"ip_range {request.ip_range} needs the subnet that it is a part of: give a subnet too",
            code="range_without_subnet", ip_range=str(request.ip_range),
        )  # fmt: skip
    _check_options(request.options)


def _check_options(options: Mapping[str, str]) -> None:
    for key, value in options.items():
        if key != IPAM_SERIAL:
            hint = (
                f"did you mean {IPAM_SERIAL!r}?"
                if difflib.get_close_matches(key, [IPAM_SERIAL])
                else f"it knows {IPAM_SERIAL!r}"
            )
            raise InvalidParameter(
                f"the default IPAM driver has no option {key!r}: {hint}", code="unknown_option", option=key
            )
        if value not in {"true", "false"}:
            raise InvalidParameter(
                f"option {key!r} is {value!r}: it must be 'true' or 'false'",
                code="invalid_option",
                option=key,
                value=value,
            )


def _host_id() -> bytes:
    """Return what tells this host from others: ``/etc/machine-id`` (machine-id(5)) once it is set, else the host's name."""
    try:
        text = MACHINE_ID.read_bytes().strip()
    except OSError:
        text = b""
    return text if re.fullmatch(rb"[0-9a-f]{32}", text) else os.uname().nodename.encode()


__all__ = ["DefaultIpam", "PoolStatus"]
