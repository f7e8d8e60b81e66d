"""Who reaches whom through our table, and whose address the server sees: real packets, both families, with and without br_netfilter."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address, ip_network

import pytest
from attrs import evolve

from libnetwork_py.desired import Element
from libnetwork_py.firewall.elements import GatewayMode, network_elements, port_elements
from libnetwork_py.firewall.table import table
from libnetwork_py.kernel import nft
from libnetwork_py.kernel.transport import Transport
from libnetwork_py.types import PortBinding
from tests.root.firewall_lab import Lab, Probe, netfilter
from tests.root.machine import run_in

TABLE = table("", "libnetwork_py-test")
NETWORKS = {"front": 1, "back": 2, "inner": 3, "apart": 4, "routed": 5, "bare": 6, "named": 7}
MEMBERS = {
    "a1": ("front", 2),
    "a2": ("front", 3),
    "b1": ("back", 2),
    "i1": ("inner", 2),
    "i2": ("inner", 3),
    "c1": ("apart", 2),
    "c2": ("apart", 3),
    "r1": ("routed", 2),
    "u1": ("bare", 2),
    "s1": ("named", 2),
    "m1": ("back", 9),
}
PUBLISHED = {
    "8080:80": "a1",
    "8083:80": "b1",
    "8084:80": "c1",
    "8085:80": "m1",
    "8086:80": "u1",
    "8080:80/udp": "a1",
    "8090:80": "a1",
}
LOOPBACK_AND_ONE = (
    *("127.0.0.1:8081:80", "127.0.0.1:8081:80/udp", "[::1]:8081:80", "[::1]:8081:80/udp"),
    *("192.0.1.1:8082:80", "[2001:db8:1::1]:8082:80"),
)
"""Bindings of a1 to one address."""


def v4(place: str) -> str:
    """The IPv4 address of a member."""
    network, number = MEMBERS[place]
    return f"10.{NETWORKS[network]}.0.{number}"


def v6(place: str) -> str:
    """The IPv6 address of a member."""
    network, number = MEMBERS[place]
    return f"fd00:{NETWORKS[network]}::{number}"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """The host, its networks and members, an outside, a trusted neighbour, and one that sends loopback addresses over its wire."""
    made = Lab()
    try:
        _build(made)
        _load(made)
        yield made
    finally:
        made.close()


def _build(lab: Lab) -> None:
    lab.add("host", "outside", "trusted", "forger", *MEMBERS)
    lab.set("host", ipv4__ip_forward=1, ipv6__conf__all__forwarding=1)
    for number, place in enumerate(("outside", "trusted", "forger"), 1):
        net, link = f"192.0.{number}", f"up{number}"
        own = (f"{net}.1/24", f"2001:db8:{number}::1/64")
        lab.wire(place, link, own, (f"{net}.2/24", f"2001:db8:{number}::2/64"))
        lab.ip(place, f"route add default via {net}.1", f"route add default via 2001:db8:{number}::1")
    lab.ip("host", "addr add 192.0.1.9/24 dev up1", "addr add 2001:db8:1::9/64 dev up1 nodad preferred_lft 0")
    for name, number in NETWORKS.items():
        lab.bridge(name, f"10.{number}.0.1/24", f"fd00:{number}::1/64")
    for place, (network, _) in MEMBERS.items():
        isolated = "on" if network == "apart" else "off"
        lab.attach(place, network, f"{v4(place)}/24", f"{v6(place)}/64", isolated=isolated)
        number = NETWORKS[network]
        lab.ip(place, f"route add default via 10.{number}.0.1", f"route add default via fd00:{number}::1")
        lab.serve(place, 80, 81)
    lab.attach("m1", "front", "10.1.0.9/24", "fd00:1::9/64", link="eth1")
    lab.serve("outside", 80)
    # what the host itself serves: a service on its loopback, one on all addresses, and what a relay would serve
    lab.serve("host", 9000, families=[4], address="127.0.0.1")
    lab.serve("host", 9001, families=[4])
    lab.serve("host", 8090, families=[6])
    lab.ip("host", "addr add fe80::1/64 dev up1 nodad")
    lab.ip("outside", "addr flush dev eth0 scope link", "addr add fe80::2/64 dev eth0 nodad")
    # these two have no loopback address of their own, so that their packets to one leave by the wire
    lab.set("i2", ipv4__conf__eth0__route_localnet=1)
    for place, gateway, source in (
        ("forger", ("192.0.3.1", "2001:db8:3::1"), "192.0.3.2"),
        ("a2", ("10.1.0.1", "fd00:1::1"), v4("a2")),
    ):
        lab.set(place, ipv4__conf__eth0__route_localnet=1)
        lab.ip(place, "addr del 127.0.0.1/8 dev lo", "addr del ::1/128 dev lo")
        lab.ip(place, f"route add 127.0.0.1 via {gateway[0]} src {source}", f"route add ::1 via {gateway[1]}")


def _load(lab: Lab) -> None:
    modes: dict[str, GatewayMode] = {"routed": "routed", "bare": "nat-unprotected"}
    words: list[Element] = []
    for name, number in NETWORKS.items():
        words += network_elements(
            TABLE,
            name,
            [ip_network(f"10.{number}.0.0/24"), ip_network(f"fd00:{number}::/64")],
            internal=name == "inner",
            icc=name != "apart",
            modes={4: modes.get(name, "nat"), 6: modes.get(name, "nat")},
            snat={4: ip_address("192.0.1.9"), 6: ip_address("2001:db8:1::9")} if name == "named" else {},
            trusted=["up2"] if name == "front" else [],
        )
    for binding, place in PUBLISHED.items():
        mode = modes.get(MEMBERS[place][0], "nat")
        for address, front in ((v4(place), "10.1.0.0/24"), (v6(place), "fd00:1::/64")):
            shared = [ip_network(front)] if place == "m1" else []
            port = PortBinding.parse(binding)
            words += port_elements(TABLE, port, ip_address(address), mode=mode, shared=shared)
    for text in (
        "127.0.0.1:8081:80",
        "192.0.1.1:8082:80",
        "[2001:db8:1::1]:8082:80",
        "[::1]:8081:80",
        "127.0.0.1:8081:80/udp",
        "[::1]:8081:80/udp",
    ):
        for address in (v4("a1"), v6("a1")):
            words += port_elements(TABLE, PortBinding.parse(text), ip_address(address))
    for address in (v4("r1"), v6("r1")):
        words += port_elements(TABLE, PortBinding.parse("80"), ip_address(address), mode="routed")
    with netfilter(lab.places["host"]) as sock:
        nft.load(Transport(sock), [TABLE, *dict.fromkeys(words)], [])


def both(what: str, client: str, to4: str, to6: str, port: int, sees4: str | None, sees6: str | None) -> list[Probe]:
    """The same probe in both families."""
    return [
        Probe(f"{what}, IPv4", client, to4, port, sees4),
        Probe(f"{what}, IPv6", client, to6, port, sees6),
    ]


def member(what: str, client: str, to: str, port: int, *, sees: str | None) -> list[Probe]:
    """From a place to a member's own address; ``sees``: a member, ``gateway`` of its network, or an outside place."""
    return both(what, client, v4(to), v6(to), port, *_addresses(sees, MEMBERS[to][0]))


def published(what: str, client: str, port: int, *, sees: str | None, on: str = "front") -> list[Probe]:
    """From a place to a published port at the host's outer address."""
    return both(what, client, "192.0.1.1", "2001:db8:1::1", port, *_addresses(sees, on))


def _addresses(who: str | None, network: str) -> tuple[str | None, str | None]:
    outer = {"outside": 1, "trusted": 2, "forger": 3}
    if who is None:
        return None, None
    if who == "gateway":
        return f"10.{NETWORKS[network]}.0.1", f"fd00:{NETWORKS[network]}::1"
    if who in outer:
        return f"192.0.{outer[who]}.2", f"2001:db8:{outer[who]}::2"
    return v4(who), v6(who)


OUT4, OUT6 = "192.0.1.2", "2001:db8:1::2"
PROBES = [
    # out
    *both("masqueraded on the way out", "a1", OUT4, OUT6, 80, "192.0.1.1", "2001:db8:1::1"),
    *both("the address chosen for the network is the source", "s1", OUT4, OUT6, 80, "192.0.1.9", "2001:db8:1::9"),
    *both("routed networks keep their addresses", "r1", OUT4, OUT6, 80, *_addresses("r1", "")),
    *both("nat-unprotected is masqueraded too", "u1", OUT4, OUT6, 80, "192.0.1.1", "2001:db8:1::1"),
    *both("nothing leaves an internal network", "i1", OUT4, OUT6, 80, None, None),
    # published
    *published("published, from outside", "outside", 8080, sees="outside"),
    *published("published on one address, from outside", "outside", 8082, sees="outside"),
    *both("published on one address, at another", "outside", "192.0.1.9", "2001:db8:1::9", 8082, None, None),
    *published("not published, from outside", "outside", 8099, sees=None),
    *published("from the host by its address", "host", 8080, sees="gateway"),
    Probe("from the host by 127.0.0.1", "host", "127.0.0.1", 8080, "10.1.0.1"),
    Probe("bound to 127.0.0.1, from the host", "host", "127.0.0.1", 8081, "10.1.0.1"),
    Probe("by ::1, which only a relay can serve", "host", "::1", 8080, None),
    *published("from another network", "b1", 8080, sees="b1"),
    *both("from another network by its gateway", "b1", "10.2.0.1", "fd00:2::1", 8080, *_addresses("b1", "")),
    *published("from the same network", "a2", 8080, sees="gateway"),
    *published("from itself", "a1", 8080, sees="gateway"),
    *published("the server shares the client's network", "a2", 8085, sees="gateway", on="back"),
    *published("nat-unprotected, from outside", "outside", 8086, sees="outside"),
    # direct
    *member("direct to a published port, from outside", "outside", "a1", 80, sees=None),
    *member("direct to another port, from outside", "outside", "a1", 81, sees=None),
    *member("direct to a published port, from another network", "b1", "a1", 80, sees=None),
    *member("direct to another port, from another network", "b1", "a1", 81, sees=None),
    *member("direct to a published port, from a trusted interface", "trusted", "a1", 80, sees="trusted"),
    *member("direct to another port, from a trusted interface", "trusted", "a1", 81, sees=None),
    *member("trusted by another network", "trusted", "b1", 80, sees=None),
    *member("direct from the host", "host", "a1", 81, sees="gateway"),
    *member("routed, published", "outside", "r1", 80, sees="outside"),
    *member("routed, not published", "outside", "r1", 81, sees=None),
    *member("nat-unprotected, any port", "outside", "u1", 81, sees="outside"),
    # one network
    *member("neighbours, ICC on", "a2", "a1", 81, sees="a2"),
    *member("neighbours, ICC off", "c2", "c1", 80, sees=None),
    *published("neighbours by the published port, ICC off", "c2", 8084, sees="gateway", on="apart"),
    *published("itself by the published port, ICC off", "c1", 8084, sees="gateway", on="apart"),
    *published("ICC off, from outside", "outside", 8084, sees="outside"),
    *published("ICC off, from another network", "a2", 8084, sees="a2"),
    # internal
    *member("inside an internal network", "i2", "i1", 80, sees="i2"),
    *member("into an internal network, from outside", "outside", "i1", 80, sees=None),
    *member("into an internal network, from another", "a2", "i1", 80, sees=None),
    *member("into an internal network, from the host", "host", "i1", 80, sees="gateway"),
    *member("from an internal network into another", "i1", "u1", 80, sees=None),
    *published("published, from an internal network", "i1", 8080, sees=None),
    # loopback
    *published("bound to loopback, from outside", "outside", 8081, sees=None),
    *published("bound to loopback, from another network", "b1", 8081, sees=None),
    Probe("bound to 127.0.0.1, from a forger on the wire", "forger", "127.0.0.1", 8081, None),
    Probe("published, 127.0.0.1 from a forger on the wire", "forger", "127.0.0.1", 8080, None),
    Probe("bound to 127.0.0.1, from a container that forges", "a2", "127.0.0.1", 8081, None),
    Probe("bound to 127.0.0.1, from a container that forges, UDP", "a2", "127.0.0.1", 8081, None, "udp"),
    Probe("bound to ::1, from a container that forges, UDP", "a2", "::1", 8081, None, "udp"),
    Probe("bound to ::1, from a forger on the wire, UDP", "forger", "::1", 8081, None, "udp"),
    Probe("a service of the host's loopback, from a container", "a2", "127.0.0.1", 9000, None),
    Probe("a service of the host's loopback, from a container, UDP", "a2", "127.0.0.1", 9000, None, "udp"),
    Probe("a service of the host, from a container", "a2", "10.1.0.1", 9001, v4("a2"), "udp"),
    Probe(
        "a service of the host, from a container that says it is loopback",
        "a2",
        "10.1.0.1",
        9001,
        None,
        "udp",
        "127.0.0.2",
    ),
    Probe("a service of the host, from an internal network", "i2", "10.3.0.1", 9001, v4("i2"), "udp"),
    Probe(
        "a service of the host, from an internal network as loopback", "i2", "10.3.0.1", 9001, None, "udp", "127.0.0.2"
    ),
    # left to the host itself
    Probe("published, by ::1: the host's own socket", "host", "::1", 8090, "::1"),
    Probe("published, from a link-local address: the host's own socket", "outside", "fe80::1%eth0", 8090, "fe80::2"),
    # other protocols and sources
    Probe("published UDP, from outside", "outside", "192.0.1.1", 8080, OUT4, "udp"),
    Probe("published UDP, from another network", "b1", "192.0.1.1", 8080, v4("b1"), "udp"),
    Probe("published UDP, from the host by 127.0.0.1", "host", "127.0.0.1", 8080, "10.1.0.1", "udp"),
    *both(
        "the address chosen for the network is the host's too",
        "host",
        v4("s1"),
        v6("s1"),
        81,
        "192.0.1.9",
        "2001:db8:1::9",
    ),
]


@pytest.mark.parametrize("bridged_frames", [1, 0], ids=["with br_netfilter", "without br_netfilter"])
def test_everyone_reaches_exactly_whom_they_should(lab: Lab, bridged_frames: int) -> None:
    """Every probe ends as the table above says, and the server sees the address it says."""
    call = {f"bridge__bridge-nf-call-{tables}": bridged_frames for tables in ("iptables", "ip6tables")}
    lab.set("host", **call)
    expected = {probe.what: probe.sees for probe in PROBES}
    if bridged_frames:  # what is translated back into its own bridge is bridged, and isolated ports stay isolated
        expected |= dict.fromkeys((what for what in expected if "by the published port, ICC off" in what), None)
    probes = [evolve(probe, sees=expected[probe.what]) for probe in PROBES]
    assert lab.run(probes) == expected


def test_icmp_enters_routed_networks_only(lab: Lab) -> None:
    """A routed network answers echo requests from outside, in both families; a translated one does not."""

    def answers(address: str) -> bool:
        argv = ["ping", "-n", "-q", "-c", "1", "-W", "1", address]
        return run_in(lab.places["outside"], argv, check=False).returncode == 0

    assert [answers(v4("r1")), answers(v6("r1"))] == [True, True]
    assert [answers(v4("a1")), answers(v6("a1"))] == [False, False]
