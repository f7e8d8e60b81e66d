"""Static routes: which may be given, which an endpoint has, and which collide in a sandbox.

Division of labour: a route by itself is checked in `routes`; here it must fit its network and the other routes of a sandbox. Everything
is checked before anything is touched.

May import: lifecycle.state, drivers.api, network, endpoint, sandbox, routes, types, errors.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ..drivers.api import NetworkDriver
from ..endpoint import EndpointRecord
from ..errors import Conflict, InvalidParameter, NotSupported
from ..network import NetworkRecord, Subnet
from ..routes import METRIC_CONNECTED, StaticRoute
from ..types import IPNetwork, as_tuple
from .state import State


def parse(given: object) -> tuple[StaticRoute, ...]:
    """Return the routes that a caller wrote.

    Raises:
        InvalidParameter: malformed, or two of them are for the same destination with the same metric.
    """
    found = tuple(StaticRoute.parse(each) for each in as_tuple(given))
    seen: dict[tuple[IPNetwork, int], StaticRoute] = {}
    for route in found:
        if route.place in seen:
            raise InvalidParameter(
                f"routes '{seen[route.place]}' and '{route}' are for the same destination: give one of them another metric",
                code="duplicate_route", route=str(route),
            )  # fmt: skip
        seen[route.place] = route
    return found


def check_network(network: NetworkRecord, driver: NetworkDriver) -> None:
    """Check the routes of a network against it.

    Raises:
        NotSupported: its endpoints have no interface or no address. InvalidParameter: a route does not fit the subnets.
    """
    if network.routes:
        _check(
            network.routes, network, driver, {subnet.family for subnet in network.subnets}, f"network {network.name!r}"
        )


def check_endpoint(endpoint: EndpointRecord, network: NetworkRecord, driver: NetworkDriver) -> None:
    """Check the routes of an endpoint against it and its network.

    Raises:
        NotSupported, InvalidParameter: as `check_network`; a gateway that is the endpoint itself.
    """
    if not endpoint.routes:
        return
    _check(endpoint.routes, network, driver, set(endpoint.families), f"endpoint {endpoint.name!r}")
    own = {interface.ip for interface in endpoint.addresses}
    for route in endpoint.routes:
        if route.gateway in own:
            raise _unfit(route, f"its gateway is the endpoint {endpoint.name!r} itself", "route_gateway")


def routes_of(endpoint: EndpointRecord, network: NetworkRecord) -> tuple[StaticRoute, ...]:
    """Return the routes that an endpoint brings to its sandbox: its own, and in their absence the network's.

    A route of the network is left out where the endpoint itself is the gateway, or lacks the family.
    """
    if not network.routes:
        return endpoint.routes
    taken = {route.place for route in endpoint.routes}
    own = {interface.ip for interface in endpoint.addresses}
    families = endpoint.families
    inherited = (
        route
        for route in network.routes
        if route.place not in taken and route.gateway not in own and route.family in families
    )
    return (*endpoint.routes, *inherited)


def check_sandbox(sandbox_id: str, state: State) -> None:
    """Check that no two endpoints of a sandbox bring a route to the same destination with the same metric.

    Raises:
        Conflict: they do, or one's destination is the subnet of another's network.
    """
    joined = [(endpoint, state.networks[endpoint.network_id]) for endpoint in state.in_sandbox(sandbox_id)]
    if not any(endpoint.routes or network.routes for endpoint, network in joined):
        return
    held: dict[tuple[IPNetwork, int], tuple[str, NetworkRecord]] = {}
    for endpoint, network in joined:
        for place, what in _places(endpoint, network):
            other = held.setdefault(place, (what, network))
            if other[0] != what or other[1].id != network.id:
                raise Conflict(
                    f"{what} of network {network.name!r} collides with {other[0]} of network {other[1].name!r} in the sandbox:"
                    " give one of the routes another metric",
                    code="route_conflict", sandbox_id=sandbox_id, destination=str(place[0]), metric=place[1],
                )  # fmt: skip


def _places(endpoint: EndpointRecord, network: NetworkRecord) -> Iterator[tuple[tuple[IPNetwork, int], str]]:
    for interface in endpoint.addresses:
        net = interface.network
        metric = METRIC_CONNECTED[4 if net.version == 4 else 6]
        yield (net, metric), f"subnet {net}"
    for route in routes_of(endpoint, network):
        yield route.place, f"route '{route}'"


def _check(
    routes: Sequence[StaticRoute], network: NetworkRecord, driver: NetworkDriver, families: Iterable[int], whose: str
) -> None:
    if not driver.capability.addresses or not driver.interface_prefix(network):
        raise NotSupported(
            f"driver {network.driver!r} has no routes: its endpoints have no interface of their own",
            code="no_routes", driver=network.driver,
        )  # fmt: skip
    for route in routes:
        if route.family not in families:
            raise _unfit(route, f"{whose} has no IPv{route.family}", "route_family")
        for subnet in network.subnets:
            if subnet.family == route.family and _within(route.destination, subnet.subnet):
                raise _unfit(
                    route, f"the destination lies in the network's own subnet {subnet.subnet}", "route_overlap"
                )
        if route.gateway is not None:
            _check_gateway(route, network)


def _check_gateway(route: StaticRoute, network: NetworkRecord) -> None:
    gateway = route.gateway
    assert gateway is not None
    if gateway.version == 6 and gateway.is_link_local:
        return
    home: Subnet | None = next((each for each in network.subnets if gateway in each.subnet), None)
    if home is None:
        subnets = ", ".join(str(each.subnet) for each in network.subnets)
        raise _unfit(
            route, f"its gateway lies in none of network {network.name!r}'s subnets ({subnets})", "route_gateway"
        )
    net = home.subnet
    ends = {net.network_address, net.broadcast_address} if home.family == 4 and net.prefixlen < 31 else set()
    if gateway in ends:
        raise _unfit(route, f"its gateway is the subnet's own or broadcast address ({net})", "route_gateway")


def _within(destination: IPNetwork, subnet: IPNetwork) -> bool:
    return subnet.prefixlen <= destination.prefixlen and destination.network_address in subnet


def _unfit(route: StaticRoute, why: str, code: str) -> InvalidParameter:
    return InvalidParameter(f"invalid route '{route}': {why}", code=code, route=str(route))
