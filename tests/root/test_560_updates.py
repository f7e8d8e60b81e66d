"""Networks and endpoints changed while they are in use, on the real kernel: nothing that runs over them notices."""

from __future__ import annotations

import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from libnetwork_py import LibnetworkError, Network, NetworkController, Sandbox, labels
from libnetwork_py.kernel import transport
from tests.root import machine
from tests.root.api_lab import GRACE, asks, at, of, picture, pings, serving
from tests.root.machine import Outside

SUBNETS = ["10.7.0.0/24", "fd00:7::/64"]
ICC, MTU = labels.BRIDGE_ENABLE_ICC, labels.DRIVER_MTU


@pytest.fixture
def front(controller: NetworkController) -> Network:
    """A network of both families on the bridge br7."""
    return controller.create_network("front", subnets=SUBNETS, options={labels.BRIDGE_NAME: "br7"})


@pytest.fixture
def boxes(controller: NetworkController, front: Network) -> tuple[Sandbox, Sandbox]:
    """Two sandboxes on it."""
    found = tuple(controller.create_sandbox(f"up{number}") for number in range(2))
    for box in found:
        box.connect(front)
    return found[0], found[1]


@contextmanager
def pinging(box: Sandbox, address: object) -> Iterator[None]:
    """Ping an address a hundred times a second, for ten times longer than the body, and fail if one answer is missing."""
    argv = ["ping", "-n", "-i", "0.01", "-W", "2", str(address)]
    with box.popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.readline()  # the first answer
        try:
            yield
            for _ in range(10):
                process.stdout.readline()
        finally:
            process.send_signal(2)
            out, _ = process.communicate(timeout=120)
    found = re.search(r"(\d+) packets transmitted, (\d+) received", out)
    assert found, out
    assert int(found[1]) - int(found[2]) <= 1, out  # the last one may still be on its way


def isolated(host: str) -> set[bool]:
    """Whether the ports of br7 are isolated."""
    ports = (link for link in machine.links(host).values() if link.get("master") == "br7")
    return {link["linkinfo"]["info_slave_data"]["isolated"] for link in ports}


@pytest.mark.parametrize("family", [4, 6])
def test_a_ping_runs_through_every_change(
    host: str, outside: Outside, front: Network, boxes: tuple[Sandbox, Sandbox], family: int
) -> None:
    """ICC, MTU, masquerade, trusted interfaces, labels and routes change and change back while pings to the outside go on."""
    target = outside.ipv4.ip if family == 4 else outside.ipv6.ip
    machine.ip("route", "add", SUBNETS[0], "via", outside.host_ipv4.ip, namespace=outside.namespace)
    machine.ip("-6", "route", "add", SUBNETS[1], "via", outside.host_ipv6.ip, namespace=outside.namespace)
    before = {name: link["ifindex"] for name, link in machine.links(boxes[0].key).items()}
    changes: list[dict[str, Any]] = [{ICC: False}, {MTU: 1400}, {labels.BRIDGE_TRUSTED_HOST_INTERFACES: "uplink0"}]
    back: dict[str, Any] = {ICC: True, MTU: 0, labels.BRIDGE_TRUSTED_HOST_INTERFACES: ""}
    with pinging(boxes[0], target):
        for _ in range(3):
            for change in changes:
                front.update(options=change)
            assert isolated(host) == {True}
            front.update(options=back, labels={"stage": "test"}, routes=["10.9.0.0/16 via 10.7.0.9"])
            assert isolated(host) == {False}
            front.update(routes=())
    assert {name: link["ifindex"] for name, link in machine.links(boxes[0].key).items()} == before


def test_a_connection_runs_through_it(
    front: Network, boxes: tuple[Sandbox, Sandbox], controller: NetworkController
) -> None:
    """A TCP connection between neighbours lives through a change of MTU, and through ICC off and on again."""
    one, two = boxes
    with (
        two.socket(socket.AF_INET, socket.SOCK_STREAM) as server,
        one.socket(socket.AF_INET, socket.SOCK_STREAM) as client,
    ):
        server.bind(("0.0.0.0", 7000))
        server.listen()
        client.settimeout(10)
        client.connect((str(two.endpoints()[0].addresses[0]), 7000))
        accepted, _ = server.accept()
        with accepted:
            accepted.settimeout(10)
            for options in ({MTU: 9000}, {ICC: False}, {ICC: True}, {MTU: 1300}):
                front.update(options=options)
                if options != {ICC: False}:
                    client.sendall(b"x" * 100_000)
                    left = 100_000
                    while left:
                        left -= len(accepted.recv(left))
    assert not controller.reconcile(repair=False)


def test_icc_is_off_at_once(front: Network, boxes: tuple[Sandbox, Sandbox], controller: NetworkController) -> None:
    """With ICC switched off neighbours do not reach each other any more, nor do those that join later; on again, they do."""
    one, two = boxes
    addresses = two.endpoints()[0].addresses
    assert all(pings(one, each) for each in addresses)
    front.update(options={ICC: False})
    third = controller.create_sandbox("up-third")
    third.connect(front)
    assert not any(pings(box, each, within=GRACE) for box in (one, third) for each in addresses)
    assert pings(third, "10.7.0.1")
    front.update(options={ICC: True})
    assert all(pings(box, each) for box in (one, third) for each in addresses)


def test_the_size_changes_at_both_ends(
    host: str, front: Network, boxes: tuple[Sandbox, Sandbox], controller: NetworkController
) -> None:
    """A changed MTU is on the bridge and at both ends of every pair, and large packets pass whole; 0 is the kernel's own again."""
    for mtu, now in ((9000, 9000), (1280, 1280), (0, 1500)):
        front.update(options={MTU: mtu})
        outer = [link["mtu"] for link in machine.links(host).values() if link.get("master") == "br7"]
        inner = [machine.links(box.key)["eth0"]["mtu"] for box in boxes]
        assert {*outer, *inner, machine.links(host)["br7"]["mtu"]} == {now}
        argv = ["ping", "-n", "-M", "do", "-c", "1", "-W", "5", "-s", str(now - 28), "10.7.0.3"]
        assert boxes[0].run(argv, stdout=subprocess.DEVNULL).returncode == 0
        assert not controller.reconcile(repair=False)


def test_the_size_of_a_bridge_outlasts_its_ports(
    host: str, front: Network, boxes: tuple[Sandbox, Sandbox], controller: NetworkController
) -> None:
    """A bridge whose MTU was changed keeps it when its ports go, and gives it to those that come."""
    front.update(options={MTU: 1400})
    for box in boxes:
        box.disconnect(front)
    assert machine.links(host)["br7"]["mtu"] == 1400
    assert not controller.reconcile(repair=False)
    boxes[0].connect(front)
    assert machine.links(boxes[0].key)["eth0"]["mtu"] == 1400


def test_how_packets_leave_changes(host: str, outside: Outside, front: Network, boxes: tuple[Sandbox, Sandbox]) -> None:
    """Source addresses and masquerading change for the next connection."""
    machine.ip("addr", "add", "10.255.0.9/24", "dev", outside.host_link, namespace=host)
    machine.ip("route", "add", SUBNETS[0], "via", outside.host_ipv4.ip, namespace=outside.namespace)
    with serving(at(outside.namespace), 9000):
        for options, seen in (
            ({labels.HOST_IPV4: "10.255.0.9"}, "10.255.0.9"),
            ({labels.HOST_IPV4: ""}, "10.255.0.1"),
            ({labels.BRIDGE_ENABLE_IP_MASQUERADE: False}, "10.7.0.2"),
            ({labels.BRIDGE_ENABLE_IP_MASQUERADE: True, labels.HOST_IPV4: "10.255.0.9"}, "10.255.0.9"),
        ):
            front.update(options=options)
            assert asks(of(boxes[0]), outside.ipv4.ip, 9000) == seen


def test_the_host_address_of_ports_changes(outside: Outside, front: Network, boxes: tuple[Sandbox, Sandbox]) -> None:
    """A changed host address counts for ports published after it; those published before stay where they are."""
    endpoint = boxes[0].endpoints()[0]
    endpoint.publish("8080:80")
    front.update(options={labels.BRIDGE_HOST_BINDING_IPV4: "127.0.0.1"})
    endpoint.publish("8081:80")
    with serving(of(boxes[0]), 80, 4, 6):
        assert asks(at(outside.namespace), outside.host_ipv4.ip, 8080)
        assert asks(at(outside.namespace), outside.host_ipv4.ip, 8081, within=GRACE) is None


def test_a_refused_change_is_undone(
    host: str, front: Network, boxes: tuple[Sandbox, Sandbox], controller: NetworkController,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Wherever the kernel refuses a change of several options, everything is as it was, and pings went on."""
    before = picture(controller, host)
    count = [0]

    def step(_: str) -> None:
        count[0] += 1

    change = {ICC: False, MTU: 1400, labels.BRIDGE_ENABLE_IP_MASQUERADE: False}
    back = {ICC: True, MTU: 0, labels.BRIDGE_ENABLE_IP_MASQUERADE: True}
    monkeypatch.setattr(transport, "checkpoint", step)
    front.update(options=change)
    monkeypatch.undo()
    assert count[0] > 2
    front.update(options=back)
    changed = picture(controller, host)
    assert (changed.links, changed.addresses, changed.filter) == (before.links, before.addresses, before.filter)
    with pinging(boxes[0], "10.7.0.1"):
        for number in range(count[0]):
            left = [number]

            def fail(_: str, left: list[int] = left) -> None:
                left[0] -= 1
                if left[0] == -1:
                    raise LibnetworkError("injected")

            monkeypatch.setattr(transport, "checkpoint", fail)
            with pytest.raises(LibnetworkError, match="injected"):
                front.update(options=change)
            monkeypatch.undo()
            assert picture(controller, host) == changed, f"step {number}"
    assert not controller.reconcile(repair=False)


def test_an_endpoint_s_settings_change(front: Network, boxes: tuple[Sandbox, Sandbox]) -> None:
    """A setting of an endpoint's interface is changed while it is joined, and becomes what it was when it is asked for no more."""
    endpoint = boxes[0].endpoints()[0]
    before = machine.sysctl("ipv4/conf/eth0/rp_filter", boxes[0].key)
    endpoint.update(sysctls={"net.ipv4.conf.IFNAME.rp_filter": 2}, aliases="www", labels={"a": "b"})
    assert machine.sysctl("ipv4/conf/eth0/rp_filter", boxes[0].key) == "2"
    assert (endpoint.aliases, dict(endpoint.labels)) == (("www",), {"a": "b"})
    endpoint.update(sysctls={"net.ipv4.conf.IFNAME.rp_filter": 1, "net.ipv4.conf.IFNAME.arp_ignore": 1})
    endpoint.update(sysctls={})
    assert machine.sysctl("ipv4/conf/eth0/rp_filter", boxes[0].key) == before
    assert machine.sysctl("ipv4/conf/eth0/arp_ignore", boxes[0].key) == "0"
