"""The kernel's features are found by trying them, and trying leaves nothing."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from libnetwork_py.kernel import probe as probing
from libnetwork_py.kernel.opener import Opener
from libnetwork_py.kernel.probe import probe
from tests.root import kernel_lab, machine

NAMES = {
    *("bridge", "veth", "vxlan", "macvlan", "ipvlan", "dummy", "vlan", "wireguard"),
    *("bridge_vlan_filtering", "bridge_port_isolation", "netem", "netem_seed", "tbf", "htb", "ingress"),
    *("nftables", "nftables_nat_inet", "nftables_concat_intervals", "nftables_ingress", "conntrack", "br_netfilter"),
    *("ipv6", "ipvs", "xfrm"),
}


@pytest.fixture
def opener() -> Iterator[Opener]:
    """The machine."""
    with kernel_lab.opener() as some:
        yield some


def works(namespace: str, *argv: str) -> bool:
    """Whether a program succeeds in a namespace."""
    return machine.run_in(namespace, argv, check=False).returncode == 0


def test_every_feature_is_answered(opener: Opener) -> None:
    """The answer names each feature that the documentation names, with yes or no."""
    found = probe(opener)
    assert set(found) == NAMES
    assert set(map(type, found.values())) == {bool}


@pytest.mark.parametrize("kind", ["bridge", "dummy", "wireguard"])
def test_links_agree_with_ip(opener: Opener, host: str, kind: str) -> None:
    """A kind of link works exactly where ``ip link add`` can make one."""
    assert probe(opener)[kind] == works(host, "ip", "link", "add", "x0", "type", kind)


@pytest.mark.parametrize("kind", ["macvlan", "ipvlan", "vlan"])
def test_upper_links_agree_with_ip(opener: Opener, host: str, kind: str) -> None:
    """A kind of link that stands on another works exactly where ``ip link add`` can make one."""
    assert works(host, "ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1")
    more = ["id", "2"] if kind == "vlan" else []
    assert probe(opener)[kind] == works(host, "ip", "link", "add", "link", "v0", "name", "x0", "type", kind, *more)


def test_bridge_features_agree_with_ip(opener: Opener, host: str) -> None:
    """VLAN filtering and port isolation work exactly where ``ip`` can switch them on."""
    found = probe(opener)
    assert works(host, "ip", "link", "add", "b0", "type", "bridge")
    assert works(host, "ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1")
    assert works(host, "ip", "link", "set", "v0", "master", "b0")
    isolation = works(host, "ip", "link", "set", "v0", "type", "bridge_slave", "isolated", "on")
    filtering = works(host, "ip", "link", "set", "b0", "type", "bridge", "vlan_filtering", "1")
    assert (found["bridge_port_isolation"], found["bridge_vlan_filtering"]) == (isolation, filtering)


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        ("netem", ["root", "netem", "delay", "1ms"]),
        ("tbf", ["root", "tbf", "rate", "1mbit", "burst", "10kb", "latency", "10ms"]),
        ("htb", ["root", "htb"]),
        ("ingress", ["ingress"]),
    ],
)
def test_traffic_control_agrees_with_tc(opener: Opener, host: str, kind: str, arguments: list[str]) -> None:
    """A queueing discipline works exactly where ``tc qdisc add`` can make one."""
    assert probe(opener)[kind] == works(host, "tc", "qdisc", "add", "dev", "lo", *arguments)


@pytest.mark.parametrize(
    ("feature", "ruleset"),
    [
        ("nftables", "table inet t {}"),
        (
            "nftables_nat_inet",
            "table inet t { chain c { type nat hook postrouting priority 100; masquerade; }; }",
        ),
        (
            "nftables_concat_intervals",
            "table inet t { set s { type ipv4_addr . inet_service; flags interval; }; }",
        ),
        (
            "nftables_ingress",
            'table inet t { chain c { type filter hook ingress device "lo" priority 0; numgen random mod 5 < 2 drop; }; }',
        ),
    ],
)
def test_the_packet_filter_agrees_with_nft(opener: Opener, host: str, feature: str, ruleset: str) -> None:
    """The packet filter can do exactly what ``nft`` can load."""
    assert probe(opener)[feature] == works(host, "nft", ruleset)


def test_generic_netlink_families_are_found(opener: Opener) -> None:
    """A family that every kernel has is found and one that none has is not."""
    with probing._bench(opener) as bench:
        assert probing._family(bench.generic, "nlctrl")
        assert not probing._family(bench.generic, "nonesuch")


def test_nothing_is_left(opener: Opener) -> None:
    """Probing leaves no descriptor, no name, no link, no table and no process."""
    probe(opener)
    before, descriptors = machine.traces(), sorted(path.name for path in Path("/proc/self/fd").iterdir())
    probe(opener)
    assert sorted(path.name for path in Path("/proc/self/fd").iterdir()) == descriptors
    assert not machine.traces().added(before)


def test_an_opener_that_cannot_do_it_alone_uses_a_name(opener: Opener) -> None:
    """Where namespaces come from a helper, the probe asks for a named one, finds the same, and takes the name away."""
    alone = probe(opener)
    opener.mode = "user"
    assert probe(opener) == alone
    names = subprocess.run(["ip", "netns", "list"], check=True, capture_output=True, text=True).stdout
    assert "libnetwork-probe" not in names
