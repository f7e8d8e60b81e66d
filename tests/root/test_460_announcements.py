"""An address that moved to another MAC address is followed by its neighbours at once."""

from __future__ import annotations

import socket

import pytest

from libnetwork_py import NetworkController, Sandbox
from tests.root import machine
from tests.root.api_lab import pings

ADDRESSES = ("10.7.0.9", "fd00:7::9")


def neighbour(sandbox: Sandbox, address: str) -> str:
    """The MAC address at which a sandbox believes another address to be."""
    shown = machine.ip("neigh", "show", address, namespace=sandbox.key)
    return str(shown[0].get("lladdr", "")) if shown else ""


@pytest.mark.parametrize("macs", [("02:00:00:00:00:01", None), (None, "02:00:00:00:00:01")], ids=["ours", "theirs"])
def test_neighbours_follow_an_address(host: str, controller: NetworkController, macs: tuple[str | None, ...]) -> None:
    """When an address gets a new owner with another MAC address, a neighbour that remembers the old one learns the new one."""
    network = controller.create_network("front", subnets=["10.7.0.0/24", "fd00:7::/64"])
    watcher, first, second = (controller.create_sandbox(f"arp-{name}") for name in ("watcher", "first", "second"))
    watcher.connect(network)
    old = first.connect(network, name="old", addresses=ADDRESSES, mac=macs[0])
    machine.wait_until(lambda: all(pings(watcher, each, within=1) for each in ADDRESSES), "the first owner's answers")
    before = old.mac
    assert [neighbour(watcher, each) for each in ADDRESSES] == [before, before]
    first.disconnect(network)
    new = second.connect(network, name="new", addresses=ADDRESSES, mac=macs[1])
    assert new.mac != before
    machine.wait_until(lambda: [neighbour(watcher, each) for each in ADDRESSES] == [new.mac] * 2, "the new MAC")
    assert all(pings(watcher, each) for each in ADDRESSES)


def test_nothing_is_announced_without_need(host: str, controller: NetworkController) -> None:
    """Joining with an address nobody had, or with the MAC address it had, sends the neighbours nothing: it would cost each of them."""
    network = controller.create_network("front", subnets="10.7.0.0/24")
    watcher, other = controller.create_sandbox("arp-watcher"), controller.create_sandbox("arp-other")
    watcher.connect(network)
    arp = 0x0806
    with watcher.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(arp)) as ear:
        ear.settimeout(0.3)
        for _ in range(2):
            other.connect(network, addresses="10.7.0.9")
            other.disconnect(network)
        with pytest.raises(TimeoutError):
            ear.recv(100)
