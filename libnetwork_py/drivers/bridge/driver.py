"""Links, addresses and sysctls of a bridge network and of an endpoint on it.

May import: drivers.api, drivers.bridge.options, firewall, desired, facts, network, endpoint, sandbox, types, errors.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType

from attrs import evolve

from ... import labels
from ...desired import HOST, Address, Bridge, Description, Sysctl, Veth, Word
from ...endpoint import EndpointRecord
from ...errors import Conflict, Forbidden, InvalidParameter
from ...facts import Facts
from ...firewall.elements import network_elements, port_elements
from ...network import NetworkRecord, Subnet
from ...sandbox import SandboxRecord
from ...types import EMPTY, FAMILIES, INTERFACE_NAME_MAX, Family, IPAddress, MacAddress, PortBinding
from ..api import Attachment, Capability, Context, Driver, Surroundings
from ..options import Options
from .options import MTU_MAX, MTU_MIN, OPTIONS, BridgeOptions, read

MTU_MIN_IPV6 = 1280

ADOPTED, ADDRESSES = "bridge.adopted", "bridge.addresses"
"""What is remembered of a bridge that was there before the network: its name, and the addresses that it had."""

DEFAULT_GATEWAYS: Mapping[Family, str] = {4: labels.DEFAULT_GATEWAY_IPV4, 6: labels.DEFAULT_GATEWAY_IPV6}

FORWARDING: dict[Family, str] = {4: "ipv4.ip_forward", 6: "ipv6.conf.all.forwarding"}
"""What makes the host pass packets on between its interfaces."""


class BridgeDriver(Driver):
    """A Linux bridge per network; sandboxes hang on it by veth pairs and reach the outside through the host."""

    capability = Capability(ports=True)
    options = OPTIONS

    # Checks

    def check_network(self, network: NetworkRecord, surroundings: Surroundings) -> NetworkRecord:
        """Check options and subnets, and that the bridge's name is free.

        Raises:
            InvalidParameter: unknown option or bad value, or no family. Forbidden: two subnets of one family.
            Conflict: the bridge's name is another link's, or a subnet overlaps another network's.
        """
        options = read(network.options, network.id)
        _check_mtu(options, network)
        if not (network.ipv4 or network.ipv6):
            raise InvalidParameter("IPv4 or IPv6 must be enabled", code="no_family")
        _check_modes(options, network)
        _check_subnets(network, surroundings.networks)
        _check_gateways(network)
        _check_bridge_name(options.name, network, surroundings)
        return evolve(network, decided=_adopted(options.name, network, surroundings.facts))

    def check_endpoint(self, network: NetworkRecord, endpoint: EndpointRecord) -> EndpointRecord:
        """Give the endpoint its MAC address, and its ports the network's host address.

        Raises:
            InvalidParameter: unknown option, or a port bound to an address of a family that the endpoint lacks.
        """
        Options("bridge", OPTIONS, endpoint.options, where="endpoint")
        host = read(network.options, network.id).host_binding
        ports = tuple(evolve(port, host_ip=host) if host and port.host_ip is None else port for port in endpoint.ports)
        for port in ports:
            _check_port(port, endpoint)
        return evolve(endpoint, mac=endpoint.mac or derived_mac(endpoint), ports=ports)

    # Descriptions

    def describe_network(self, network: NetworkRecord, context: Context) -> Description:
        """Return the bridge, the gateway's addresses on it, the host's forwarding, and what the packet filter must hold."""
        options = read(network.options, network.id)
        bridge = Bridge(HOST, options.name, _bridge_mac(network.id), options.mtu, group(network))
        return (
            context.table,
            *(() if ADOPTED in network.decided else (bridge,)),
            *_sysctls(network, options, context),
            *_gateway_addresses(network, options),
            *network_elements(
                context.table,
                options.name,
                [subnet.subnet for subnet in network.subnets],
                internal=network.internal,
                icc=options.icc,
                masquerade=options.masquerade,
                modes=options.modes,
                snat=options.snat,
                trusted=options.trusted,
            ),
        )

    def describe_endpoint(
        self, network: NetworkRecord, endpoint: EndpointRecord, sandbox: SandboxRecord, context: Context
    ) -> Attachment:
        """Return the veth pair and the published ports."""
        options = read(network.options, network.id)
        veth = Veth(
            HOST,
            f"veth{endpoint.id[: INTERFACE_NAME_MAX - 4]}",
            sandbox.key,
            endpoint.ifname,
            endpoint.mac or derived_mac(endpoint),
            master=options.name,
            mtu=options.mtu,
            group=group(network),
            hairpin=True,
            isolated=not options.icc,
        )
        return Attachment((veth, *_ports(network, endpoint, context)), _gateways(network, options))

    def interface_prefix(self, network: NetworkRecord) -> str:
        """Return the option's prefix."""
        return read(network.options, network.id).prefix

    def gateway_families(self, network: NetworkRecord) -> tuple[Family, ...]:
        """Return the families whose gateway the bridge is: not those that are isolated, nor an inhibited one of an internal network."""
        options = read(network.options, network.id)
        without = {family for family in FAMILIES if options.modes[family] == "isolated"}
        if options.inhibit_ipv4 and network.internal:
            without.add(4)
        return tuple(family for family in FAMILIES if family not in without)


def group(network: NetworkRecord) -> int:
    """Return the number that marks a network's links as its own (``IFLA_GROUP``; 0 is everybody's)."""
    return int(network.id[:7], 16) | 1


def derived_mac(endpoint: EndpointRecord) -> MacAddress:
    """Return 02:42 and the octets of the IPv4 address, so that an address moves with its MAC; without one, from the id."""
    for interface in endpoint.addresses:
        if isinstance(interface, ipaddress.IPv4Interface):
            return MacAddress(b"\x02\x42" + interface.ip.packed)
    return _hashed_mac(endpoint.id)


def _bridge_mac(network_id: str) -> MacAddress:
    return _hashed_mac(f"bridge {network_id}")


def _hashed_mac(text: str) -> MacAddress:
    return MacAddress(b"\x02" + hashlib.blake2s(text.encode(), digest_size=5).digest())


def _gateways(network: NetworkRecord, options: BridgeOptions) -> tuple[IPAddress, ...]:
    """What the network offers sandboxes as a way out: nothing, where it has none."""
    if network.internal:
        return ()
    found = (_gateway(subnet) for subnet in network.subnets if options.modes[subnet.family] != "isolated")
    return tuple(address for address in found if address)


def _gateway(subnet: Subnet) -> IPAddress | None:
    """The gateway of a subnet: the auxiliary address of that name, else the bridge's."""
    return subnet.aux_addresses.get(DEFAULT_GATEWAYS[subnet.family]) or subnet.gateway


def _gateway_addresses(network: NetworkRecord, options: BridgeOptions) -> Iterator[Word]:
    for subnet in network.subnets:
        if subnet.gateway and _has_address(subnet.family, options):
            address = ipaddress.ip_interface(f"{subnet.gateway}/{subnet.subnet.prefixlen}")
            if str(address) not in network.decided.get(ADDRESSES, "").split():
                yield Address(HOST, options.name, address)


def _has_address(family: Family, options: BridgeOptions) -> bool:
    return options.modes[family] != "isolated" and not (family == 4 and options.inhibit_ipv4)


def _sysctls(network: NetworkRecord, options: BridgeOptions, context: Context) -> Iterator[Word]:
    bridge = options.name
    ipv6 = any(subnet.family == 6 for subnet in network.subnets) and options.modes[6] != "isolated"
    yield Sysctl(HOST, "ipv6.conf.{}.disable_ipv6", "0" if ipv6 else "1", link=bridge)
    if ipv6:
        yield Sysctl(HOST, "ipv6.conf.{}.accept_ra", "0", link=bridge)
    if network.internal:
        return
    # A published port reached through 127.0.0.1 leaves by the bridge with a loopback source before it is masqueraded.
    yield Sysctl(HOST, "ipv4.conf.{}.route_localnet", "1", link=bridge)
    for family in dict.fromkeys(subnet.family for subnet in network.subnets):
        name = FORWARDING[family]
        yield Sysctl(HOST, name, "1", restore=context.sysctls.get(name))


def _ports(network: NetworkRecord, endpoint: EndpointRecord, context: Context) -> Iterator[Word]:
    modes = read(network.options, network.id).modes
    others = (other for other in context.networks if other.id != network.id)
    shared = [subnet.subnet for other in others for subnet in other.subnets]
    for binding in endpoint.bindings:
        for address in _published(endpoint):
            mode = modes[4 if address.version == 4 else 6]
            yield from port_elements(context.table, binding, address, mode=mode, shared=shared)


def _published(endpoint: EndpointRecord) -> Iterable[IPAddress]:
    """The first address of each family: a host port leads to one."""
    first: dict[int, IPAddress] = {}
    for interface in endpoint.addresses:
        first.setdefault(interface.version, interface.ip)
    return first.values()


def _check_mtu(options: BridgeOptions, network: NetworkRecord) -> None:
    low = MTU_MIN_IPV6 if network.ipv6 else MTU_MIN
    if options.mtu and not low <= options.mtu <= MTU_MAX:
        raise InvalidParameter(
            f"MTU {options.mtu} is not between {low} and {MTU_MAX}{' (IPv6 needs 1280)' if network.ipv6 else ''}",
            code="invalid_mtu", mtu=options.mtu,
        )  # fmt: skip


def _check_modes(options: BridgeOptions, network: NetworkRecord) -> None:
    for family in FAMILIES:
        if options.modes[family] == "isolated" and not network.internal:
            raise InvalidParameter(
                "gateway mode 'isolated' can only be used for an internal network: give internal=True",
                code="isolated_not_internal",
            )


def _check_gateways(network: NetworkRecord) -> None:
    for subnet in network.subnets:
        for family, name in DEFAULT_GATEWAYS.items():
            address = subnet.aux_addresses.get(name)
            if address and network.internal:
                raise InvalidParameter(f"{name} {address}: an internal network has no way out", code="internal_gateway")
            if address and family != subnet.family:
                raise InvalidParameter(
                    f"{name} {address} is no IPv{family} address", code="invalid_gateway", address=str(address)
                )


def _adopted(name: str, network: NetworkRecord, facts: Facts) -> Mapping[str, str]:
    """Return what to remember of a bridge that somebody else made: it is used as it is, and stays when the network goes."""
    if network.decided:
        return network.decided
    link = facts.host.links.get(name)
    if link is None:
        return EMPTY
    addresses = sorted(str(address) for device, address in facts.host.addresses if device == name)
    return MappingProxyType({ADOPTED: name, ADDRESSES: " ".join(addresses)})


def _check_subnets(network: NetworkRecord, others: Iterable[NetworkRecord]) -> None:
    families = [subnet.family for subnet in network.subnets]
    for family in (4, 6):
        if families.count(family) > 1:
            raise Forbidden(
                f"a bridge network has at most one IPv{family} subnet: {families.count(family)} were given",
                code="too_many_subnets",
            )
    for other in others:
        for theirs in other.subnets:
            for ours in network.subnets:
                if ours.family == theirs.family and ours.subnet.overlaps(theirs.subnet):
                    raise Conflict(
                        f"subnet {ours.subnet} overlaps {theirs.subnet} of network {other.name!r}",
                        code="subnet_overlap", network_id=other.id, subnet=ours.subnet,
                    )  # fmt: skip


def _check_bridge_name(name: str, network: NetworkRecord, surroundings: Surroundings) -> None:
    for other in surroundings.networks:
        if other.id != network.id and read(other.options, other.id).name == name:
            raise Conflict(
                f"bridge {name!r} is network {other.name!r}'s: choose another name", code="bridge_taken", name=name
            )
    _check_link(name, surroundings.facts)


def _check_link(name: str, facts: Facts) -> None:
    link = facts.host.links.get(name)
    if link is None or link.kind == "bridge":
        return
    what = f"a {link.kind} link" if link.kind else "a physical interface"
    raise Conflict(
        f"bridge name {name!r} is taken: it is {what} of the host; choose another name",
        code="link_exists",
        name=name,
        kind=link.kind,
    )


def _check_port(port: PortBinding, endpoint: EndpointRecord) -> None:
    families = {address.version for address in endpoint.addresses}
    if port.family and port.family not in families:
        raise InvalidParameter(
            f"port {port} is bound to an IPv{port.family} address of the host and endpoint {endpoint.name!r} has none of that family",
            code="port_family", binding=str(port),
        )  # fmt: skip
