"""Subnets and addresses: what a network or an endpoint gets from IPAM, and how it goes back.

Division of labour: the rules about pools, gateways and requested addresses that hold for every IPAM driver are here; which
number is free is the IPAM driver's.

May import: ipam.api, kernel.api, plugins, lifecycle.state, lifecycle.work, network, endpoint, facts, labels, types, errors.
"""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType

from attrs import evolve, frozen

from .. import labels
from ..endpoint import EndpointRecord
from ..errors import InvalidParameter, LibnetworkError, Unavailable
from ..facts import Facts
from ..ipam.api import IpamDriver, Pool, PoolRequest
from ..kernel.api import Kernel
from ..network import NetworkRecord, Subnet
from ..plugins.registry import Registry
from ..types import EMPTY, FAMILIES, Family, IPAddress, IPInterface, IPNetwork, MacAddress
from .ipams import Ipams
from .state import Record, State
from .work import Work

GATEWAY = MappingProxyType({labels.IPAM_REQUEST_ADDRESS_TYPE: labels.IPAM_GATEWAY})
GUESSES = 8
"""How many addresses are tried at random before the lowest free one is taken."""
RESOLV_CONF = Path("/etc/resolv.conf")


@frozen
class AddressPlan:
    """What a caller asked about a network's addresses, parsed."""

    subnets: tuple[IPNetwork, ...]
    gateways: tuple[IPAddress, ...]
    ip_ranges: tuple[IPNetwork, ...]
    aux_addresses: Mapping[str, IPAddress]

    def check(self) -> None:
        """Check that the parts fit each other.

        Raises:
            InvalidParameter: subnets overlap, or a gateway, range or auxiliary address lies in none of them.
        """
        for index, subnet in enumerate(self.subnets):
            for other in self.subnets[:index]:
                if subnet.version == other.version and subnet.overlaps(other):
                    raise InvalidParameter(
                        f"subnets {other} and {subnet} of one network overlap",
                        code="subnets_overlap",
                        subnets=(other, subnet),
                    )
        for address in self.gateways:
            self._home(address, "gateway")
        for name, address in self.aux_addresses.items():
            self._home(address, f"auxiliary address {name!r}")
        for ip_range in self.ip_ranges:
            self._home(ip_range.network_address, "ip range", ip_range)
        homes = [self._home(address, "gateway") for address in self.gateways]
        if len(set(homes)) < len(homes):
            raise InvalidParameter("a subnet has two gateways: give one gateway per subnet", code="two_gateways")

    def _home(self, address: IPAddress, what: str, whole: IPNetwork | None = None) -> IPNetwork:
        for subnet in self.subnets:
            if address in subnet:
                if whole is not None and whole.prefixlen < subnet.prefixlen:
                    break
                return subnet
        subnets = ", ".join(map(str, self.subnets)) or "none was given"
        raise InvalidParameter(
            f"{what} {whole or address} lies in none of the network's subnets ({subnets})",
            code="outside_subnet", address=str(whole or address),
        )  # fmt: skip

    def inside(self, subnet: IPNetwork) -> tuple[IPAddress | None, IPNetwork | None, Mapping[str, IPAddress]]:
        """Return the gateway, range and auxiliary addresses of one subnet."""
        gateway = next((each for each in self.gateways if each in subnet), None)
        ip_range = next((each for each in self.ip_ranges if each.network_address in subnet), None)
        return gateway, ip_range, {name: each for name, each in self.aux_addresses.items() if each in subnet}


class Addressing:
    """Asks IPAM drivers, and tells them again what is out."""

    def __init__(self, ipams: Registry[IpamDriver], kernel: Kernel) -> None:
        self._ipams = Ipams(ipams)
        self._kernel = kernel
        self.spread = False
        """Whether free addresses of global networks are chosen at random: after another host took the same one at the same time."""

    def warn(self, warnings: list[str]) -> None:
        """Write what IPAM drivers could not be told into a list."""
        self._ipams.warnings = warnings

    # Networks

    def subnets(
        self, network: NetworkRecord, plan: AddressPlan, gateways: Sequence[Family], facts: Facts, work: Work
    ) -> tuple[Subnet, ...]:
        """Return the subnets of a new network, IPv4 first: those asked for, and one of IPAM's choice for a family without.

        Args:
            network: Its record, so far.
            plan: What was asked.
            gateways: The families for which the network needs a gateway address.
            facts: The host, whose routes are avoided where IPAM chooses.
            work: Gives back what was got if the operation fails.
        """
        plan.check()
        ipam = self._ipams.get(network.ipam)
        exclude = tuple(_in_use(facts))
        found: list[Subnet] = []
        wanted: Mapping[Family, bool] = {4: network.ipv4, 6: network.ipv6}
        for family in FAMILIES:
            given: list[IPNetwork | None] = [each for each in plan.subnets if each.version == family]
            for subnet in given or ([None] if wanted[family] else []):
                request = _request(network, family, subnet, plan, exclude)
                found.append(self._subnet(ipam, request, plan, family in gateways, work))
        return tuple(found)

    def _subnet(
        self, ipam: IpamDriver, request: PoolRequest, plan: AddressPlan, gateway_wanted: bool, work: Work
    ) -> Subnet:
        gateway, _, wanted = plan.inside(request.subnet) if request.subnet is not None else (None, None, {})
        pool = ipam.request_pool(request)
        work.on_undo(lambda: ipam.release_pool(pool.id))

        def take(address: IPAddress | None, options: Mapping[str, str] = EMPTY) -> IPAddress:
            got = ipam.request_address(pool.id, address, options=options).ip
            work.on_undo(lambda: ipam.release_address(pool.id, got))
            return got

        reserved = bool(gateway)
        if gateway:
            take(gateway, GATEWAY)
        aux = {name: take(address) for name, address in wanted.items()}
        if gateway is None and gateway_wanted and pool.subnet.prefixlen:
            gateway, reserved = (pool.gateway, False) if pool.gateway else (take(None, GATEWAY), True)
        return Subnet(
            pool.id, pool.subnet, gateway, reserved, pool.ip_range, MappingProxyType(aux), request.subnet is None
        )

    def give_back_network(self, network: NetworkRecord, work: Work | None = None) -> None:
        """Give back a network's addresses and pools; ``work`` takes them again if the operation fails."""
        if network.config_only or not network.subnets:
            return
        if work is not None:
            work.on_undo(lambda: self._reserve_network(network))
        ipam = self._ipams.recall(network.ipam)
        if ipam is None:
            return
        for subnet in network.subnets:
            for address in _reserved(subnet):
                ipam.release_address(subnet.pool_id, address)
            ipam.release_pool(subnet.pool_id)

    # Endpoints

    def addresses(
        self, network: NetworkRecord, wanted: Sequence[IPAddress], mac: MacAddress | None, work: Work
    ) -> tuple[IPInterface, ...]:
        """Return the addresses of a new endpoint, IPv4 first: those asked for, and a free one for a family without."""
        homes = [(_home(network, address), address) for address in wanted]
        if len(set(wanted)) < len(wanted):
            raise InvalidParameter("the same address was asked for twice", code="duplicate_address")
        found: list[IPInterface] = []
        for family in network.families:
            named = [(subnet, address) for subnet, address in homes if subnet.family == family]
            found += [self._take(network, subnet, address, mac, work) for subnet, address in named]
            if not named and not _elsewhere(network, family):
                found.append(self._any(network, family, mac, work))
        return tuple(found)

    def _any(self, network: NetworkRecord, family: Family, mac: MacAddress | None, work: Work) -> IPInterface:
        subnets = [subnet for subnet in network.subnets if subnet.family == family]
        for subnet in subnets:
            if self.spread and network.host and (got := self._somewhere(network, subnet, mac, work)) is not None:
                return got
            try:
                return self._take(network, subnet, None, mac, work)
            except Unavailable as error:  # only a full subnet sends us to the next one
                if error.code.startswith("plugin_"):
                    raise
        where = ", ".join(str(each.ip_range or each.subnet) for each in subnets)
        raise Unavailable(
            f"no IPv{family} address is free in network {network.name!r} ({where}): delete endpoints or use a larger subnet",
            code="addresses_exhausted", network_id=network.id, family=family,
        )  # fmt: skip

    def _somewhere(
        self, network: NetworkRecord, subnet: Subnet, mac: MacAddress | None, work: Work
    ) -> IPInterface | None:
        """Return a free address at a random place; ``None`` if several were taken."""
        pool = subnet.ip_range or subnet.subnet
        for _ in range(GUESSES):
            guess = pool.network_address + random.randrange(pool.num_addresses)  # noqa: S311 (no secret)
            with suppress(LibnetworkError):
                return self._take(network, subnet, guess, mac, work)
        return None

    def _take(
        self, network: NetworkRecord, subnet: Subnet, address: IPAddress | None, mac: MacAddress | None, work: Work
    ) -> IPInterface:
        ipam = self._ipams.get(network.ipam)
        got = ipam.request_address(subnet.pool_id, address, mac=mac, options=network.ipam_options)
        work.on_undo(lambda: ipam.release_address(subnet.pool_id, got.ip))
        return got

    def give_back_endpoint(self, network: NetworkRecord, endpoint: EndpointRecord, work: Work | None = None) -> None:
        """Give back an endpoint's addresses; ``work`` takes them again if the operation fails."""
        if work is not None:
            work.on_undo(lambda: self._reserve_endpoint(network, endpoint))
        ipam = self._ipams.recall(network.ipam) if endpoint.addresses else None
        if ipam is None:
            return
        for interface in endpoint.addresses:
            ipam.release_address(_home(network, interface.ip).pool_id, interface.ip)

    # Records of other processes and earlier runs

    def learn(self, before: Record | None, after: Record | None, state: State) -> None:
        """Tell IPAM what a record that somebody else wrote, or deleted, says of addresses."""
        if isinstance(after, NetworkRecord) and before is None:
            self._reserve_network(after)
        elif isinstance(after, EndpointRecord) and before is None:
            self._reserve_endpoint(state.networks[after.network_id], after)
        elif after is None and isinstance(before, NetworkRecord):
            with suppress(LibnetworkError):
                self.give_back_network(before)
        elif after is None and isinstance(before, EndpointRecord):
            found = state.networks.get(before.network_id)
            if found is not None:
                self.give_back_endpoint(found, before)

    def _reserve_network(self, network: NetworkRecord) -> None:
        if network.config_only:
            return
        for subnet in network.subnets:
            self._reserve(network, subnet, list(_reserved(subnet)))

    def _reserve_endpoint(self, network: NetworkRecord, endpoint: EndpointRecord) -> None:
        for interface in endpoint.addresses:
            home = _home(network, interface.ip)
            if home.subnet.prefixlen:  # else it is not IPAM's
                self._reserve(network, home, [interface.ip])

    def _reserve(self, network: NetworkRecord, subnet: Subnet, addresses: Sequence[IPAddress]) -> None:
        request = PoolRequest(
            subnet.family, network.scope, subnet.subnet, subnet.ip_range, options=network.ipam_options
        )
        pool = Pool(subnet.pool_id, subnet.subnet, subnet.ip_range)
        ipam = self._ipams.recall(network.ipam)
        if ipam is not None:
            ipam.reserve(pool, request, addresses)


def _request(
    network: NetworkRecord,
    family: Family,
    subnet: IPNetwork | None,
    plan: AddressPlan,
    exclude: tuple[IPNetwork, ...],
) -> PoolRequest:
    ip_range = plan.inside(subnet)[1] if subnet is not None else None
    return PoolRequest(family, network.scope, subnet, ip_range, exclude, network.ipam_options)


def _reserved(subnet: Subnet) -> Iterator[IPAddress]:
    if subnet.gateway and subnet.gateway_reserved:
        yield subnet.gateway
    yield from subnet.aux_addresses.values()


def _elsewhere(network: NetworkRecord, family: Family) -> bool:
    """Whether a family's addresses are not IPAM's: a pool of everything has none (the null IPAM's)."""
    return all(subnet.subnet.prefixlen == 0 for subnet in network.subnets if subnet.family == family)


def _home(network: NetworkRecord, address: IPAddress) -> Subnet:
    for subnet in network.subnets:
        if address in subnet.subnet:
            return subnet
    subnets = ", ".join(str(each.subnet) for each in network.subnets) or "it has none"
    raise InvalidParameter(
        f"invalid address {address}: it does not belong to any of network {network.name!r}'s subnets ({subnets})",
        code="outside_subnet", address=str(address), network_id=network.id,
    )  # fmt: skip


def _in_use(facts: Facts) -> Iterator[IPNetwork]:
    """What a subnet of our own choice must avoid: what the host is connected to, and its name servers.

    Not what it reaches through a gateway: a VPN's 0.0.0.0/1 would leave nothing.
    """
    for route in facts.host.routes:
        if route.gateway is None and route.destination.prefixlen > 0:
            yield route.destination
    try:
        lines = RESOLV_CONF.read_text(errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        words = line.split()
        if words[:1] == ["nameserver"] and len(words) > 1:
            with suppress(ValueError):
                yield ipaddress.ip_network(words[1].partition("%")[0])


def with_subnets(network: NetworkRecord, subnets: tuple[Subnet, ...]) -> NetworkRecord:
    """Return the record with its subnets, and the families that they give it."""
    families = {subnet.family for subnet in subnets}
    return evolve(network, subnets=subnets, ipv4=4 in families, ipv6=6 in families)
