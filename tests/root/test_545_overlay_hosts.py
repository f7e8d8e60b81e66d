"""Overlay networks through the public API: hosts of one cluster, each with a controller, on the real kernel."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from libnetwork_py import NetworkController, Sandbox
from libnetwork_py.errors import Conflict, InvalidParameter, NotSupported
from tests.root import machine, overlay_lab
from tests.root.overlay_lab import Lab

PATIENCE = 5.0


@pytest.fixture
def lab() -> Iterator[Lab]:
    """Two hosts on an underlay."""
    with overlay_lab.lab(2) as made:
        yield made


@pytest.fixture
def hosts(lab: Lab) -> Iterator[list[NetworkController]]:
    """A controller on each, of one cluster."""
    opened: list[NetworkController] = []
    try:
        for host in lab.hosts:
            config = {"advertise": str(host.vtep)}
            opened.append(
                NetworkController.temporary(
                    host=host.path, cluster=f"memory://{Path(lab.underlay).name}", config=config
                )
            )
        yield opened
    finally:
        for controller in opened:
            controller.close()


def reaches(sandbox: Sandbox, address: object, seconds: float = PATIENCE) -> bool:
    """Whether an address answers, now or soon: the other host is told by its watch."""
    end = time.monotonic() + seconds
    while sandbox.run(["ping", "-c1", "-W0.2", str(address)], capture_output=True).returncode:
        if time.monotonic() > end:
            return False
    return True


def names(lab: Lab, number: int) -> set[str]:
    """The links of a host, less its own."""
    return set(machine.links(lab.hosts[number].path)) - {"lo", "eth0"}


def insides(controller: NetworkController, beside: Sandbox) -> list[Path]:
    """The namespaces of a controller's overlay networks, which have their names where its sandboxes have theirs."""
    return list(Path(beside.key).parent.glob(f"ov-*-{controller.info().id[:8]}"))


def test_a_network_across_two_hosts(hosts: list[NetworkController]) -> None:
    """Created on one host and used by name on the other, with IPv4 and IPv6; both are as described, and the other's end is seen."""
    one, two = hosts
    one.create_network("net", "overlay", subnets=["10.7.0.0/24", "fd00:7::/64"])
    web, api = one.create_sandbox("ov-web"), two.create_sandbox("ov-api")
    first, second = web.connect(one.network("net")), api.connect(two.network("net"))
    for address in second.addresses:
        assert reaches(web, address)
    for address in first.addresses:
        assert reaches(api, address)
    assert not one.reconcile(repair=False)
    assert not two.reconcile(repair=False)
    api.delete()
    assert not reaches(web, second.addresses[0], 0)


def test_drift_is_found_and_mended(hosts: list[NetworkController]) -> None:
    """What is missing in a network's namespace, and what somebody told its tunnel, is found, mended and taken away."""
    one, two = hosts
    net = one.create_network("net", "overlay")
    web, api = one.create_sandbox("ov-web"), two.create_sandbox("ov-api")
    web.connect(net)
    address = api.connect(two.network("net")).addresses[0]
    assert reaches(web, address)
    (inside,) = insides(one, web)
    machine.run_in(str(inside), ["ip", "neigh", "flush", "dev", "vxlan0", "nud", "permanent"])
    forged = ["bridge", "fdb", "add", "02:42:0a:00:00:63", "dev", "vxlan0", "dst", "10.99.0.9", "self"]
    machine.run_in(str(inside), forged)
    found = one.reconcile()
    assert [each.kind for each in found.findings] == ["missing", "foreign"]
    assert found.repaired
    assert not one.reconcile()
    assert reaches(web, address)


def test_the_way_out(hosts: list[NetworkController], lab: Lab) -> None:
    """A sandbox on an overlay network has a second interface, by which it reaches what is outside; it goes with the network."""
    one, _ = hosts
    net = one.create_network("net", "overlay")
    web, near = one.create_sandbox("ov-web"), one.create_sandbox("ov-near")
    web.connect(net)
    near.connect(net)
    assert reaches(web, lab.hosts[1].vtep)
    assert {each.name for each in web.interfaces()} == {"lo", "eth0", "eth1"}
    inner = {each.name: each.addresses for each in near.interfaces()}["eth1"]
    assert not reaches(web, inner[0].ip, 0), "by the way out, sandboxes do not reach each other"
    web.disconnect(net)
    assert web.endpoints() == []
    assert {each.name for each in web.interfaces()} == {"lo"}
    assert [each.name for each in one.network("docker_gwbridge").endpoints()] == [f"gateway_{near.id[:12]}"]


def test_an_internal_network_has_none(hosts: list[NetworkController], lab: Lab) -> None:
    """A sandbox on internal networks alone has no way out, and reaches its peers."""
    one, two = hosts
    net = one.create_network("net", "overlay", internal=True)
    web, api = one.create_sandbox("ov-web"), two.create_sandbox("ov-api")
    web.connect(net)
    address = api.connect(two.network("net")).addresses[0]
    assert reaches(web, address)
    assert [each.name for each in web.endpoints()] == ["ov-web"]
    assert not reaches(web, lab.hosts[1].vtep, 0)
    assert "docker_gwbridge" not in {each.name for each in one.networks()}


def test_another_network_leads_out_first(hosts: list[NetworkController], lab: Lab) -> None:
    """A sandbox that is on a bridge network too goes out by that, and its overlay ports are reached all the same."""
    one, _ = hosts
    web = one.create_sandbox("ov-web")
    web.connect(one.create_network("net", "overlay"), ports="8080:80")
    front = web.connect(one.create_network("front"))
    assert web.gateway(4) == front.gateways[0]
    with serving(web):
        assert fetch(lab, 1, "10.99.0.1", 8080)


def test_published_ports(hosts: list[NetworkController], lab: Lab) -> None:
    """A port of an endpoint on an overlay network is reached at its own host, also one published later, until it is taken back."""
    one, two = hosts
    net = one.create_network("net", "overlay")
    web, api = one.create_sandbox("ov-web"), two.create_sandbox("ov-api")
    endpoint = web.connect(net, ports="8080:80")
    other = api.connect(two.network("net"), ports="8080:80")
    with serving(web), serving(api):
        assert fetch(lab, 1, "10.99.0.1", 8080)
        assert fetch(lab, 0, "10.99.0.2", 8080)
        late = endpoint.publish("8081:80")
        assert fetch(lab, 1, "10.99.0.1", 8081)
        endpoint.unpublish(late)
        assert not fetch(lab, 1, "10.99.0.1", 8081)
        other.leave()
        assert not fetch(lab, 0, "10.99.0.2", 8080)


def test_what_is_planned(hosts: list[NetworkController]) -> None:
    """A plan shows the network's namespace, tunnel and way out, and makes none of it."""
    one, _ = hosts
    with one.plan() as plan:
        one.create_sandbox("ov-web").connect(one.create_network("net", "overlay", subnets="10.7.0.0/24"))
    text = plan.text
    assert "type vxlan id 4096 local 10.99.0.1" in text
    assert "eth1" in text, "the way out"
    assert one.networks() == []
    assert not insides(one, one.create_sandbox("ov-beside"))


def test_bad_input(hosts: list[NetworkController]) -> None:
    """Encryption, packets too large for the underlay, and a number that another network has are refused; nothing is made."""
    one, two = hosts
    one.create_network("net", "overlay", options={"com.docker.network.driver.overlay.vxlanid_list": "77"})
    with pytest.raises(NotSupported, match="not sent in clear"):
        one.create_network("secret", "overlay", options={"encrypted": ""})
    with pytest.raises(InvalidParameter, match="takes packets of 1500"):
        one.create_network("jumbo", "overlay", options={"com.docker.network.driver.mtu": 9000})
    with pytest.raises(Conflict):
        two.create_network("twin", "overlay", options={"com.docker.network.driver.overlay.vxlanid_list": "77"})
    assert [each.name for each in one.networks()] == ["net"]


def test_a_host_whose_underlay_is_too_narrow(hosts: list[NetworkController], lab: Lab) -> None:
    """A host that cannot send the network's packets whole refuses to join an endpoint to it; nothing is made there."""
    one, two = hosts
    one.create_sandbox("ov-web").connect(one.create_network("net", "overlay"))
    machine.run_in(lab.hosts[1].path, ["ip", "link", "set", "eth0", "mtu", "1400"])
    api = two.create_sandbox("ov-api")
    with pytest.raises(InvalidParameter, match="takes packets of 1400 bytes"):
        api.connect(two.network("net"))
    assert api.endpoints() == []
    machine.run_in(lab.hosts[1].path, ["ip", "link", "set", "eth0", "mtu", "1500"])
    api.connect(two.network("net"))


def test_nothing_remains(hosts: list[NetworkController], lab: Lab) -> None:
    """With the last endpoint of a host the network's namespace and devices go; with the networks everything does."""
    one, two = hosts
    net = one.create_network("net", "overlay")
    web, api = one.create_sandbox("ov-web"), two.create_sandbox("ov-api")
    web.connect(net)
    api.connect(two.network("net"))
    web.disconnect(net)
    assert not insides(one, web)
    assert insides(two, api)
    web.delete()
    one.network("docker_gwbridge").delete()
    machine.wait_until(lambda: names(lab, 0) == set(), "the links of what was dropped to go")


@pytest.mark.parametrize("how", ["unpublish", "leave", "delete"])
def test_a_udp_port_leads_to_its_new_owner_at_once(hosts: list[NetworkController], lab: Lab, how: str) -> None:
    """A client that goes on sending from one port reaches the next owner of a UDP port of overlay endpoints, and no former one."""
    one, _ = hosts
    net, more = (one.create_network(name, "overlay") for name in ("net", "more"))
    old, new = one.create_sandbox("ov-old"), one.create_sandbox("ov-new")
    old.connect(more)  # so that its way out stays
    endpoint, heir = old.connect(net, ports="8080:80/udp"), new.connect(net)
    with datagrams(lab, old) as first, datagrams(lab, new) as second, outer(lab, 1, "10.99.0.2") as client:
        client.sendto(b"one", ("10.99.0.1", 8080))
        data, back = first.recvfrom(10)
        first.sendto(data, back)
        assert client.recv(10) == b"one", (
            "both sides have spoken: it is a connection, which the packet filter lets through"
        )
        if how == "unpublish":
            endpoint.unpublish("8080:80/udp")
        elif how == "leave":
            endpoint.leave()
        else:
            endpoint.delete(force=True)
        machine.wait_until(lambda: not _arrives(client, first), "the former owner to hear nothing more")
        heir.publish("8080:80/udp")
        machine.wait_until(lambda: _arrives(client, second), "a datagram at the new owner")


def _arrives(client: socket.socket, server: socket.socket) -> bool:
    client.sendto(b"two", ("10.99.0.1", 8080))
    server.settimeout(0.3)
    try:
        return server.recv(10) == b"two"
    except TimeoutError:
        return False


def datagrams(lab: Lab, sandbox: Sandbox) -> socket.socket:
    """A UDP socket on port 80 of a sandbox."""
    made = sandbox.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind(("", 80))
    made.settimeout(PATIENCE)
    return made


def outer(lab: Lab, number: int, address: str) -> socket.socket:
    """A UDP socket of a host that always sends from one port."""
    made = lab.hosts[number].kernel.socket(lab.hosts[number].path, socket.AF_INET, socket.SOCK_DGRAM)
    made.bind((address, 5555))
    made.settimeout(PATIENCE)
    return made


@pytest.mark.parametrize("ipv6", [False, True])
def test_published_ports_over_ipv6(hosts: list[NetworkController], lab: Lab, ipv6: bool) -> None:
    """A port of an overlay endpoint answers at the host's IPv6 address: by the relay, or by a gateway bridge that has IPv6."""
    one, _ = hosts
    if ipv6:
        one.create_network("docker_gwbridge", ipv6=True, options={"com.docker.network.bridge.enable_icc": "false"})
    web = one.create_sandbox("ov-web")
    endpoint = web.connect(one.create_network("net", "overlay"), ports="8080:80")
    with serving(web):
        for address in ("fd99::1", "10.99.0.1"):
            machine.wait_until(lambda address=address: fetch(lab, 1, address, 8080), f"an answer at {address}")  # type: ignore[misc]
        outlet = next(each for each in web.endpoints() if each.name.startswith("gateway_"))
        assert [each.version for each in outlet.addresses] == ([4, 6] if ipv6 else [4])
        assert (web.gateway(6) is not None) == ipv6
        endpoint.leave()
        machine.wait_until(lambda: not fetch(lab, 1, "fd99::1", 8080), "the port to be closed")
    assert not one.reconcile(repair=False)


SHORT_LIVED = """
import os, sys
from libnetwork_py import NetworkController
path, address = sys.argv[1:]
controller = NetworkController.temporary(host=path, cluster="memory://short", config={"advertise": address})
controller.create_sandbox("ov-short").connect(controller.create_network("net", "overlay"))
os._exit(0)
"""


def test_what_a_dead_temporary_controller_had_of_an_overlay_network(lab: Lab) -> None:
    """The next controller, though it is in no cluster, takes away the network's namespace and the way out of one that died."""
    host = lab.hosts[0]
    before = set(machine.NAMESPACES.iterdir())
    machine.run_in("", [sys.executable, "-c", SHORT_LIVED, host.path, host.vtep])
    left = {each.name.partition("-")[0] for each in set(machine.NAMESPACES.iterdir()) - before}
    assert left == {"ov"}, "its network's namespace and its sandbox"
    NetworkController.temporary(host=host.path).close()
    machine.wait_until(lambda: set(machine.NAMESPACES.iterdir()) == before, "the namespaces to go")
    machine.wait_until(lambda: names(lab, 0) == set(), "the links to go")


SERVER = """
import socket
with socket.create_server(("::", 80), family=socket.AF_INET6, dualstack_ipv6=True) as server:
    print("ready", flush=True)
    while True:
        with server.accept()[0] as got:
            got.sendall(b"hello")
"""


class serving:  # noqa: N801 (a context)
    """A server on port 80 of a sandbox."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._process = sandbox.popen([sys.executable, "-c", SERVER], stdout=-1)

    def __enter__(self) -> None:
        assert self._process.stdout is not None
        self._process.stdout.readline()

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()


def fetch(lab: Lab, number: int, address: str, port: int) -> bool:
    """Whether a server answers a host at an address and port."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with lab.hosts[number].kernel.socket(lab.hosts[number].path, family, socket.SOCK_STREAM) as client:
        client.settimeout(2)
        try:
            client.connect((address, port))
            return client.recv(5) == b"hello"
        except OSError:
            return False
