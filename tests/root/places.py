"""The topology of the reachability table: its addresses, and how the library builds it.

Division of labour: what is outside of the networks (routes that an attacker would have) is made here by ``ip``, whoever built the
networks; `build` makes the networks and sandboxes through the public API.
"""

from __future__ import annotations

from collections.abc import Mapping

from libnetwork_py import NetworkController, labels
from tests.root import machine
from tests.root.machine import Outside
from tests.root.reachability import HOST_PORTS, PORTS, Topology

SUBNETS = {
    "front": ("10.7.0.0/24", "fd07::/64"),
    "back": ("10.8.0.0/24", "fd08::/64"),
    "inner": ("10.9.0.0/24", "fd09::/64"),
    "plain": ("10.6.0.0/24",),
}
"""Network → its subnets. ``front`` is the one in question, ``plain`` like it without IPv6, ``back`` another, ``inner`` an internal one."""
MEMBERS = {"web": "front", "same": "front", "other": "back", "inner": "inner", "four": "plain"}
"""Sandbox → its network. ``web`` and ``four`` publish ports."""
GATEWAYS = {"gateway": "front", "back-gateway": "back", "inner-gateway": "inner", "plain-gateway": "plain"}


def published(outside: Outside, who: str = "web") -> list[tuple[str, int, int, str]]:
    """Return what ``web`` or ``four`` publishes: host address (empty: all), host port, port, protocol."""
    addresses = [("", "any"), ("127.0.0.1", "loopback"), ("::1", "loopback")]
    addresses += [(str(each.ip), "one") for each in (outside.host_ipv4, outside.host_ipv6)]
    return [
        (host, HOST_PORTS[who] + PORTS[how], PORTS[how], kind) for kind in ("tcp", "udp") for host, how in addresses
    ]


def build(controller: NetworkController, host: str, outside: Outside, mode: str, *, icc: bool) -> Topology:
    """Make networks and sandboxes, and routes that lead straight to them wherever somebody could add one."""
    isolated = mode == "isolated"
    options = {
        labels.BRIDGE_ENABLE_ICC: icc,
        labels.BRIDGE_GATEWAY_MODE_IPV4: mode,
        labels.BRIDGE_GATEWAY_MODE_IPV6: mode,
    }
    networks = {
        "front": controller.create_network("front", subnets=SUBNETS["front"], internal=isolated, options=options),
        "back": controller.create_network("back", subnets=SUBNETS["back"]),
        "inner": controller.create_network("inner", subnets=SUBNETS["inner"], internal=True),
        "plain": controller.create_network("plain", subnets=SUBNETS["plain"], internal=isolated, options=options),
    }
    places: dict[str, str] = {}
    addresses: dict[tuple[str, int], str] = {}
    for name, network in MEMBERS.items():
        box = controller.create_sandbox(name)
        endpoint = box.connect(networks[network], ports=[] if isolated else _ports(outside, name, mode))
        places[name] = box.key
        addresses |= {(name, each.version): str(each) for each in endpoint.addresses}
    for name, network in GATEWAYS.items():
        addresses |= {(name, each.version): str(each) for each in networks[network].gateways}
    return complete(host, outside, places, addresses)


def _ports(outside: Outside, who: str, mode: str) -> list[str]:
    """What a sandbox publishes, as text; IPv6 addresses of the host lead nowhere from IPv4 that is routed."""
    if who not in HOST_PORTS:
        return []
    all_of_it = [f"{_bracketed(ip)}{there}:{here}/{kind}" for ip, there, here, kind in published(outside, who)]
    return [each for each in all_of_it if who == "web" or mode != "routed" or not each.startswith("[")]


def complete(
    host: str, outside: Outside, places: Mapping[str, str], addresses: Mapping[tuple[str, int], str]
) -> Topology:
    """Add the host and the outside, and let the outside and the internal network send whatever they like to the host."""
    topology = Topology(
        {**places, "host": host, "outside": outside.namespace},
        {
            **addresses,
            ("host", 4): str(outside.host_ipv4.ip),
            ("host", 6): str(outside.host_ipv6.ip),
            ("outside", 4): str(outside.ipv4.ip),
            ("outside", 6): str(outside.ipv6.ip),
        },
    )
    for subnet in (each for pair in SUBNETS.values() for each in pair):
        family = 6 if ":" in subnet else 4
        via = topology.addresses["host", family]
        machine.ip(f"-{family}", "route", "replace", subnet, "via", via, namespace=outside.namespace)
    for family in (4, 6):
        via = topology.addresses["inner-gateway", family]
        machine.ip(f"-{family}", "route", "replace", "default", "via", via, namespace=places["inner"])
    return topology


def _bracketed(address: str) -> str:
    return f"[{address}]:" if ":" in address else f"{address}:" if address else ""
