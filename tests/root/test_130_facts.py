"""Snapshots: what the kernel layer says is there is what ``ip`` says."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_interface, ip_network

import pytest

from libnetwork_py.desired import HOST, Sysctl
from libnetwork_py.kernel.linux import LinuxKernel
from tests.root import machine
from tests.root.kernel_lab import NETWORK, kernel, making, names, path, sandbox

CLUTTER = """
link add dmy type veth peer name dmy-peer
link set dmy up
link set dmy-peer up
link add vx type vxlan id 7 dstport 4789 local 127.0.0.1
addr add 192.0.2.1/31 dev dmy
addr add 192.0.2.7 peer 192.0.2.8/32 dev dmy
addr add 2001:db8::1/64 dev dmy nodad
route add 198.51.100.0/24 via 192.0.2.0 metric 9
route add 198.51.101.0/24 via inet6 2001:db8::9 dev dmy
route add blackhole 203.0.113.0/24
route add 203.0.113.9/32 dev dmy table 100
route add 2001:db8:1::/48 via 2001:db8::9
"""


@pytest.fixture
def ours(host: str) -> Iterator[LinuxKernel]:
    """A kernel over a host of its own."""
    with kernel(host) as opened:
        yield opened


def local_to(host: str) -> set[str]:
    """The links that have an IPv6 address of the kernel's own choice, tried out: it comes some time after the link."""
    shown = machine.ip("-6", "addr", "show", "scope", "link", "-tentative", namespace=host)
    return {link["ifname"] for link in shown if link.get("addr_info")}


def test_facts_agree_with_ip(ours: LinuxKernel, host: str) -> None:
    """Links, addresses and unicast routes of the main table are those that ``ip`` shows, strange ones included."""
    where = path()
    with names(where):
        ours.apply(making(*NETWORK, *sandbox(1, where, isolated=True)))
        machine.run_in(host, ["ip", "-batch", "-"], input=CLUTTER)
        machine.wait_until(lambda: local_to(host) == {"br0", "dmy", "dmy-peer"}, "the kernel's own addresses")
        facts = ours.facts([where])
        for namespace, here in (("", host), (where, where)):
            inside = facts.namespaces[namespace]
            shown = machine.links(here)
            assert set(inside.links) == set(shown)
            for name, link in inside.links.items():
                seen = shown[name]
                assert (link.index, link.mtu, link.mac) == (seen["ifindex"], seen["mtu"], seen.get("address", ""))
                assert link.up == ("UP" in seen["flags"])
                assert link.master == seen.get("master", "")
                assert link.kind == seen.get("linkinfo", {}).get("info_kind", "")
                port = seen.get("linkinfo", {}).get("info_slave_data", {})
                assert (link.isolated, link.hairpin) == (port.get("isolated", False), port.get("hairpin", False))
                assert str(link.group) == seen["group"].replace("default", "0")
            addresses = {
                (link["ifname"], ip_interface(f"{each['local']}/{each['prefixlen']}"))
                for link in machine.ip("addr", namespace=here)
                for each in link.get("addr_info", [])
            }
            assert inside.addresses == addresses
            for family, everywhere in ((4, "0.0.0.0/0"), (6, "::/0")):
                routes = {
                    (
                        ip_network(each["dst"].replace("default", everywhere)),
                        each["dev"],
                        each.get("gateway") or each.get("via", {}).get("host", ""),
                        each.get("metric", 0),
                        each["protocol"] == "kernel",
                    )
                    for each in machine.ip(f"-{family}", "route", namespace=here)
                    if each.get("type", "unicast") == "unicast"
                }
                ours_ = {
                    (each.destination, each.link, str(each.gateway or ""), each.metric, each.connected)
                    for each in inside.routes
                    if each.destination.version == family
                }
                assert ours_ == routes


def test_what_is_not_there_is_absent(ours: LinuxKernel, host: str) -> None:
    """A namespace or setting that does not exist is absent from the facts, and no error."""
    nowhere = path()
    missing = Sysctl(HOST, "ipv4.no_such_setting", "1")
    present = Sysctl(HOST, "ipv4.ip_forward", "1")
    there = Sysctl(nowhere, "ipv4.ip_forward", "1")
    facts = ours.facts([nowhere], words=[missing, present, there])
    assert set(facts.namespaces) == {HOST}
    assert facts.sysctls == {present.key: machine.sysctl("ipv4/ip_forward", host)}


def test_a_namespace_with_many_links_is_read_whole(ours: LinuxKernel, host: str) -> None:
    """A dump of several datagrams is complete."""
    lines = "".join(f"link add a{number} type veth peer name b{number}\n" for number in range(150))
    machine.run_in(host, ["ip", "-batch", "-"], input=lines, timeout=120)
    assert len(ours.facts().host.links) == 301


def test_statistics_agree_with_ip(ours: LinuxKernel, host: str) -> None:
    """Counters are those that ``ip -s`` shows."""
    machine.run_in(host, ["ping", "-c", "3", "-i", "0.01", "127.0.0.1"])
    counted = ours.statistics(HOST)["lo"]
    (shown,) = [each["stats64"] for each in machine.ip("-s", "link", "show", "lo", namespace=host)]
    assert (counted.rx_bytes, counted.rx_packets) == (shown["rx"]["bytes"], shown["rx"]["packets"])
    assert (counted.tx_bytes, counted.tx_packets) == (shown["tx"]["bytes"], shown["tx"]["packets"])
    assert counted.rx_packets >= 6
