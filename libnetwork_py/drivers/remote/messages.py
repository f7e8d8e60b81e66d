"""Requests to a plug-in's network driver, and its answers, as values.

May import: plugins, network, endpoint, labels, types, errors.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from attrs import evolve, frozen

from ... import labels
from ...endpoint import EndpointRecord
from ...network import NetworkRecord, Subnet
from ...plugins.client import Answered
from ...plugins.wire import exposed, portmap
from ...types import (
    EMPTY,
    Family,
    IPAddress,
    IPInterface,
    IPNetwork,
    MacAddress,
    PortBinding,
    parse_address,
    parse_network,
)

NEXT_HOP, CONNECTED = 0, 1
"""Kinds of static routes."""


def create_network(network: NetworkRecord) -> dict[str, Any]:
    """Return the body of ``CreateNetwork``."""
    options: dict[str, Any] = {
        labels.ENABLE_IPV4: network.ipv4,
        labels.ENABLE_IPV6: network.ipv6,
        labels.GENERIC: dict(network.options),
    }
    if network.internal:
        options[labels.INTERNAL] = True
    families: tuple[Family, Family] = (4, 6)
    four, six = ([_pool(network, each) for each in network.subnets if each.family == family] for family in families)
    return {"NetworkID": network.id, "Options": options, "IPv4Data": four, "IPv6Data": six}


def _pool(network: NetworkRecord, subnet: Subnet) -> dict[str, Any]:
    length = subnet.subnet.prefixlen
    found: dict[str, Any] = {
        "AddressSpace": "GlobalDefault" if network.scope == "global" else "LocalDefault",
        "Pool": str(subnet.subnet),
    }
    if subnet.gateway:
        found["Gateway"] = f"{subnet.gateway}/{length}"
    if subnet.aux_addresses:
        found["AuxAddresses"] = {name: f"{address}/{length}" for name, address in subnet.aux_addresses.items()}
    return found


def create_endpoint(endpoint: EndpointRecord) -> dict[str, Any]:
    """Return the body of ``CreateEndpoint``; the protocol knows one address per family."""
    first = {each.version: str(each) for each in reversed(endpoint.addresses)}
    interface = {"Address": first.get(4, ""), "AddressIPv6": first.get(6, ""), "MacAddress": str(endpoint.mac or "")}
    ports = ports_of(endpoint)
    given = {**endpoint.options, **{key: value for key, value in ports.items() if value}}
    return {**ids(endpoint), "Interface": interface, "Options": given}


def ids(endpoint: EndpointRecord) -> dict[str, Any]:
    """Return what names an endpoint."""
    return {"NetworkID": endpoint.network_id, "EndpointID": endpoint.id}


def ports_of(endpoint: EndpointRecord) -> dict[str, Any]:
    """Return an endpoint's ports as options."""
    bindings = endpoint.bindings or endpoint.ports
    open_ports = (*(PortBinding.parse(each) for each in endpoint.expose), *bindings)
    return {labels.EXPOSED_PORTS: exposed(open_ports), labels.PORTMAP: portmap(bindings)}


def with_interface(endpoint: EndpointRecord, answer: Answered) -> EndpointRecord:
    """Return the endpoint with what the plug-in chose.

    Raises:
        Internal: malformed, or it changed what was given to it.
    """
    interface = answer.object("Interface")
    mac = interface.parsed("MacAddress", MacAddress)
    if mac and endpoint.mac:
        raise answer.nonsense(f"MacAddress is {mac} although {endpoint.mac} was given")
    addresses = endpoint.addresses
    for key, version in (("Address", 4), ("AddressIPv6", 6)):
        address = interface.parsed(key, _interface_of(version))
        if address and any(each.version == version for each in endpoint.addresses):
            raise answer.nonsense(f"{key} is {address} although one was given")
        addresses = (*addresses, address) if address else addresses
    return evolve(endpoint, mac=endpoint.mac or mac, addresses=addresses)


def _interface_of(version: int) -> Callable[[str], IPInterface]:
    def parse(text: str) -> IPInterface:
        found = ipaddress.ip_interface(text)
        if found.version != version or "/" not in text:
            raise ValueError(f"it is no IPv{version} address with a prefix length")
        return found

    return parse


def _address_of(version: int) -> Callable[[str], IPAddress]:
    def parse(text: str) -> IPAddress:
        found = parse_address(text)
        if found.version != version or "%" in text:
            raise ValueError(f"it is no IPv{version} address")
        return found

    return parse


@frozen
class JoinAnswer:
    """What a plug-in answers to ``Join``, and how an endpoint's record keeps it.

    Attributes:
        source: Interface on the host that goes into the sandbox; empty: none does.
        prefix: Of its name there.
        routes: Destination and next hop, ``None``: on-link.
    """

    source: str = ""
    prefix: str = ""
    gateways: tuple[IPAddress, ...] = ()
    routes: tuple[tuple[IPNetwork, IPAddress | None], ...] = ()

    @classmethod
    def read(cls, answer: Answered) -> JoinAnswer:
        """Read an answer.

        Raises:
            Internal: malformed.
        """
        name = answer.object("InterfaceName")
        gateways = [answer.parsed(key, _address_of(family)) for key, family in (("Gateway", 4), ("GatewayIPv6", 6))]
        routes = tuple(_route(each) for each in answer.objects("StaticRoutes"))
        answer.flag("DisableGatewayService")
        found = tuple(each for each in gateways if each)
        return cls(name.text("SrcName"), name.text("DstPrefix"), found, routes)

    def decided(self) -> Mapping[str, str]:
        """Return it for the record."""
        found = {"source": self.source, "gateways": " ".join(map(str, self.gateways))}
        if self.routes:
            found["routes"] = json.dumps([[str(where), str(hop or "")] for where, hop in self.routes])
        return MappingProxyType(found)

    @classmethod
    def of(cls, endpoint: EndpointRecord) -> JoinAnswer:
        """Return what an endpoint's record says; the prefix is not kept."""
        decided = endpoint.decided or EMPTY
        routes: Sequence[tuple[str, str]] = json.loads(decided.get("routes", "[]"))
        return cls(
            decided.get("source", ""),
            "",
            tuple(parse_address(each) for each in decided.get("gateways", "").split()),
            tuple((parse_network(where), parse_address(hop) if hop else None) for where, hop in routes),
        )


def _route(entry: Answered) -> tuple[IPNetwork, IPAddress | None]:
    destination = entry.parsed("Destination", parse_network)
    if destination is None:
        raise entry.nonsense("a static route has no Destination")
    kind = entry.integer("RouteType")
    if kind not in {NEXT_HOP, CONNECTED}:
        raise entry.nonsense(f"RouteType is {kind}, not 0 or 1")
    hop = entry.parsed("NextHop", parse_address)
    if kind == NEXT_HOP and hop is None:
        raise entry.nonsense(f"the static route to {destination} has no NextHop")
    return destination, hop if kind == NEXT_HOP else None
