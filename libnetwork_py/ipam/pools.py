"""A subnet that is out, and the pools that share it: the rules about the addresses of one subnet.

Division of labour: `addresses` remembers which numbers are taken; which of them are addresses, which are never given out, how the next one
is chosen and what is said when there is none is decided here. That subnets do not overlap is `subnets`' business.

May import: ipam.addresses, ipam.predefined, ipam.subnets, types, errors.
"""

from __future__ import annotations

from ipaddress import IPv4Interface, IPv6Interface
from typing import NamedTuple

from attrs import define, field

from ..errors import Conflict, InvalidParameter, Unavailable
from ..types import IPAddress, IPInterface, IPNetwork
from .addresses import AddressSet
from .predefined import span
from .subnets import SubnetTable


class PoolStatus(NamedTuple):
    """How full a pool is.

    Attributes:
        in_use: Addresses of the subnet that are given out or reserved (network, broadcast), its other pools' included.
        available: Free addresses that can still be chosen for this pool: those of its range, or of the subnet.
    """

    in_use: int
    available: int


@define(eq=False)
class OpenSubnet:
    """A subnet that is out. Its pools share one set of addresses, so even where their ranges overlap no address is given twice.

    Attributes:
        subnet: The network.
        key: Its id, as that of a pool without a range.
        table: Where it is noted as being out.
        pools: How many pools share it.
        reserved: Offsets of the addresses that are never given out.
    """

    subnet: IPNetwork
    key: str
    table: SubnetTable
    pools: int = 0
    reserved: tuple[int, ...] = field(init=False)
    _base: int = field(init=False)
    _taken: AddressSet | None = field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        self._base = int(self.subnet.network_address)
        self.reserved = _never_given(self.subnet)

    @property
    def taken(self) -> AddressSet:
        """The offsets that are taken; made when first needed, because a cluster may hold tens of thousands of idle subnets."""
        if self._taken is None:
            self._taken = AddressSet(self.subnet.max_prefixlen - self.subnet.prefixlen)
            for offset in self.reserved:
                self._taken.add(offset)
        return self._taken

    def offset(self, address: IPAddress) -> int:
        """Return an address's place in the subnet.

        Raises:
            InvalidParameter: it has none.
        """
        if address not in self.subnet:
            raise InvalidParameter(
                f"address {address} does not lie in {self.subnet}: ask for one of that subnet",
                code="outside_subnet", address=str(address), subnet=str(self.subnet),
            )  # fmt: skip
        return int(address) - self._base

    def interface(self, offset: int) -> IPInterface:
        """Return the address at a place, with the subnet's prefix length."""
        kind = IPv4Interface if self.subnet.version == 4 else IPv6Interface
        return kind((self._base + offset, self.subnet.prefixlen))

    def claim(self, address: IPAddress) -> IPInterface:
        """Take the address that was asked for.

        Raises:
            Conflict: it is taken, or never given out. InvalidParameter: it lies outside.
        """
        offset = self.offset(address)
        if offset in self.reserved:
            kind = "broadcast" if offset else "network" if self.subnet.version == 4 else "subnet-router anycast"
            raise Conflict(
                f"address {address} is the {kind} address of {self.subnet}: choose another",
                code="address_reserved", address=str(address), subnet=str(self.subnet),
            )  # fmt: skip
        if not self.taken.add(offset):
            raise Conflict(
                f"address {address} of {self.subnet} is in use: choose another, or ask for none and have one chosen",
                code="address_in_use", address=str(address), subnet=str(self.subnet),
            )  # fmt: skip
        return self.interface(offset)

    def release(self, address: IPAddress) -> None:
        """Free an address; one that is free, or never given out, stays what it is."""
        offset = self.offset(address)
        if offset not in self.reserved:
            self.taken.discard(offset)


@define(eq=False)
class OpenPool:
    """A pool that is out: a subnet, or a range of it that addresses are chosen from.

    Attributes:
        master: The subnet.
        ip_range: The range, if it is not the whole.
    """

    master: OpenSubnet
    ip_range: IPNetwork | None
    _low: int = field(init=False)
    _high: int = field(init=False)
    _cursor: int = field(init=False)

    def __attrs_post_init__(self) -> None:
        base, _ = span(self.master.subnet)
        low, high = span(self.ip_range or self.master.subnet)
        self._low, self._high = low - base, high - base
        self._cursor = self._low

    def choose(self, *, serial: bool) -> IPInterface:
        """Take the lowest free address of the range; or, in serial order, the next after the one chosen so last, starting over at the end.

        Raises:
            Unavailable: all are taken.
        """
        taken, low, high = self.master.taken, self._low, self._high
        found = taken.next_free(self._cursor, low, high) if serial else taken.first_free(low, high)
        if found is None:
            raise self._exhausted()
        taken.add(found)
        if serial:
            self._cursor = found + 1
        return self.master.interface(found)

    def status(self) -> PoolStatus:
        """Return how full the pool is."""
        taken = self.master.taken
        return PoolStatus(taken.count(), self._high - self._low + 1 - taken.count(self._low, self._high))

    def _exhausted(self) -> Unavailable:
        subnet = self.master.subnet
        if self.ip_range is None:
            where, larger = str(subnet), "use a network with a larger subnet"
        else:
            where, larger = f"range {self.ip_range} of {subnet}", "ask for one of the subnet's other addresses by name"
        return Unavailable(
            f"no address is free in {where}: delete endpoints that are not needed, or {larger}",
            code="addresses_exhausted", subnet=str(subnet), ip_range=self.ip_range and str(self.ip_range),
        )  # fmt: skip


def _never_given(subnet: IPNetwork) -> tuple[int, ...]:
    """Return the offsets of network and broadcast address; RFC 3021 and RFC 6164 give both of a link's two to its ends."""
    hosts = subnet.max_prefixlen - subnet.prefixlen
    if hosts <= 1:
        return ()
    return (0, (1 << hosts) - 1) if subnet.version == 4 else (0,)


__all__ = ["OpenPool", "OpenSubnet", "PoolStatus"]
