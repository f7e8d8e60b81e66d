"""What may be a bridge network, and what is remembered of a bridge that was there before it.

Division of labour: every function checks one thing and raises, before anything is touched. What an option may hold by itself is checked in
`options`; here options, subnets, other networks and the host must fit each other.

May import: drivers.api, drivers.bridge.options, desired, network, labels, types, errors.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import IPv6Network, ip_interface
from types import MappingProxyType

from attrs import evolve

from ... import labels
from ...desired import HOST, MTU_DEFAULT, Sysctl
from ...errors import Conflict, Forbidden, InvalidParameter, NotSupported
from ...network import NetworkRecord, Subnet
from ...types import FAMILIES, Family
from ..api import Surroundings
from .options import MTU_MAX, MTU_MIN, MTU_MIN_IPV6, BridgeOptions, read

ADOPTED, ADDRESSES, SETTING, PORTS = "bridge.adopted", "bridge.addresses", "bridge.sysctl.", "bridge.ports"
"""What is remembered of a bridge that was there before the network: its name, the addresses it had, its settings by name, and how
many ports it had."""

MTU = "bridge.mtu"
"""The MTU of such a bridge, where it is not the usual one: its new ports get it too."""

BRIDGE_SETTINGS = ("ipv4.conf.{}.route_localnet", "ipv6.conf.{}.accept_ra", "ipv6.conf.{}.disable_ipv6")
"""Settings of a bridge that a network may change."""

DEFAULT_GATEWAYS: Mapping[Family, str] = {4: labels.DEFAULT_GATEWAY_IPV4, 6: labels.DEFAULT_GATEWAY_IPV6}

LINK_LOCAL = IPv6Network("fe80::/64")
IPV4_MAPPED = IPv6Network("::ffff:0:0/96")


def flagged(network: NetworkRecord, options: BridgeOptions) -> NetworkRecord:
    """Return the record with what its options say of the families and of being internal.

    Raises:
        InvalidParameter: an option contradicts the argument, or a subnet, that says the same.
    """
    keys = {"ipv4": labels.ENABLE_IPV4, "ipv6": labels.ENABLE_IPV6, "internal": labels.INTERNAL}
    arguments = {"ipv4": network.ipv4, "ipv6": network.ipv6, "internal": network.internal}
    defaults = {"ipv4": not network.subnets, "ipv6": False, "internal": False}
    for name, wanted in options.flags.items():
        if arguments[name] not in {wanted, defaults[name]}:
            raise InvalidParameter(
                f"option {keys[name]}={str(wanted).lower()} contradicts {name}={arguments[name]}: leave one of them out",
                code="option_conflict", option=keys[name],
            )  # fmt: skip
    flags = {**arguments, **options.flags}
    return evolve(network, ipv4=flags["ipv4"], ipv6=flags["ipv6"], internal=flags["internal"])


def check(network: NetworkRecord, options: BridgeOptions, surroundings: Surroundings) -> None:
    """Check everything about a network.

    Raises:
        InvalidParameter: options, subnets and gateways do not fit each other. Forbidden: two subnets of one family.
        NotSupported: Docker's default network. Conflict: the bridge's name or a subnet is taken.
    """
    if options.default_bridge:
        raise NotSupported(
            f"{labels.BRIDGE_DEFAULT}: there is no default network here; leave it out, and name the bridge with {labels.BRIDGE_NAME}",
            code="default_bridge", option=labels.BRIDGE_DEFAULT,
        )  # fmt: skip
    if not (network.ipv4 or network.ipv6):
        raise InvalidParameter("IPv4 or IPv6 must be enabled", code="no_family")
    _check_mtu(options, network)
    _check_modes(options, network)
    _check_subnets(network, surroundings.networks)
    _check_gateways(network)
    _check_bridge_name(options.name, network, surroundings)


def adoption(name: str, network: NetworkRecord, surroundings: Surroundings) -> Mapping[str, str]:
    """Return what to remember of a bridge that somebody else made: it stays, with what it had, when the network goes.

    Decided once, before the network has subnets: later a bridge of that name is the network's own.

    Raises:
        Conflict: an address that the bridge has lies in a subnet of the network, and nothing keeps it from an endpoint.
    """
    if network.subnets:
        _check_addresses(name, network)
        return network.decided
    facts = surroundings.facts
    link = facts.host.links.get(name)
    if link is None:
        return network.decided
    addresses = sorted(str(address) for device, address in facts.host.addresses if device == name)
    words = [Sysctl(HOST, each, "", link=name) for each in BRIDGE_SETTINGS]
    found = surroundings.settings(words)
    had = {f"{SETTING}{word.name}": found[word.key] for word in words if word.key in found}
    ports = sum(each.master == name for each in facts.host.links.values())
    had |= {PORTS: str(ports)} if ports else {}
    had |= {MTU: str(link.mtu)} if link.mtu != MTU_DEFAULT else {}
    return MappingProxyType({**network.decided, ADOPTED: name, ADDRESSES: " ".join(addresses), **had})


def _check_addresses(name: str, network: NetworkRecord) -> None:
    for text in network.decided.get(ADDRESSES, "").split():
        address = ip_interface(text).ip
        for subnet in network.subnets:
            if address in subnet.subnet and address not in {subnet.gateway, *subnet.aux_addresses.values()}:
                raise Conflict(
                    f"bridge {name!r} has the address {text} in subnet {subnet.subnet}: give it as the gateway,"
                    f" gateways={str(address)!r}, or keep it back, aux_addresses={{'bridge': {str(address)!r}}}",
                    code="bridge_address", name=name, address=str(address),
                )  # fmt: skip


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


def _check_subnets(network: NetworkRecord, others: Iterable[NetworkRecord]) -> None:
    families = [subnet.family for subnet in network.subnets]
    for family in (4, 6):
        if families.count(family) > 1:
            raise Forbidden(
                f"a bridge network has at most one IPv{family} subnet: {families.count(family)} were given",
                code="too_many_subnets",
            )
    for ours in network.subnets:
        _check_subnet(ours)
    for other in others:
        for theirs in other.subnets:
            for ours in network.subnets:
                if ours.family == theirs.family and ours.subnet.overlaps(theirs.subnet):
                    raise Conflict(
                        f"subnet {ours.subnet} overlaps {theirs.subnet} of network {other.name!r}",
                        code="subnet_overlap", network_id=other.id, subnet=ours.subnet,
                    )  # fmt: skip


def _check_subnet(subnet: Subnet) -> None:
    """Check that endpoints may live in a subnet (the reference's ``validateIPv6Subnet``)."""
    net, why = subnet.subnet, ""
    if net.is_multicast:
        why = "it is multicast"
    elif isinstance(net, IPv6Network) and net != LINK_LOCAL and net.overlaps(LINK_LOCAL):
        why = f"it clashes with the link-local prefix {LINK_LOCAL}"
    elif isinstance(net, IPv6Network) and net.overlaps(IPV4_MAPPED) and net.prefixlen:
        why = "it stands for IPv4 addresses, which are written as such"
    if why:
        raise InvalidParameter(f"invalid subnet {net}: {why}", code="invalid_subnet", subnet=net)


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


def _check_bridge_name(name: str, network: NetworkRecord, surroundings: Surroundings) -> None:
    for other in surroundings.networks:
        if other.id != network.id and read(other.options, other.id).name == name:
            raise Conflict(
                f"bridge {name!r} is network {other.name!r}'s: choose another name", code="bridge_taken", name=name
            )
    link = surroundings.facts.host.links.get(name)
    if link is None or link.kind == "bridge":
        return
    what = f"a {link.kind} link" if link.kind else "a physical interface"
    raise Conflict(
        f"bridge name {name!r} is taken: it is {what} of the host; choose another name",
        code="link_exists",
        name=name,
        kind=link.kind,
    )
