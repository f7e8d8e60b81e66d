"""Records as ``docker network inspect`` shows them.

May import: lifecycle.state, network, endpoint, types.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from ..endpoint import EndpointRecord
from ..network import NetworkRecord, Subnet
from ..types import Family
from .state import State


def inspect_network(state: State, network: NetworkRecord) -> dict[str, Any]:
    """Return a network in the shape of Docker's API (``NetworkInspect``), with ``Routes`` where it has any."""
    endpoints = state.in_network(network.id)
    joined = [each for each in endpoints if each.sandbox_id and not each.host]
    peers = sorted({(each.host[:12], str(each.vtep or "")) for each in endpoints if each.host})
    return {
        "Name": network.name,
        "Id": network.id,
        "Created": datetime.fromtimestamp(network.created, tz=UTC).isoformat(),
        "Scope": network.scope,
        "Driver": network.driver,
        "EnableIPv4": network.ipv4,
        "EnableIPv6": network.ipv6,
        "IPAM": {
            "Driver": network.ipam,
            "Options": dict(network.ipam_options),
            "Config": [_subnet(each) for each in network.subnets],
        },
        "Internal": network.internal,
        "Attachable": network.attachable,
        "Ingress": False,
        "ConfigFrom": {"Network": network.config_from or ""},
        "ConfigOnly": network.config_only,
        "Containers": {str(each.sandbox_id): _container(state, each) for each in joined},
        "Options": dict(network.options),
        "Labels": dict(network.labels),
        **({"Peers": [{"Name": name, "IP": address} for name, address in peers]} if network.host else {}),
        **({"Routes": [str(each) for each in network.routes]} if network.routes else {}),
    }


def _subnet(subnet: Subnet) -> dict[str, Any]:
    config: dict[str, Any] = {"Subnet": str(subnet.subnet)}
    if subnet.ip_range:
        config["IPRange"] = str(subnet.ip_range)
    if subnet.gateway:
        config["Gateway"] = str(subnet.gateway)
    if subnet.aux_addresses:
        config["AuxiliaryAddresses"] = {name: str(address) for name, address in subnet.aux_addresses.items()}
    return config


def _container(state: State, endpoint: EndpointRecord) -> dict[str, str]:
    def first(family: Family) -> str:
        return next((str(each) for each in endpoint.addresses if each.version == family), "")

    return {
        "Name": state.sandboxes[str(endpoint.sandbox_id)].name,
        "EndpointID": endpoint.id,
        "MacAddress": endpoint.mac or "",
        "IPv4Address": first(4),
        "IPv6Address": first(6),
    }
