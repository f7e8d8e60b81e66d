"""Static routes: their text, what may be given to a network and an endpoint, and what a sandbox gets of them. All in memory."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from typing import Any

import pytest

from libnetwork_py import (
    Conflict,
    Endpoint,
    Forbidden,
    InvalidParameter,
    LibnetworkError,
    Network,
    NetworkController,
    NotSupported,
    Sandbox,
    StaticRoute,
)
from libnetwork_py.desired import Route
from libnetwork_py.store.memory import MemoryStore
from libnetwork_py.testing import FakeKernel

FAR = "10.9.0.0/16"


@pytest.fixture
def kernel() -> FakeKernel:
    """A host in memory."""
    return FakeKernel(host_links=["eth0"])


@pytest.fixture
def controller(kernel: FakeKernel) -> Iterator[NetworkController]:
    """A controller over it."""
    with NetworkController.over(MemoryStore(), kernel) as made:
        yield made


@pytest.fixture
def front(controller: NetworkController) -> Network:
    """A network with both families and no routes."""
    return network(controller, "front", 1)


@pytest.fixture
def web(controller: NetworkController) -> Sandbox:
    """A sandbox."""
    return controller.create_sandbox("web")


def network(controller: NetworkController, name: str, number: int, **options: Any) -> Network:
    """A network 10.NUMBER.0.0/16 and fd00:NUMBER::/64."""
    return controller.create_network(name, subnets=[f"10.{number}.0.0/16", f"fd00:{number}::/64"], **options)


def routes(kernel: FakeKernel, sandbox: Sandbox) -> set[str]:
    """The routes of a sandbox, but for the default ones."""
    words = (word for word in kernel.state() if isinstance(word, Route) and word.namespace == sandbox.key)
    found = (word for word in words if word.destination.prefixlen)
    return {f"{StaticRoute(word.destination, word.gateway, word.metric)} dev {word.link}" for word in found}


# The value


@pytest.mark.parametrize(
    ("text", "route"),
    [
        ("10.9.0.0/16 via 172.18.0.5 metric 100", StaticRoute(FAR, "172.18.0.5", 100)),
        ("10.9.0.0/16   via  172.18.0.5", StaticRoute(FAR, "172.18.0.5")),
        ("10.9.0.0/16 metric 7", StaticRoute(FAR, metric=7)),
        ("10.9.0.0/16 dev", StaticRoute(FAR)),
        ("10.9.0.0/16 onlink", StaticRoute(FAR)),
        ("10.9.3.4/16", StaticRoute(FAR)),
        ("10.9.3.4", StaticRoute("10.9.3.4/32")),
        ("fd09::/48 via fe80::1", StaticRoute("fd09::/48", "fe80::1")),
        ("fd09::7", StaticRoute("fd09::7/128")),
    ],
)
def test_a_route_is_written_as_ip_writes_it(text: str, route: StaticRoute) -> None:
    """The text of a route is that of ``ip route``, and a route's own text reads as the same route."""
    assert StaticRoute.parse(text) == route
    assert StaticRoute.parse(str(route)) == route
    assert StaticRoute.parse(route) is route


def test_a_route_takes_addresses_as_objects() -> None:
    """Destination and gateway may be objects of ``ipaddress``."""
    assert StaticRoute(IPv4Network(FAR), IPv4Address("10.1.0.5")) == StaticRoute.parse(f"{FAR} via 10.1.0.5")
    assert StaticRoute(IPv6Network("fd09::/48")).family == 6


@pytest.mark.parametrize(
    ("text", "code", "says"),
    [
        ("", "invalid_route", "write DESTINATION"),
        ("10.9.0.0/16 via", "invalid_route", "write DESTINATION"),
        ("10.9.0.0/16 via 10.1.0.5 dev eth0", "invalid_route", "write DESTINATION"),
        ("10.9.0.0/16 metric -1", "invalid_route", "write DESTINATION"),
        ("10.9.0.0/16 metric 4294967296", "invalid_route", "from 0 to 4294967295"),
        ("10.9.0.0/33", "invalid_subnet", "invalid subnet"),
        ("nonsense via 10.1.0.5", "invalid_address", "nonsense"),
        ("10.9.0.0/16 via nonsense", "invalid_address", "gateway of a route"),
        ("10.9.0.0/16 via fd00::1", "invalid_route", "different families"),
        ("10.9.0.0/16 via 0.0.0.0", "invalid_route", "no gateway"),
        ("10.9.0.0/16 via 127.0.0.1", "invalid_route", "no gateway"),
        ("fd09::/48 via fe80::1%eth0", "invalid_route", "no gateway"),
        ("224.0.0.0/4 via 10.1.0.5", "invalid_route", "multicast"),
        ("127.0.0.0/8", "invalid_route", "loopback"),
        ("fe80::/64", "invalid_route", "link-local"),
        ("default via 10.1.0.5", "default_route", "elected"),
        ("0.0.0.0/0 via 10.1.0.5", "default_route", "DefaultGatewayIPv4"),
        ("::/0 via fd00::5 metric 5", "default_route", "priority"),
    ],
)
def test_what_is_no_route(text: str, code: str, says: str) -> None:
    """What cannot be a static route is refused, with the reason."""
    with pytest.raises(InvalidParameter, match=says) as caught:
        StaticRoute.parse(text)
    assert caught.value.code == code


# Where they go


def test_every_sandbox_of_a_network_gets_its_routes(
    controller: NetworkController, kernel: FakeKernel, web: Sandbox
) -> None:
    """A network's routes are in every sandbox on it, over the interface there, and go with the endpoint."""
    given = [f"{FAR} via 10.1.0.5 metric 100", "10.8.0.0/16", "fd09::/48 via fd00:1::5"]
    front = network(controller, "front", 1, routes=given)
    assert [str(each) for each in front.routes] == given
    assert front.inspect()["Routes"] == given
    other = controller.create_sandbox("other")
    for sandbox in (web, other):
        sandbox.connect(front, interface="front0")
        assert routes(kernel, sandbox) == {f"{each} dev front0" for each in given}
    web.disconnect(front)
    assert routes(kernel, web) == set()
    assert not controller.reconcile(repair=False)


def test_a_route_may_be_given_bare(controller: NetworkController) -> None:
    """One route, as text or as a value, counts as one."""
    assert network(controller, "one", 1, routes=f"{FAR} via 10.1.0.5").routes == (StaticRoute(FAR, "10.1.0.5"),)
    assert network(controller, "two", 2, routes=StaticRoute(FAR)).routes == (StaticRoute(FAR),)


def test_the_gateway_itself_does_not_get_the_route(
    controller: NetworkController, kernel: FakeKernel, web: Sandbox
) -> None:
    """The endpoint that is the gateway of a network's route goes without it: the kernel takes no route by oneself."""
    front = network(controller, "front", 1, routes=[f"{FAR} via 10.1.0.5", "10.8.0.0/16 via 10.1.0.6"])
    web.connect(front, addresses="10.1.0.5")
    assert routes(kernel, web) == {"10.8.0.0/16 via 10.1.0.6 dev eth0"}


def test_an_endpoint_has_its_own(controller: NetworkController, kernel: FakeKernel, web: Sandbox) -> None:
    """An endpoint's routes are in its sandbox alone; one to the same destination with the same metric replaces the network's."""
    front = network(controller, "front", 1, routes=[f"{FAR} via 10.1.0.5", "10.8.0.0/16 via 10.1.0.5"])
    endpoint = web.connect(front, routes=[f"{FAR} via 10.1.0.6", "10.8.0.0/16 via 10.1.0.6 metric 50"])
    assert endpoint.routes == (StaticRoute(FAR, "10.1.0.6"), StaticRoute("10.8.0.0/16", "10.1.0.6", 50))
    assert routes(kernel, web) == {
        f"{FAR} via 10.1.0.6 dev eth0",
        "10.8.0.0/16 via 10.1.0.5 dev eth0",
        "10.8.0.0/16 via 10.1.0.6 metric 50 dev eth0",
    }


def test_routes_follow_the_endpoint(
    front: Network, kernel: FakeKernel, web: Sandbox, controller: NetworkController
) -> None:
    """An endpoint takes its routes to whichever sandbox it joins."""
    endpoint = front.create_endpoint("moving", routes=f"{FAR} via 10.1.0.5")
    assert routes(kernel, web) == set()
    endpoint.join(web)
    assert routes(kernel, web) == {f"{FAR} via 10.1.0.5 dev eth0"}
    endpoint.leave()
    other = controller.create_sandbox("other")
    endpoint.join(other)
    assert (routes(kernel, web), routes(kernel, other)) == (set(), {f"{FAR} via 10.1.0.5 dev eth0"})


def test_a_network_joined_twice_brings_its_routes_once(
    controller: NetworkController, kernel: FakeKernel, web: Sandbox
) -> None:
    """A network joined twice by one sandbox brings its routes once."""
    front = network(controller, "front", 1, routes=f"{FAR} via 10.1.0.5")
    web.connect(front, name="first")
    web.connect(front, name="second")
    assert routes(kernel, web) == {f"{FAR} via 10.1.0.5 dev eth0"}


def test_routes_are_kept(kernel: FakeKernel) -> None:
    """Another controller on the same records has the routes, and finds the machine as described."""
    store = MemoryStore()
    first = NetworkController.over(store, kernel)
    front = network(first, "front", 1, routes=f"{FAR} via 10.1.0.5")
    first.create_sandbox("web").connect(front, routes="10.8.0.0/16")
    with NetworkController.over(store, kernel) as second:
        assert second.network("front").routes == (StaticRoute(FAR, "10.1.0.5"),)
        assert second.network("front").endpoint("web").routes == (StaticRoute("10.8.0.0/16"),)
        web = second.sandbox("web")
        (word,) = [each for each in kernel.state() if isinstance(each, Route) and str(each.destination) == FAR]
        kernel.disturb(remove=[word])
        assert [each.what for each in second.reconcile().missing] == [
            f"ip -n web route add {FAR} via 10.1.0.5 dev eth0"
        ]
        assert f"{FAR} via 10.1.0.5 dev eth0" in routes(kernel, web)


def test_a_plan_shows_them(controller: NetworkController, front: Network, web: Sandbox) -> None:
    """A plan's text has the routes as ``ip`` lines."""
    with controller.plan() as plan:
        web.connect(front, routes=[f"{FAR} via 10.1.0.5 metric 100", "fd09::/48"])
    assert f"ip -n web route add {FAR} via 10.1.0.5 dev eth0 metric 100\n" in plan.text
    assert "ip -n web -6 route add fd09::/48 dev eth0\n" in plan.text


def test_a_configuration_carries_routes(controller: NetworkController) -> None:
    """A configuration-only network keeps routes for those that take its configuration, which give none of their own."""
    controller.create_network("template", config_only=True, subnets="10.1.0.0/16", routes=f"{FAR} via 10.1.0.5")
    with pytest.raises(Forbidden, match="routes"):
        controller.create_network("both", config_from="template", routes=FAR)
    assert controller.create_network("front", config_from="template").routes == (StaticRoute(FAR, "10.1.0.5"),)


# What is refused

REFUSED = [
    (f"{FAR} via 10.2.0.5", "route_gateway", r"lies in none of network 'front'.*10\.1\.0\.0/16"),
    (f"{FAR} via 10.1.0.0", "route_gateway", "own or broadcast"),
    (f"{FAR} via 10.1.255.255", "route_gateway", "own or broadcast"),
    ("10.1.0.0/16 via 10.1.0.5", "route_overlap", "own subnet 10.1.0.0/16"),
    ("10.1.3.0/24 via 10.1.0.5", "route_overlap", "own subnet 10.1.0.0/16"),
    ("10.1.0.9", "route_overlap", "own subnet"),
    ([FAR, f"{FAR} via 10.1.0.5"], "duplicate_route", "another metric"),
    (["fd09::/48", "fd09::/48 metric 1024"], "duplicate_route", "another metric"),
]


@pytest.mark.parametrize(("given", "code", "says"), REFUSED)
def test_what_does_not_fit_a_network(
    controller: NetworkController, kernel: FakeKernel, web: Sandbox, given: object, code: str, says: str
) -> None:
    """A route that cannot work on its network is refused, for the network and for an endpoint, before anything is touched."""
    before = kernel.state()
    with pytest.raises(InvalidParameter, match=says) as caught:
        network(controller, "front", 1, routes=given)
    assert caught.value.code == code
    assert (controller.networks(), kernel.state()) == ([], before)
    front = network(controller, "front", 1)
    endpoint = web.connect(front)
    before = kernel.state()
    for refused in (
        lambda: front.create_endpoint("more", routes=given),  # type: ignore[arg-type]
        lambda: endpoint.update(routes=given),  # type: ignore[arg-type]
        lambda: front.update(routes=given),  # type: ignore[arg-type]
    ):
        with pytest.raises(InvalidParameter, match=says) as caught:
            refused()
        assert caught.value.code == code
    assert kernel.state() == before
    assert (front.routes, endpoint.routes, len(front.endpoints())) == ((), (), 1)


def test_a_wider_destination_is_allowed(controller: NetworkController) -> None:
    """A destination that holds the network's subnet is fine: the subnet's own route is more specific."""
    assert network(controller, "front", 1, routes="10.0.0.0/8 via 10.1.0.5").routes


def test_a_route_of_a_family_that_is_off(controller: NetworkController, web: Sandbox) -> None:
    """A network without IPv6 takes no IPv6 route, nor do its endpoints."""
    with pytest.raises(InvalidParameter, match="no IPv6") as caught:
        controller.create_network("front", subnets="10.1.0.0/16", routes="fd09::/48 via fe80::1")
    assert caught.value.code == "route_family"
    front = controller.create_network("front", subnets="10.1.0.0/16")
    with pytest.raises(InvalidParameter, match="no IPv6"):
        web.connect(front, routes="fd09::/48")


def test_an_endpoint_is_no_gateway_of_its_own(front: Network, web: Sandbox) -> None:
    """An endpoint's own address is no gateway for it."""
    with pytest.raises(InvalidParameter, match="itself") as caught:
        web.connect(front, addresses="10.1.0.5", routes=f"{FAR} via 10.1.0.5")
    assert caught.value.code == "route_gateway"


@pytest.mark.parametrize("driver", ["null", "host"])
def test_drivers_without_interfaces_have_no_routes(controller: NetworkController, driver: str) -> None:
    """Where endpoints have no interface of their own, routes are not supported."""
    with pytest.raises(NotSupported, match="no routes"):
        controller.create_network("none", driver, routes=FAR)


def _second(controller: NetworkController, web: Sandbox, **options: Any) -> Endpoint:
    return web.connect(network(controller, "back", 2), **options)


@pytest.mark.parametrize("given", [f"{FAR} via 10.2.0.5", f"{FAR}"])
def test_two_endpoints_of_a_sandbox_do_not_collide(
    controller: NetworkController, kernel: FakeKernel, front: Network, web: Sandbox, given: str
) -> None:
    """Two endpoints of one sandbox cannot bring the same destination with the same metric; with another metric they can."""
    web.connect(front, routes=f"{FAR} via 10.1.0.5")
    before = kernel.state()
    says = f"route '{given}' of network 'back' collides .* of network 'front'"
    with pytest.raises(Conflict, match=says) as caught, controller.batch():
        _second(controller, web, routes=given)
    assert caught.value.code == "route_conflict"
    assert kernel.state() == before
    endpoint = _second(controller, web, routes=f"{given} metric 10")
    assert len(routes(kernel, web)) == 2
    with pytest.raises(Conflict):
        endpoint.update(routes=given)
    with pytest.raises(Conflict):
        controller.network("back").update(routes=given)
    assert len(routes(kernel, web)) == 2
    assert controller.network("back").routes == ()


def test_a_route_to_another_network_of_the_sandbox(
    controller: NetworkController, kernel: FakeKernel, front: Network, web: Sandbox
) -> None:
    """A route to the subnet of another network that the sandbox joins is refused, in either order, but for a higher metric."""
    endpoint = web.connect(front, routes="10.2.0.0/16 via 10.1.0.5")
    back = network(controller, "back", 2)
    with pytest.raises(Conflict, match=r"subnet 10\.2\.0\.0/16 of network 'back'"):
        web.connect(back)
    endpoint.update(routes="10.2.0.0/16 via 10.1.0.5 metric 50")
    web.connect(back)
    assert routes(kernel, web) == {"10.2.0.0/16 via 10.1.0.5 metric 50 dev eth0"}
    with pytest.raises(Conflict):
        endpoint.update(routes="10.2.0.0/16 via 10.1.0.5")


# Changed in use


def test_routes_change_in_use(front: Network, kernel: FakeKernel, web: Sandbox) -> None:
    """The routes of a network and of an endpoint are replaced while the sandbox is joined, and nothing else is touched."""
    endpoint = web.connect(front, routes=FAR)
    rest = {word for word in kernel.state() if not isinstance(word, Route)}
    front.update(routes=["10.8.0.0/16 via 10.1.0.5"])
    endpoint.update(routes=[f"{FAR} via 10.1.0.6"])
    assert routes(kernel, web) == {"10.8.0.0/16 via 10.1.0.5 dev eth0", f"{FAR} via 10.1.0.6 dev eth0"}
    kernel.take_text()
    front.update(routes=())
    assert kernel.text.splitlines() == [
        "# update network front",
        "ip -n web route del 10.8.0.0/16 via 10.1.0.5 dev eth0",
    ]
    assert {word for word in kernel.state() if not isinstance(word, Route)} == rest


def test_a_change_that_the_kernel_refuses_is_taken_back(front: Network, kernel: FakeKernel, web: Sandbox) -> None:
    """Where the kernel refuses a new route the old ones are there, in the records too."""
    endpoint = web.connect(front, routes=FAR)
    before = kernel.state()
    kernel.fail_on(lambda word: isinstance(word, Route) and word.metric == 9)
    with pytest.raises(LibnetworkError):
        endpoint.update(routes=f"{FAR} via 10.1.0.6 metric 9", labels={"a": "b"})
    assert kernel.state() == before
    assert (endpoint.routes, dict(endpoint.labels)) == ((StaticRoute(FAR),), {})
