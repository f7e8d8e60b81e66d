"""A published port is reached from outside whichever endpoint of its sandbox is the way out, also where the host checks return paths."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from libnetwork_py import NetworkController, Sandbox
from tests.root import machine
from tests.root.api_lab import PATIENCE, asks, at, of, serving

OUTSIDE = {4: "10.255.0.2", 6: "fd00:255::2"}
HOST_SIDE = {4: "10.255.0.1", 6: "fd00:255::1"}
FRONT_GATEWAY = {4: "10.7.0.1", 6: "fd00:7::1"}


@pytest.fixture
def web(host: str, controller: NetworkController, outside: machine.Outside) -> Iterator[Sandbox]:
    """A sandbox that publishes a port on ``front``, on a host that drops what comes from where it would not answer (rp_filter 1)."""
    for setting in ("all", "default"):
        machine.run_in(host, ["sh", "-c", f"echo 1 > /proc/sys/net/ipv4/conf/{setting}/rp_filter"])
    front = controller.create_network("front", subnets=["10.7.0.0/24", "fd00:7::/64"])
    controller.create_network("back", subnets=["10.8.0.0/24", "fd00:8::/64"])
    sandbox = controller.create_sandbox("ports-web")
    sandbox.connect(front, name="web", ports=["8080:80", "8080:80/udp"])
    with serving(of(sandbox), 80, 4, 6):
        yield sandbox


def seen(outside: machine.Outside, family: int, within: float = PATIENCE) -> set[str | None]:
    """Whose address the server sees when the outside asks, over TCP and UDP."""
    return {asks(at(outside.namespace), HOST_SIDE[family], 8080, kind, within=within) for kind in ("tcp", "udp")}


@pytest.mark.parametrize("family", [4, 6])
def test_a_port_is_reached_whoever_is_the_way_out(
    controller: NetworkController, outside: machine.Outside, web: Sandbox, family: int
) -> None:
    """While its endpoint is the way out the server sees the client's address, else the bridge's; each join and leave decides anew."""
    back = controller.network("back")
    assert seen(outside, family) == {OUTSIDE[family]}
    second = back.create_endpoint("second")
    second.join(web, priority=10)
    assert seen(outside, family) == {FRONT_GATEWAY[family]}
    second.leave()
    assert seen(outside, family) == {OUTSIDE[family]}
    second.join(web, priority=-10)
    assert seen(outside, family) == {OUTSIDE[family]}
    controller.network("front").endpoint("web").leave()
    assert seen(outside, family, within=1) == {None}


def test_both_endpoints_publish(controller: NetworkController, outside: machine.Outside, web: Sandbox) -> None:
    """With ports on both networks each is reached, and the way out keeps the client's address."""
    web.connect(controller.network("back"), name="second", ports="8081:80", priority=10)
    assert asks(at(outside.namespace), HOST_SIDE[4], 8081) == OUTSIDE[4]
    assert asks(at(outside.namespace), HOST_SIDE[4], 8080) == FRONT_GATEWAY[4]


def test_a_port_published_while_another_is_the_way_out(
    controller: NetworkController, outside: machine.Outside, web: Sandbox
) -> None:
    """A port published later follows the same rule, and its withdrawal leaves the other ports as they are."""
    web.connect(controller.network("back"), priority=10)
    endpoint = controller.network("front").endpoint("web")
    got = endpoint.publish("8082:80")
    assert asks(at(outside.namespace), HOST_SIDE[4], 8082) == FRONT_GATEWAY[4]
    endpoint.unpublish(got)
    assert seen(outside, 4) == {FRONT_GATEWAY[4]}
