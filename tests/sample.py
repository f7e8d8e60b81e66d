"""A description with every word in it, in no order, that a kernel takes: for tests that need some of each."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network

from libnetwork_py.desired import (
    HOST,
    Address,
    Bridge,
    Description,
    Element,
    Forwarding,
    Namespace,
    Neighbour,
    Qdisc,
    Relay,
    Route,
    Sysctl,
    Table,
    Veth,
    Vxlan,
)
from libnetwork_py.firewall import links
from libnetwork_py.nftables import Chain, Hook, Rule, SetDecl
from libnetwork_py.types import MacAddress

WEB = "/run/netns/web"
PORTS = SetDecl("ports", ("inet_proto", "inet_service"), ("ipv4_addr", "inet_service"))
PAIRS = SetDecl("pairs", ("ifname", "ifname"))
NETWORKS = SetDecl("networks", ("ipv4_addr",), "verdict", interval=True)
RULE = Rule("dnat ip to meta l4proto . th dport map @ports", ())
TABLE = Table(HOST, "lnw", (PORTS, PAIRS, NETWORKS), (Chain("prerouting", (RULE,), Hook("nat", "prerouting", -100)),))
BRIDGE_MAC, MAC, OTHER_MAC, LEAF_MAC = (MacAddress(f"02:42:ac:12:00:0{number}") for number in (1, 2, 3, 4))


def description(web: str) -> Description:
    """Every word there is, out of order."""
    return (
        Relay(HOST, "tcp", IPv6Address("::1"), 8080, IPv4Address("172.18.0.2"), 80, 3),
        Element(HOST, "lnw", PORTS, ("tcp", 8080), (IPv4Address("172.18.0.2"), 80)),
        Element(HOST, "lnw", PAIRS, ("br0", "br0")),
        Element(HOST, "lnw", NETWORKS, (IPv4Network("10.0.0.0/8"),), "drop"),
        Route(web, IPv4Network("0.0.0.0/0"), "eth0", IPv4Address("172.18.0.1")),
        Route(web, IPv6Network("::/0"), "eth0", IPv6Address("fd00:18::1")),
        Route(web, IPv4Network("10.9.0.0/16"), "eth0", IPv4Address("10.7.0.9"), 7),
        Route(web, IPv4Network("10.8.0.0/16"), "eth0", IPv6Address("fd00:18::1")),
        Route(web, IPv4Network("10.7.0.0/16"), "eth0"),
        Address(HOST, "br0", IPv4Interface("172.18.0.1/16")),
        Address(HOST, "br0", IPv6Interface("fd00:18::1/64")),
        Address(web, "eth0", IPv4Interface("172.18.0.2/16")),
        Address(web, "eth0", IPv6Interface("fd00:18::2/64")),
        Sysctl(web, "ipv6.conf.{}.disable_ipv6", "0", link="eth0"),
        Sysctl(web, "ipv4.conf.{}.rp_filter", "2", link="inner.1"),
        Veth(HOST, "veth1", web, "eth0", MAC, "br0", 1400, 77, hairpin=True, isolated=True),
        Veth(web, "inner.1", HOST, "back", OTHER_MAC),
        Veth(HOST, "up1", HOST, "down1", LEAF_MAC, "br0", 1400, isolated=True, peer_master="br1"),
        Bridge(HOST, "br0", BRIDGE_MAC, 1400, 77),
        Bridge(HOST, "br1", LEAF_MAC, 1400),
        Forwarding(web, "vx0", OTHER_MAC, IPv4Address("192.0.2.2")),
        Forwarding(web, "vx1", MAC, IPv6Address("2001:db8::2")),
        Neighbour(web, "vx0", IPv4Address("10.6.0.3"), OTHER_MAC),
        Neighbour(web, "vx0", IPv6Address("fd00:6::3"), OTHER_MAC),
        Vxlan(web, "vx0", 4097, IPv4Address("192.0.2.1"), master="br2", mtu=1450),
        Vxlan(web, "vx1", 4097, IPv6Address("2001:db8::1"), 4790, "br2", group=77, proxy=False),
        Bridge(web, "br2", LEAF_MAC, 1450),
        Sysctl(web, "ipv6.conf.{}.disable_ipv6", "0", link="vx0"),
        TABLE,
        *links.words(web, "eth0", "loss", loss=10_000, apart=[IPv4Address("172.18.0.9")]),
        *links.words(HOST, "veth1", "seeded", loss=10_000, seed=7),
        Qdisc(web, "eth0", "tbf", rate=8_000_000, burst=4000, limit=100_000),
        Sysctl(HOST, "ipv4.ip_forward", "1", restore="0"),
        Namespace(web),
        Sysctl(web, "ipv6.conf.default.disable_ipv6", "1"),
        Sysctl(web, "ipv4.ip_local_port_range", "20000 21000"),
    )
