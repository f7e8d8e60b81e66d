"""The lines that `render` writes are real: a shell runs them, `ip -j` and `nft -j` say that the words are there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from ipaddress import IPv4Interface

import pytest

from libnetwork_py.desired import HOST, Address, Bridge, Change, Moved, Namespace, Table, Veth
from libnetwork_py.render import render
from tests.root import machine, world
from tests.sample import BRIDGE_MAC, MAC, OTHER_MAC, description


def shell(host: str, text: str) -> None:
    """Run lines as a person would, in the namespace that plays the host, stopping at the first that fails."""
    machine.run_in(host, ["sh", "-euc", text])


@pytest.fixture
def web() -> Iterator[str]:
    """The path of a namespace that a test will make."""
    path = f"/run/netns/t{os.getpid()}-render"
    yield path
    machine.drop_namespace(path)


@pytest.fixture
def made(host: str, web: str) -> str:
    """A host on which the lines of the description were run."""
    shell(host, render(Change(make=description(web), why="make\neverything")))
    return host


def test_links(made: str, web: str) -> None:
    """Bridge and veth pair stand as described, with MTU, group, port flags and MAC addresses."""
    host, inside = machine.links(made), machine.links(web)
    bridge = host["br0"]
    assert (bridge["address"], bridge["mtu"], bridge["group"], "UP" in bridge["flags"]) == (
        BRIDGE_MAC,
        1400,
        "77",
        True,
    )
    assert bridge["linkinfo"]["info_data"]["forward_delay"] == bridge["linkinfo"]["info_data"]["stp_state"] == 0
    port = host["veth1"]
    assert (port["master"], port["mtu"], port["group"], "UP" in port["flags"]) == ("br0", 1400, "77", True)
    assert [port["linkinfo"]["info_slave_data"][flag] for flag in ("hairpin", "isolated")] == [True, True]
    assert (inside["eth0"]["address"], inside["eth0"]["mtu"], inside["eth0"]["operstate"]) == (MAC, 1400, "UP")
    assert host["back"]["address"] == OTHER_MAC
    assert "UP" in inside["lo"]["flags"]


def test_addresses_and_routes(made: str, web: str) -> None:
    """Addresses and routes of both families stand as described; the outer end of the pair has no IPv6 address."""
    assert machine.addresses("br0", made) == {"172.18.0.1/16", "fd00:18::1/64"}
    assert machine.addresses("eth0", web) == {"172.18.0.2/16", "fd00:18::2/64"}
    assert not [
        each for link in machine.ip("addr", "show", "dev", "veth1", namespace=made) for each in link["addr_info"]
    ]
    assert machine.routes(web) >= {
        ("default", "172.18.0.1", "eth0"),
        ("10.9.0.0/16", "10.7.0.9", "eth0"),
        ("10.7.0.0/16", "", "eth0"),
    }
    assert ("default", "fd00:18::1", "eth0") in machine.routes(web, 6)
    (through_ipv6,) = machine.ip("route", "show", "10.8.0.0/16", namespace=web)
    assert through_ipv6["via"] == {"family": "inet6", "host": "fd00:18::1"}


def test_settings(made: str, web: str) -> None:
    """Settings have their values, also that of an interface with a dot in its name and one of two numbers."""
    assert machine.sysctl("ipv4/ip_forward", made) == "1"
    assert machine.sysctl("ipv6/conf/eth0/disable_ipv6", web) == "0"
    assert machine.sysctl("ipv6/conf/default/disable_ipv6", web) == "1"
    assert machine.sysctl("ipv4/conf/inner.1/rp_filter", web) == "2"
    assert machine.sysctl("ipv4/ip_local_port_range", web).split() == ["20000", "21000"]


def test_packet_filter(made: str) -> None:
    """The table has its sets, its rule and one element in each set."""
    listed = machine.nft(made)
    held = {each[kind]["name"]: each[kind]["elem"] for each in listed for kind in ("set", "map") if kind in each}
    assert held == {
        "ports": [[{"concat": ["tcp", 8080]}, {"concat": ["172.18.0.2", 80]}]],
        "pairs": [{"concat": ["br0", "br0"]}],
        "networks": [[{"prefix": {"addr": "10.0.0.0", "len": 8}}, {"drop": None}]],
    }
    assert sum(each["rule"]["table"] == "lnw" for each in listed if "rule" in each) == 1


def test_undo(made: str, web: str) -> None:
    """The lines of the reverse change leave the host as it was."""
    shell(made, render(Change(make=description(web)).reverse))
    machine.wait_until(lambda: set(machine.links(made)) == {"lo"}, "the end of what reached into the namespace")
    assert machine.nft(made) == []
    assert machine.sysctl("ipv4/ip_forward", made) == "0"
    assert not os.path.exists(web)  # noqa: PTH110


def test_take_apart(made: str, web: str) -> None:
    """Every word has lines that remove it, also where nothing else would take it away."""
    stays = (Namespace, Table, Bridge, Veth)
    gone = tuple(word for word in description(web) if not isinstance(word, stays))
    shell(made, render(Change(remove=gone)))
    assert machine.addresses("eth0", web) == set()
    assert machine.routes(web) == machine.routes(web, 6) == set()
    assert not any("elem" in each[kind] for each in machine.nft(made) for kind in ("set", "map") if kind in each)


def test_a_moved_link(host: str, web: str) -> None:
    """A link of the host is in the namespace under its new name and address, and back under its own before the namespace goes."""
    shell(host, render(Change(make=(Veth(HOST, "spare", HOST, "spare-in", OTHER_MAC),))))
    change = Change(make=(Namespace(web), Moved(web, "eth0", "spare-in", MAC)))
    shell(host, render(change))
    assert machine.links(web)["eth0"]["address"] == MAC
    assert "UP" in machine.links(web)["eth0"]["flags"]
    shell(host, render(change.reverse))
    assert {"spare", "spare-in"} <= set(machine.links(host))


def test_namespace_at_another_path(host: str) -> None:
    """A namespace that `ip netns` does not know is made, entered and removed by its path."""
    path = f"/tmp/t{os.getpid()}-netns"  # noqa: S108
    veth = Veth(HOST, "veth1", path, "eth0", MAC)
    change = Change(make=(Namespace(path), veth, Address(path, "eth0", IPv4Interface("172.18.0.2/16"))))
    shell(host, render(change))
    try:
        seen = path if world.ROOT else f"/proc/{world.PID}/root{path}"
        assert machine.addresses("eth0", seen) == {"172.18.0.2/16"}
    finally:
        shell(host, render(change.reverse))
    assert not os.path.exists(path)  # noqa: PTH110
