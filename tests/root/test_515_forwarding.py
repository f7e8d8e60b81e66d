"""Forwarding on the host: switched on for our networks, closed for everything else, and put back as it was."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from libnetwork_py import NetworkController, Sandbox
from tests.root import machine
from tests.root.api_lab import GRACE, asks, at, of, pings, serving
from tests.root.machine import Outside

FORWARDING = {4: "ipv4/ip_forward", 6: "ipv6/conf/all/forwarding"}


@pytest.fixture(autouse=True)
def no_router(host: str) -> None:
    """The host forwards nothing: a new namespace has the machine's own setting."""
    for name in FORWARDING.values():
        machine.run_in(host, ["tee", f"/proc/sys/net/{name}"], input="0")


@pytest.fixture
def neighbour(host: str, outside: Outside) -> Iterator[str]:
    """A third machine on a link of its own to the host; it and `outside` route to each other by way of the host."""
    place = machine.new_namespace("neighbour")
    machine.ip(
        "link", "add", "side0", "type", "veth", "peer", "name", "eth0", "netns", Path(place).name, namespace=host
    )
    for namespace, link, number in ((host, "side0", 1), (place, "eth0", 2)):
        machine.ip("link", "set", link, "up", namespace=namespace)
        machine.ip("addr", "add", f"10.254.0.{number}/24", "dev", link, namespace=namespace)
        machine.ip("addr", "add", f"fd00:254::{number}/64", "dev", link, "nodad", namespace=namespace)
    for namespace, subnets, via in (
        (place, ("10.255.0.0/24", "fd00:255::/64"), ("10.254.0.1", "fd00:254::1")),
        (outside.namespace, ("10.254.0.0/24", "fd00:254::/64"), ("10.255.0.1", "fd00:255::1")),
    ):
        for subnet, gateway in zip(subnets, via, strict=True):
            machine.ip("-6" if ":" in subnet else "-4", "route", "add", subnet, "via", gateway, namespace=namespace)
    yield place
    machine.drop_namespace(place)


def forwarding(host: str) -> tuple[str, ...]:
    """The host's settings, IPv4 first."""
    return tuple(machine.sysctl(each, host) for each in FORWARDING.values())


def crosses(neighbour: str, outside: Outside, family: int, *, within: float = GRACE) -> bool:
    """Whether the neighbour reaches the outside by way of the host."""
    target = outside.ipv4.ip if family == 4 else outside.ipv6.ip
    with serving(at(outside.namespace), 90, family):
        return asks(at(neighbour), target, 90, within=within) is not None


@pytest.mark.parametrize("ipv6", [False, True])
def test_what_we_open_is_closed(
    controller: NetworkController, host: str, outside: Outside, neighbour: str, ipv6: bool
) -> None:
    """A host that forwarded nothing is no router between its own interfaces while our networks are up, nor afterwards."""
    assert forwarding(host) == ("0", "0")
    network = controller.create_network("front", ipv6=ipv6)
    box = controller.create_sandbox("box")
    box.connect(network)
    assert forwarding(host) == ("1", str(int(ipv6)))
    for family in (4, 6):
        assert not crosses(neighbour, outside, family)
    assert pings(box, outside.ipv4.ip)
    box.delete()
    network.delete()
    assert forwarding(host) == ("0", "0")


@pytest.mark.parametrize("family", [4, 6])
def test_what_was_open_stays_open(
    controller: NetworkController, host: str, outside: Outside, neighbour: str, family: int
) -> None:
    """A host that was a router in one family stays one in that family, with our networks and after them."""
    machine.run_in(host, ["tee", f"/proc/sys/net/{FORWARDING[family]}"], input="1")
    before = forwarding(host)
    network = controller.create_network("front", ipv6=True)
    assert crosses(neighbour, outside, family)
    assert not crosses(neighbour, outside, 10 - family)
    network.delete()
    assert forwarding(host) == before
    assert crosses(neighbour, outside, family)


def test_the_last_network_opens_it_again(controller: NetworkController, host: str) -> None:
    """What is closed stays closed until the last network has gone."""
    first, second = controller.create_network("first"), controller.create_network("second")
    first.delete()
    assert forwarding(host) == ("1", "0")
    assert closed(host) == [["ipv4"]]
    second.delete()
    assert forwarding(host) == ("0", "0")
    assert closed(host) == []


def closed(host: str) -> list[list[str]]:
    """The families that are closed, by table."""
    return [each["set"].get("elem", []) for each in machine.nft(host) if each.get("set", {}).get("name") == "closed"]


def joined(controller: NetworkController, name: str) -> Sandbox:
    """A sandbox of a new network, which publishes port 80."""
    box = controller.create_sandbox(name)
    box.connect(controller.create_network(name), ports=f"{8000 + len(name)}:80")
    return box


def test_another_controller_is_not_in_the_way(host: str, outside: Outside, neighbour: str) -> None:
    """Two controllers on one host let each other's packets pass, though one has closed it for strangers."""
    with NetworkController.temporary(host=host) as one, NetworkController.temporary(host=host) as two:
        boxes = joined(one, "a"), joined(two, "bb")
        for box, port in zip(boxes, (8001, 8002), strict=True):
            assert pings(box, outside.ipv4.ip)
            with serving(of(box), 80):
                assert asks(at(outside.namespace), outside.host_ipv4.ip, port) is not None
        assert not crosses(neighbour, outside, 4)


@pytest.mark.parametrize("first_goes_first", [True, False])
def test_forwarding_stays_while_another_needs_it(
    host: str, outside: Outside, neighbour: str, first_goes_first: bool
) -> None:
    """The controller that goes leaves forwarding on and closed for the one that stays; the last puts it back."""
    controllers = [NetworkController.temporary(host=host) for _ in range(2)]
    boxes = [joined(each, name) for each, name in zip(controllers, ("a", "bb"), strict=True)]
    order = (0, 1) if first_goes_first else (1, 0)
    try:
        controllers[order[0]].close()
        assert forwarding(host) == ("1", "0")
        assert pings(boxes[order[1]], outside.ipv4.ip)
        assert not crosses(neighbour, outside, 4)
    finally:
        for each in controllers:
            each.close()
    assert forwarding(host) == ("0", "0")
