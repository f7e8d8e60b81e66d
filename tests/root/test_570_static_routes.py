"""Static routes on the real kernel: who has them, and where packets go."""

from __future__ import annotations

from pathlib import Path

import pytest

from libnetwork_py import Conflict, Network, NetworkController, Sandbox
from tests.root import machine
from tests.root.api_lab import GRACE, pings

SUBNETS = ["10.7.0.0/24", "fd00:7::/64"]
FAR = "192.0.2.0/24"


def router(controller: NetworkController, network: Network) -> Sandbox:
    """A sandbox at 10.7.0.5 and fd00:7::5 that has what is far away."""
    made = controller.create_sandbox("route-router")
    made.connect(network, addresses=["10.7.0.5", "fd00:7::5"])
    for address in ("192.0.2.7/32", "fd00:99::7/128"):
        machine.ip("addr", "add", address, "dev", "lo", namespace=made.key)
    return made


def test_every_sandbox_reaches_what_is_behind_a_router(controller: NetworkController) -> None:
    """With routes on a network each sandbox reaches, by both families, what the router has, and the router has no such route."""
    routes = [f"{FAR} via 10.7.0.5", "fd00:99::/64 via fd00:7::5"]
    network = controller.create_network("front", subnets=SUBNETS, routes=routes, internal=True)
    box = controller.create_sandbox("route-box")
    box.connect(network)
    there = router(controller, network)
    assert all(pings(box, address) for address in ("192.0.2.7", "fd00:99::7"))
    assert (FAR, "10.7.0.5", "eth0") in machine.routes(box.key)
    assert ("fd00:99::/64", "fd00:7::5", "eth0") in machine.routes(box.key, 6)
    assert FAR not in {each[0] for each in machine.routes(there.key)}
    assert not controller.reconcile(repair=False)


def test_an_endpoint_s_routes_are_its_own(controller: NetworkController) -> None:
    """Routes on an endpoint are in its sandbox alone, with their metric, and change and go while it is joined."""
    network = controller.create_network("front", subnets=SUBNETS, internal=True)
    router(controller, network)
    box, other = controller.create_sandbox("route-box"), controller.create_sandbox("route-other")
    endpoint = box.connect(network, routes=[f"{FAR} via 10.7.0.5 metric 100", "198.51.100.0/24"])
    other.connect(network)
    assert pings(box, "192.0.2.7")
    assert not pings(other, "192.0.2.7", within=GRACE)
    shown = {each["dst"]: each for each in machine.ip("-4", "route", namespace=box.key)}
    assert shown[FAR]["metric"] == 100
    assert shown["198.51.100.0/24"]["scope"] == "link"
    endpoint.update(routes=[])
    assert {each[0] for each in machine.routes(box.key)} == {"10.7.0.0/24"}
    assert not pings(box, "192.0.2.7", within=GRACE)


def test_the_lower_metric_wins(controller: NetworkController) -> None:
    """Of two routes to one destination over two networks the one with the lower metric is used, and the other when that goes."""
    front = controller.create_network("front", subnets=SUBNETS, internal=True)
    back = controller.create_network("back", subnets="10.8.0.0/24", internal=True)
    router(controller, front)
    box = controller.create_sandbox("route-box")
    box.connect(back, routes=f"{FAR} via 10.8.0.9 metric 10")
    with pytest.raises(Conflict, match="another metric"):
        box.connect(front, routes=f"{FAR} via 10.7.0.5 metric 10")
    box.connect(front, routes=f"{FAR} via 10.7.0.5 metric 20")
    assert not pings(box, "192.0.2.7", within=GRACE)
    box.disconnect(back)
    assert pings(box, "192.0.2.7")


def test_routes_outlive_restart_and_repair(host: str, tmp_path: Path) -> None:
    """A controller opened on the same state has the routes, and `reconcile` makes again those that somebody removed."""
    with NetworkController(tmp_path / "state", host=host) as first:
        network = first.create_network("front", subnets=SUBNETS, routes=f"{FAR} via 10.7.0.5 metric 7")
        first.create_sandbox("route-box").connect(network, routes="fd00:99::/64 via fd00:7::5")
    with NetworkController(tmp_path / "state", host=host) as second:
        box = second.sandbox("route-box")
        assert not second.reconcile(repair=False)
        for family, destination in (("-4", FAR), ("-6", "fd00:99::/64")):
            machine.ip(family, "route", "del", destination, namespace=box.key)
        report = second.reconcile()
        assert sorted(each.what for each in report.missing) == [
            f"ip -n {Path(box.key).name} -6 route add fd00:99::/64 via fd00:7::5 dev eth0",
            f"ip -n {Path(box.key).name} route add {FAR} via 10.7.0.5 dev eth0 metric 7",
        ]
        assert (FAR, "10.7.0.5", "eth0") in machine.routes(box.key)
        assert ("fd00:99::/64", "fd00:7::5", "eth0") in machine.routes(box.key, 6)
        box.delete()
        second.network("front").delete()


def test_a_route_that_somebody_bent_is_bent_back(controller: NetworkController) -> None:
    """A route with another gateway than given is seen as changed, and mended."""
    network = controller.create_network("front", subnets=SUBNETS, routes=f"{FAR} via 10.7.0.5")
    box = controller.create_sandbox("route-box")
    box.connect(network)
    machine.ip("route", "replace", FAR, "via", "10.7.0.9", namespace=box.key)
    (found,) = controller.reconcile().changed
    assert "10.7.0.9" in found.how
    assert (FAR, "10.7.0.5", "eth0") in machine.routes(box.key)


def test_a_wide_route_leaves_the_subnet_alone(controller: NetworkController) -> None:
    """A route that covers the network's own subnet changes nothing between neighbours."""
    network = controller.create_network(
        "front", subnets=SUBNETS, routes=["10.0.0.0/8 via 10.7.0.5", "fd00::/8 via fd00:7::5"]
    )
    one, two = controller.create_sandbox("route-one"), controller.create_sandbox("route-two")
    one.connect(network)
    assert all(pings(one, each) for each in two.connect(network).addresses)
