"""What the kernel remembers of connections is forgotten with the address or port that they went to, and nothing else is."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from libnetwork_py import NetworkController, PortBinding, Sandbox
from libnetwork_py.kernel.api import PortFlow
from tests.root import machine
from tests.root.api_lab import PATIENCE, socket_in
from tests.root.conntrack import fill
from tests.root.kernel_lab import kernel

OUTSIDE = {4: "10.255.0.2", 6: "fd00:255::2"}
HOST_SIDE = {4: "10.255.0.1", 6: "fd00:255::1"}
INSIDE = {4: "10.7.0.2", 6: "fd00:7::2"}
FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}


def remembered(host: str) -> list[str]:
    """The connections that the host remembers, one a line."""
    shown = [machine.run_in(host, ["conntrack", "-L", "-f", family], check=False).stdout for family in ("ipv4", "ipv6")]
    return "".join(shown).splitlines()


def of(host: str, *words: str) -> list[str]:
    """Those that mention every word."""
    return [line for line in remembered(host) if all(re.search(rf"{re.escape(word)}(\s|$)", line) for word in words)]


def soon_none(host: str, *words: str) -> None:
    """Wait until nothing that mentions the words is remembered."""
    machine.wait_until(lambda: not of(host, *words), f"{words} to be forgotten")


@pytest.fixture
def web(host: str, controller: NetworkController, outside: machine.Outside) -> Sandbox:
    """A sandbox on a network of both families, with two published UDP ports, before an outside; its host forwards for others too."""
    machine.run_in(host, ["sysctl", "-qw", "net.ipv4.ip_forward=1"])
    front = controller.create_network("front", subnets=["10.7.0.0/24", "fd00:7::/64"])
    sandbox = controller.create_sandbox("flows-web")
    sandbox.connect(front, name="web", ports=["8080:80/udp", "8081:81/udp"])
    return sandbox


@pytest.fixture
def client(outside: machine.Outside) -> Iterator[dict[int, socket.socket]]:
    """A socket of the outside for each family, that always sends from one port: to the host it is one connection."""
    sockets = {family: socket_in(outside.namespace, family, "udp") for family in FAMILIES}
    for family, sock in sockets.items():
        sock.bind((OUTSIDE[family], 5555))
        sock.settimeout(PATIENCE)
    yield sockets
    for sock in sockets.values():
        sock.close()


def server(sandbox: Sandbox, family: int, port: int) -> socket.socket:
    """A UDP socket of a sandbox."""
    sock = sandbox.socket(FAMILIES[family], socket.SOCK_DGRAM)
    sock.bind(("", port))
    sock.settimeout(PATIENCE)
    return sock


def heard(sock: socket.socket) -> bytes:
    """The next datagram."""
    return sock.recvfrom(100)[0]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_port_leads_to_its_new_owner_at_once(
    host: str, controller: NetworkController, web: Sandbox, client: dict[int, socket.socket], family: int
) -> None:
    """A client that goes on sending from the same port reaches the next owner of a published UDP port."""
    front = controller.network("front")
    other = controller.create_sandbox("flows-other")
    second = other.connect(front, name="second")
    with server(web, family, 80) as old, server(other, family, 80) as new:
        client[family].sendto(b"one", (HOST_SIDE[family], 8080))
        assert heard(old) == b"one"
        front.endpoint("web").unpublish("8080:80/udp")
        second.publish("8080:80/udp")
        soon_none(host, f"src={INSIDE[family]}", "dport=8080")
        client[family].sendto(b"two", (HOST_SIDE[family], 8080))
        assert heard(new) == b"two"


@pytest.mark.parametrize("family", FAMILIES)
def test_a_port_that_was_asked_in_vain_is_reached_once_published(
    host: str, controller: NetworkController, web: Sandbox, client: dict[int, socket.socket], family: int
) -> None:
    """A client that sent to a UDP port before it was published reaches it afterwards, from the same port of its own."""
    with server(web, family, 90) as served:
        client[family].sendto(b"one", (HOST_SIDE[family], 9090))
        machine.wait_until(lambda: of(host, "dport=9090"), "the first datagram to be remembered")
        controller.network("front").endpoint("web").publish("9090:90/udp")
        soon_none(host, "dport=9090")
        client[family].sendto(b"two", (HOST_SIDE[family], 9090))
        assert heard(served) == b"two"


@pytest.mark.parametrize("how", ["leave", "delete", "sandbox"])
def test_an_address_leaves_nothing_behind(
    host: str, controller: NetworkController, web: Sandbox, client: dict[int, socket.socket], how: str
) -> None:
    """After leave, deletion of the endpoint or of the sandbox, no connection from or to its addresses is remembered."""
    endpoint = controller.network("front").endpoint("web")
    for family, number in FAMILIES.items():
        with server(web, family, 80) as served, web.socket(number, socket.SOCK_DGRAM) as asking:
            client[family].sendto(b"in", (HOST_SIDE[family], 8080))
            assert heard(served) == b"in"
            asking.sendto(b"out", (OUTSIDE[family], 4444))
    machine.wait_until(lambda: len(of(host, "dport=4444")) == len(FAMILIES), "the ways out")
    if how == "leave":
        endpoint.leave()
    elif how == "delete":
        endpoint.delete(force=True)
    else:
        web.delete()
    for family in FAMILIES:
        soon_none(host, f"src={INSIDE[family]}")
        soon_none(host, f"dst={INSIDE[family]}")


def test_nothing_else_is_forgotten(
    host: str, controller: NetworkController, web: Sandbox, client: dict[int, socket.socket], outside: machine.Outside
) -> None:
    """Connections of other ports, of other addresses, and through the host to the same port elsewhere stay."""
    front = controller.network("front")
    other = controller.create_sandbox("flows-other")
    other.connect(front, name="second", ports="8082:80/udp")
    far = machine.new_namespace("far")
    try:
        for line in (
            f"link add far0 type veth peer name eth0 netns {far.rpartition('/')[2]}",
            "link set far0 up",
            "addr add 10.254.0.1/24 dev far0",
        ):
            machine.run_in(host, ["ip", *line.split()])
        for line in ("link set eth0 up", "addr add 10.254.0.2/24 dev eth0", "route add default via 10.254.0.1"):
            machine.run_in(far, ["ip", *line.split()])
        machine.run_in(outside.namespace, ["ip", "route", "add", "default", "via", HOST_SIDE[4]])
        for port in (8080, 8081, 8082):
            client[4].sendto(b"x", (HOST_SIDE[4], port))
        client[4].sendto(b"x", ("10.254.0.2", 8080))  # forwarded to somebody else's port of the same number
        client[4].sendto(b"x", ("10.254.0.2", 8083))
        machine.wait_until(lambda: of(host, "dst=10.254.0.2", "dport=8083"), "the last datagram")
        front.endpoint("web").unpublish("8080:80/udp")
        front.endpoint("second").publish("8083:83/udp")
        soon_none(host, f"dst={HOST_SIDE[4]}", "dport=8080")
        for kept in (
            ("dport=8081",),
            ("dport=8082",),
            ("dst=10.254.0.2", "dport=8080"),
            ("dst=10.254.0.2", "dport=8083"),
        ):
            assert of(host, *kept), kept
    finally:
        machine.drop_namespace(far)


def test_a_new_owner_finds_an_address_forgotten(host: str, web: Sandbox, controller: NetworkController) -> None:
    """Who joins with an address that has just gone finds the last owner's connections forgotten already."""
    front = controller.network("front")
    with web.socket(FAMILIES[4], socket.SOCK_DGRAM) as asking:
        for number in range(5):
            asking.sendto(b"out", (OUTSIDE[4], 4444))
            machine.wait_until(lambda: of(host, "dport=4444"), "the datagram to pass the host")
            web.disconnect(front)
            web.connect(front, name=f"next-{number}", addresses=["10.7.0.2", "fd00:7::2"])
            assert not of(host, "dport=4444")


def test_many_addresses_are_forgotten_in_one_look(host: str) -> None:
    """A thousand addresses and ports at once cost one look at everything, and take the same connections."""
    fill(host, 2000)
    with kernel(host) as some:
        wanted = [f"10.66.0.{number}" for number in range(1, 101)]
        some.forget_flows(map(ip_address, wanted))
        some.close()
    left = {re.search(r"src=(\S+)", line)[1] for line in remembered(host)}  # type: ignore[index]
    assert left
    assert not left & set(wanted)


def test_a_port_of_one_address_is_told_from_that_of_another(host: str) -> None:
    """Only connections through the binding's own address are forgotten when a port is published anew."""
    fill(host, 20, "udp")
    with kernel(host) as some:
        machine.run_in(host, ["ip", "addr", "add", "10.77.0.1/32", "dev", "lo"])
        binding = PortBinding.parse("10.77.0.2:53:53/udp")
        some.forget_flows(opened=[PortFlow(binding, ip_address("10.5.0.1"))])
        some.close()
        assert len(remembered(host)) == 20
    with kernel(host) as some:
        some.forget_flows(opened=[PortFlow(PortBinding.parse("53:53/udp"), ip_address("10.5.0.1"))])
    assert not remembered(host)
