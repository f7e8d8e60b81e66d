"""Enforcing: whatever state the machine is in, it ends as described."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from libnetwork_py.desired import HOST, Change, Namespace, Veth
from libnetwork_py.errors import Conflict, NotFound
from libnetwork_py.facts import compare
from libnetwork_py.kernel.linux import LinuxKernel
from libnetwork_py.types import MacAddress
from tests.root import machine
from tests.root.kernel_lab import NETWORK, kernel, making, names, path, removing, sandbox
from tests.sample import description

MAC = MacAddress("02:42:0a:09:ff:04")

DAMAGE = {
    "nothing": "",
    "bridge down": "ip link set br0 down",
    "bridge gone": "ip link del br0",
    "bridge's MAC": "ip link set br0 address 02:42:0a:09:ff:99",
    "bridge's MTU": "ip link set br0 mtu 1300",
    "port loose": "ip link set veth1 nomaster",
    "port down": "ip link set veth1 down",
    "port isolated": "bridge link set dev veth1 isolated on",
    "port hairpin": "bridge link set dev veth1 hairpin on",
    "pair gone": "ip link del veth1",
    "inner end down": "ip netns exec NAME ip link set eth0 down",
    "inner end renamed": "ip -n NAME link set eth0 down; ip -n NAME link set eth0 name eth7",
    "address gone": "ip -n NAME addr flush dev eth0",
    "route gone": "ip -n NAME route del default",
    "route elsewhere": "ip -n NAME route replace default via 10.9.0.7",
    "setting changed": "ip netns exec NAME sysctl -qw net.ipv6.conf.all.disable_ipv6=0",
    "namespace gone": "ip netns del NAME",
}


@pytest.fixture
def ours(host: str) -> Iterator[LinuxKernel]:
    """A kernel over a host of its own."""
    with kernel(host) as opened:
        yield opened


@pytest.fixture
def where() -> Iterator[str]:
    """A path for a sandbox, taken away afterwards."""
    where = path()
    with names(where):
        yield where


@pytest.mark.parametrize("what", DAMAGE)
def test_damage_is_mended(ours: LinuxKernel, host: str, where: str, what: str) -> None:
    """After any damage, enforcing leads back to what is described."""
    words = (*NETWORK, *sandbox(1, where))
    ours.enforce(making(*words))
    machine.run_beside(where, host, ["sh", "-ec", DAMAGE[what].replace("NAME", Path(where).name)])
    ours.enforce(making(*words))
    difference = compare(words, ours.facts([where], words=words))
    assert not difference, difference
    port = machine.links(host)["veth1"]
    assert (port["master"], port["operstate"]) == ("br0", "UP")
    assert port["linkinfo"]["info_slave_data"]["isolated"] is False
    assert machine.addresses("eth0", where) == {"10.9.1.1/16"}
    assert machine.routes(where) == {("default", "10.9.0.1", "eth0"), ("10.9.0.0/16", "", "eth0")}
    machine.run_in(where, ["ping", "-c", "1", "-W", "2", "10.9.0.1"])


def test_every_kind_of_word_is_made_found_and_removed(ours: LinuxKernel, host: str, where: str) -> None:
    """A description with every word in it: made whole, found whole, removed whole; each twice."""
    machine.run_in(host, ["sysctl", "-qw", "net.ipv4.ip_forward=0"])
    words = description(where)
    for _ in range(2):
        ours.enforce(making(*words))
        difference = compare(words, ours.facts([where], words=words))
        assert not difference, difference
    for _ in range(2):
        ours.enforce(removing(*words))
    assert set(machine.links(host)) == {"lo"}
    assert machine.nft(host) == []
    assert machine.sysctl("ipv4/ip_forward", host) == "0"
    assert not Path(ours.reach(where)).exists()


def test_half_a_namespace_is_cleared_away(ours: LinuxKernel, host: str, where: str) -> None:
    """A name without a namespace, as a killed process leaves it, is removed, or becomes one."""
    Path(ours.reach(where)).touch()
    ours.enforce(removing(Namespace(where)))
    assert not Path(ours.reach(where)).exists()
    Path(ours.reach(where)).touch()
    ours.enforce(making(*NETWORK, *sandbox(1, where)))
    assert machine.addresses("eth0", where) == {"10.9.1.1/16"}


def test_it_goes_on_past_an_error(ours: LinuxKernel, host: str, where: str) -> None:
    """What can be made is made; what cannot is told at the end, all of it, and nothing is undone."""
    bad = Veth(HOST, "veth9", where, "eth9", MAC, "br9")
    machine.run_in(host, ["ip", "link", "add", "veth1", "type", "bridge"])
    with pytest.raises(ExceptionGroup) as caught:
        ours.enforce(making(*NETWORK, bad, *sandbox(1, where)))
    assert {type(each) for each in caught.value.exceptions} >= {Conflict, NotFound}
    assert machine.addresses("br0", host) == {"10.9.0.1/16"}
    assert "lo" in machine.links(where)
    assert machine.links(host)["veth1"]["linkinfo"]["info_kind"] == "bridge"


def test_a_foreign_link_is_not_removed(ours: LinuxKernel, host: str) -> None:
    """A link of another kind that has the name of ours is not ours to remove."""
    machine.run_in(host, ["ip", "link", "add", "br0", "type", "veth", "peer", "name", "theirs"])
    ours.enforce(removing(*NETWORK))
    assert "br0" in machine.links(host)


def test_a_new_shape_wins_over_an_old_one(ours: LinuxKernel, host: str, where: str) -> None:
    """A word in both lists ends in its new shape, whichever was there."""
    old, new = sandbox(1, where), sandbox(1, where, isolated=True)
    ours.enforce(making(*NETWORK, *old))
    for _ in range(2):
        ours.enforce(Change(remove=old, make=new))
        assert machine.links(host)["veth1"]["linkinfo"]["info_slave_data"]["isolated"] is True
        assert machine.addresses("eth0", where) == {"10.9.1.1/16"}
