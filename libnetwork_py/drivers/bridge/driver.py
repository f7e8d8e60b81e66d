"""Links, addresses and sysctls of a bridge network and of an endpoint on it.

May import: drivers.api, drivers.macs, drivers.bridge (checks, leaves, options, relays), firewall, desired, facts, network, endpoint,
sandbox, types, errors.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence

from attrs import evolve

from ...desired import HOST, Address, Bridge, Description, Element, Sysctl, Veth, Word
from ...endpoint import EndpointRecord
from ...firewall.elements import apart, network_elements, port_elements
from ...firewall.table import GROUP_MARK
from ...network import NetworkRecord, Subnet
from ...sandbox import SandboxRecord
from ...types import FAMILIES, INTERFACE_NAME_MAX, Family, IPAddress, IPNetwork, MacAddress
from ..api import Attachment, Capability, Context, Driver, Option, Surroundings
from ..macs import derived_mac, hashed_mac
from ..options import Options
from .checks import ADDRESSES, ADOPTED, DEFAULT_GATEWAYS, MTU, SETTING, adoption, check, flagged
from .leaves import Sizes, bridge_of, group_bits, leaf_words
from .options import MTU_MIN_IPV6, OPTIONS, BridgeOptions, read
from .relays import check_port, published, relay_words

EVERYWHERE: Mapping[Family, IPNetwork] = {4: ipaddress.IPv4Network("0.0.0.0/0"), 6: ipaddress.IPv6Network("::/0")}
"""The clients whose source is changed where the endpoint is not its sandbox's way out: it would answer them by another network."""

FORWARDING: dict[Family, str] = {4: "ipv4.ip_forward", 6: "ipv6.conf.all.forwarding"}
"""What makes the host pass packets on between its interfaces."""


class BridgeDriver(Driver):
    """A Linux bridge per network; sandboxes hang on it by veth pairs and reach the outside through the host.

    Args:
        sizes: How many ports a bridge takes.
    """

    capability = Capability(ports=True)
    options: Sequence[Option] = OPTIONS

    def __init__(self, sizes: Sizes = Sizes()) -> None:  # noqa: B008 (frozen)
        self._sizes = sizes

    # Checks

    def check_network(self, network: NetworkRecord, surroundings: Surroundings) -> NetworkRecord:
        """Check options and subnets, and that the bridge's name is free.

        Raises:
            InvalidParameter: unknown option or bad value, or no family. Forbidden: two subnets of one family.
            Conflict: the bridge's name is another link's, or a subnet overlaps another network's. NotSupported: see `checks`.
        """
        options = read(network.options, network.id)
        network = flagged(network, options)
        check(network, options, surroundings)
        return evolve(network, decided=adoption(options.name, network, surroundings))

    def check_endpoint(self, network: NetworkRecord, endpoint: EndpointRecord) -> EndpointRecord:
        """Give the endpoint its MAC address, and its ports the network's host address.

        Raises:
            InvalidParameter: unknown option, or a port bound to an address of a family that the endpoint lacks.
        """
        if endpoint.options:
            Options("bridge", OPTIONS, endpoint.options, where="endpoint")
        options = read(network.options, network.id)
        host = options.host_binding
        ports = endpoint.ports
        if host:
            ports = tuple(evolve(port, host_ip=host) if port.host_ip is None else port for port in ports)
        for port in ports:
            check_port(port, endpoint, options)
        if endpoint.mac and ports is endpoint.ports:
            return endpoint
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
                closed=_closed(network, context),
            ),
            *_leaves(network, options, context),
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
            master=bridge_of(network.id, options.name, endpoint.segment),
            mtu=options.mtu or int(network.decided.get(MTU, 0)),
            group=group(network),
            hairpin=True,
            isolated=not options.icc,
        )
        return Attachment((veth, *_ports(network, endpoint, context)), _gateways(network, options))

    def segment(self, network: NetworkRecord, taken: Mapping[int, int]) -> int:
        """Return the lowest bridge with room, the network's own first.

        Raises:
            Unavailable: the network is full.
        """
        return self._sizes.segment(network, taken)

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


def _leaves(network: NetworkRecord, options: BridgeOptions, context: Context) -> Iterator[Word]:
    """The further bridges, up to the last one in use: each hangs on the one before."""
    for number in range(1, max(context.segments, default=0) + 1):
        yield from leaf_words(network, options, number, group(network), context.table)


def group(network: NetworkRecord) -> int:
    """Return the number that marks a network's links as its own, and as a controller's (``IFLA_GROUP``; 0 is everybody's)."""
    return GROUP_MARK | group_bits(network)


def _bridge_mac(network_id: str) -> MacAddress:
    return hashed_mac(f"bridge {network_id}")


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
    addresses = [ipaddress.ip_interface(each).ip for each in network.decided.get(ADDRESSES, "").split()]
    addresses += [subnet.gateway for subnet in network.subnets if subnet.gateway]
    if _routes_ipv6(network, options) and not any(each.version == 6 and each.is_link_local for each in addresses):
        yield Address(HOST, options.name, _link_local(_bridge_mac(network.id)))


def _link_local(mac: MacAddress) -> ipaddress.IPv6Interface:
    """Return the address that the kernel would form (RFC 4291, appendix A), to be given without duplicate detection.

    With it the host asks for the neighbours that it forwards to (``ndisc_send_ns`` in net/ipv6/ndisc.c). The kernel's own is fit for use
    1-2 s after the first sandbox came: until then nothing from outside would reach a sandbox, and the first connection could fail.
    """
    octets = mac.packed
    ending = bytes([octets[0] ^ 2]) + octets[1:3] + b"\xff\xfe" + octets[3:]
    return ipaddress.IPv6Interface((int.from_bytes(b"\xfe\x80" + bytes(6) + ending), 64))


def _routes_ipv6(network: NetworkRecord, options: BridgeOptions) -> bool:
    return 6 in network.families and options.modes[6] != "isolated"


def _has_address(family: Family, options: BridgeOptions) -> bool:
    return options.modes[family] != "isolated" and not (family == 4 and options.inhibit_ipv4)


def _sysctls(network: NetworkRecord, options: BridgeOptions, context: Context) -> Iterator[Word]:
    def setting(name: str, value: str) -> Sysctl:
        return Sysctl(HOST, name, value, link=options.name, restore=network.decided.get(f"{SETTING}{name}"))

    ipv6 = _routes_ipv6(network, options)
    # Turning it off would take addresses that somebody else gave the bridge; below its least MTU there is no IPv6 to turn off.
    if ipv6 or (ADOPTED not in network.decided and not 0 < options.mtu < MTU_MIN_IPV6):
        yield setting("ipv6.conf.{}.disable_ipv6", "0" if ipv6 else "1")
    if ipv6:
        yield setting("ipv6.conf.{}.accept_ra", "0")
    if network.internal:
        return
    # A published port reached through 127.0.0.1 leaves by the bridge with a loopback source before it is masqueraded.
    yield setting("ipv4.conf.{}.route_localnet", "1")
    for family in network.families:
        name = FORWARDING[family]
        yield Sysctl(HOST, name, "1", restore=context.sysctls.get(name))


def _closed(network: NetworkRecord, context: Context) -> list[Family]:
    """The families that the host forwards only since we switched it on."""
    return [family for family in network.families if context.sysctls.get(FORWARDING[family]) == "0"]


def _ports(network: NetworkRecord, endpoint: EndpointRecord, context: Context) -> Iterator[Word]:
    if not endpoint.bindings:
        return
    options = read(network.options, network.id)
    others = (other for other in context.networks if other.id != network.id)
    shared = [subnet.subnet for other in others for subnet in other.subnets]
    elements: list[Element] = []
    for address in published(endpoint):
        family: Family = 4 if address.version == 4 else 6
        answers_elsewhere = context.gateways.get(family) != endpoint.id and _has_address(family, options)
        detours = [EVERYWHERE[family]] if answers_elsewhere else shared
        for binding in endpoint.bindings:
            elements += port_elements(context.table, binding, address, mode=options.modes[family], shared=detours)
    yield from apart(endpoint.bindings, elements)
    yield from relay_words(endpoint, options, localhost=context.localhost)
