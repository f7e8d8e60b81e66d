"""VXLAN devices and what they are told, on the real kernel: made whole, written over in place, mended, thousands at once."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest

from libnetwork_py.desired import (
    Bridge,
    Change,
    Description,
    Forwarding,
    Namespace,
    Neighbour,
    Sysctl,
    Vxlan,
    between,
)
from libnetwork_py.errors import LibnetworkError
from libnetwork_py.facts import compare
from libnetwork_py.kernel import transport
from libnetwork_py.kernel.linux import LinuxKernel
from libnetwork_py.types import IPAddress, MacAddress
from tests.root import machine, world
from tests.root.kernel_lab import kernel, making, names, path, removing

HERE, THERE, ELSEWHERE = IPv4Address("192.0.2.1"), IPv4Address("192.0.2.2"), IPv4Address("192.0.2.3")
MAC, OTHER_MAC = MacAddress("02:42:0a:01:00:02"), MacAddress("02:42:0a:01:00:03")


@pytest.fixture
def ours(host: str) -> Iterator[LinuxKernel]:
    """A kernel over a host of its own."""
    with kernel(host) as opened:
        yield opened


@pytest.fixture
def where() -> Iterator[str]:
    """A path for a network's namespace, taken away afterwards."""
    where = path("network")
    with names(where):
        yield where


def tunnel(where: str, mtu: int = 1450) -> Description:
    """A namespace with a bridge and a VXLAN device that is a port of it."""
    return (
        Namespace(where),
        Bridge(where, "br0", MacAddress("02:00:00:00:00:07"), mtu),
        Vxlan(where, "vx0", 4097, HERE, 4790, "br0", mtu),
        Sysctl(where, "ipv6.conf.{}.disable_ipv6", "0", link="vx0"),
    )


def peer(where: str, number: int = 2, mac: MacAddress = MAC, vtep: IPAddress = THERE) -> Description:
    """Somebody behind the tunnel."""
    return (
        Neighbour(where, "vx0", IPv4Address("10.1.0.0") + number, mac),
        Neighbour(where, "vx0", IPv6Address("fd01::") + number, mac),
        Forwarding(where, "vx0", mac, vtep),
    )


def table(where: str) -> set[str]:
    """What ``bridge`` and ``ip`` show of the tunnel's entries, less what does not matter here."""
    forwarding = machine.run_in(where, ["bridge", "fdb", "show", "dev", "vx0"]).stdout.splitlines()
    neighbours = machine.run_in(where, ["ip", "neigh", "show", "dev", "vx0"]).stdout.splitlines()
    lines = (line.replace("link-netnsid 0 ", "").strip() for line in (*forwarding, *neighbours))
    return {line for line in lines if line.startswith(("02:42:", "10.1.", "fd01:"))}


@contextmanager
def listening(where: str, news: Path) -> Iterator[None]:
    """Let ``bridge monitor`` write what happens to forwarding entries into a file."""
    with news.open("w") as file:
        monitor = subprocess.Popen([*world.entering(where), "bridge", "monitor", "fdb"], stdout=file)
        try:
            yield
        finally:
            monitor.kill()
            monitor.wait()


PEER = {
    "02:42:0a:01:00:02 sticky master br0 static",
    "02:42:0a:01:00:02 dst 192.0.2.2 self permanent",
    "10.1.0.2 lladdr 02:42:0a:01:00:02 PERMANENT",
    "fd01::2 lladdr 02:42:0a:01:00:02 PERMANENT",
}


def test_a_tunnel_is_what_it_is_described_as(ours: LinuxKernel, where: str) -> None:
    """The device has its number, port and address, answers for its neighbours, learns nothing, floods nothing; entries are for good."""
    ours.apply(making(*tunnel(where), *peer(where)))
    link = machine.ip("-d", "link", "show", "vx0", namespace=where)[0]
    data, port = link["linkinfo"]["info_data"], link["linkinfo"]["info_slave_data"]
    assert (data["id"], data["local"], data["port"], data["learning"], data["proxy"]) == (
        4097,
        "192.0.2.1",
        4790,
        False,
        True,
    )
    assert (link["mtu"], link["master"], port["learning"], port["flood"]) == (1450, "br0", False, False)
    assert table(where) == PEER
    assert machine.ip("addr", "show", "vx0", namespace=where)[0]["addr_info"] == []


def test_the_number_is_free_at_once(ours: LinuxKernel, where: str) -> None:
    """A namespace that goes gives its device's number back before the change has ended, and again when it comes back."""
    words = (*tunnel(where), *peer(where))
    for _ in range(5):
        ours.apply(making(*words))
        ours.apply(removing(*words))
    ours.apply(making(*words))
    assert table(where) == PEER


def test_an_entry_is_written_over(ours: LinuxKernel, where: str, tmp_path: Path) -> None:
    """A peer that moves is followed in place: at no moment does the kernel know nobody, for nothing is removed."""
    here, moved = (*tunnel(where), *peer(where)), (*tunnel(where), *peer(where, vtep=ELSEWHERE))
    ours.apply(making(*here))
    news = tmp_path / "news"
    with listening(where, news):
        other = Forwarding(where, "vx0", OTHER_MAC, THERE)

        def heard() -> bool:
            ours.apply(Change(make=(other,)))
            ours.apply(Change(remove=(other,)))
            return str(OTHER_MAC) in news.read_text()

        machine.wait_until(heard, "the kernel's news")
        ours.apply(between(here, moved))
        machine.wait_until(lambda: "dst 192.0.2.3" in news.read_text(), "the kernel's news of the move")
    assert f"Deleted {MAC}" not in news.read_text()
    assert f"{MAC} dst 192.0.2.3 self permanent" in table(where)
    assert f"{MAC} dst 192.0.2.2 self permanent" not in table(where)


def test_what_was_written_over_is_written_back(ours: LinuxKernel, where: str) -> None:
    """A change that fails after entries were written over leads back to what they were."""
    here, moved = (*tunnel(where), *peer(where)), (*tunnel(where), *peer(where, vtep=ELSEWHERE))
    ours.apply(making(*here))
    change = between(here, moved)
    bad = Neighbour(where, "vx9", IPv4Address("10.1.0.9"), MAC)
    with pytest.raises(LibnetworkError, match="vx9"):
        ours.apply(Change(remove=change.remove, make=(*change.make, bad)))
    assert table(where) == PEER


def test_a_failed_leave_leads_back(ours: LinuxKernel, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """If a network cannot be removed whole, device and entries are as they were."""
    words = (*tunnel(where), *peer(where))
    ours.apply(making(*words))
    steps: list[str] = []

    def fail(label: str) -> None:
        steps.append(label)
        if len(steps) == 2:
            raise LibnetworkError("told to fail")

    monkeypatch.setattr(transport, "checkpoint", fail)
    with pytest.raises(LibnetworkError, match="told to fail"):
        ours.apply(removing(*words))
    monkeypatch.undo()
    assert len(steps) > 1
    assert not compare(words, ours.facts([where], words=words))
    assert table(where) == PEER


DAMAGE = {
    "entry gone": "bridge fdb del MAC dev vx0 self",
    "bridge's entry gone": "bridge fdb del MAC dev vx0 master",
    "entry elsewhere": "bridge fdb replace MAC dev vx0 dst 192.0.2.9 self",
    "neighbour gone": "ip neigh del 10.1.0.2 dev vx0",
    "neighbour is another": "ip neigh replace fd01::2 lladdr 02:00:00:00:00:99 dev vx0 nud permanent",
    "device gone": "ip link del vx0",
    "device down": "ip link set vx0 down",
    "device without bridge": "ip link set vx0 nomaster",
    "flooding": "ip link set vx0 type bridge_slave flood on learning on",
    "MTU": "ip link set vx0 mtu 1300",
    "another number": "ip link del vx0; ip link add vx0 mtu 1450 type vxlan id 5 local 192.0.2.1 dstport 4790",
    "bridge gone": "ip link del br0",
}


@pytest.mark.parametrize("what", DAMAGE)
def test_damage_is_found_and_mended(ours: LinuxKernel, where: str, what: str) -> None:
    """Whatever is done to a tunnel or its entries is seen, and enforcing leads back."""
    words = (*tunnel(where), *peer(where))
    ours.apply(making(*words))
    machine.run_in(where, ["sh", "-ec", DAMAGE[what].replace("MAC", str(MAC))])
    assert compare(words, ours.facts([where], words=words))
    ours.enforce(making(*words))
    difference = compare(words, ours.facts([where], words=words))
    assert not difference, difference
    assert table(where) == PEER


def test_thousands_of_entries_in_few_messages(ours: LinuxKernel, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Entries for 10,000 peers, more than a neighbour table has room for by default, go in sends of hundreds, and come back whole."""
    peers = tuple(
        word
        for number in range(2, 10_002)
        for word in peer(where, number, MacAddress(b"\x02\x42" + (0x0A010000 + number).to_bytes(4, "big")))
    )
    ours.apply(making(*tunnel(where)))
    sends: list[str] = []
    monkeypatch.setattr(transport, "checkpoint", sends.append)
    ours.apply(making(*peers))
    assert len(sends) <= 4 * 10_000 / 256 + 10
    assert not compare(peers, ours.facts([where], words=peers))
