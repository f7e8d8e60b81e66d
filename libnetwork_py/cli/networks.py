"""``network …``.

May import: controller (its type), network, endpoint, errors.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from ..errors import LibnetworkError, NotFound
from .arguments import Arguments, chosen, labels, pairs
from .output import SHORT, Output, table

if TYPE_CHECKING:
    from ..controller import NetworkController
    from ..endpoint import Endpoint
    from ..network import Network


def described(network: Network) -> dict[str, Any]:
    """Return what a program is told of a network in a list."""
    names = (
        "id",
        "name",
        "driver",
        "scope",
        "subnets",
        "gateways",
        "ipv6",
        "internal",
        "options",
        "labels",
        "routes",
        "created",
    )
    return {name: getattr(network, name) for name in names}


def described_endpoint(endpoint: Endpoint) -> dict[str, Any]:
    """Return what a program is told of an endpoint."""
    names = (
        "id",
        "name",
        "network_id",
        "sandbox_id",
        "state",
        "addresses",
        "mac",
        "gateways",
        "interface",
        "ports",
        "routes",
    )
    return {name: getattr(endpoint, name) for name in names}


def ls(controller: NetworkController, arguments: Arguments, output: Output) -> int:
    """List networks."""
    found = chosen(controller.networks, arguments.filter)
    cut = None if arguments.no_trunc else SHORT
    if arguments.quiet:
        output.result([each.id for each in found], "\n".join(each.id[:cut] for each in found))
        return 0
    rows = [(each.id[:cut], each.name, each.driver, each.scope, ", ".join(map(str, each.subnets))) for each in found]
    output.result(list(map(described, found)), table(("NETWORK ID", "NAME", "DRIVER", "SCOPE", "SUBNETS"), rows))
    return 0


def create(controller: NetworkController, arguments: Arguments, output: Output) -> int:
    """Create a network and print its id."""
    network = controller.create_network(
        arguments.network,
        arguments.driver,
        subnets=arguments.subnet,
        gateways=arguments.gateway,
        ip_ranges=arguments.ip_range,
        aux_addresses=pairs(arguments.aux_address, "--aux-address"),
        ipv4=arguments.ipv4,
        ipv6=arguments.ipv6,
        internal=arguments.internal,
        attachable=arguments.attachable,
        options=pairs(arguments.opt, "--opt", bare=""),
        labels=labels(arguments.label),
        ipam=arguments.ipam_driver,
        ipam_options=pairs(arguments.ipam_opt, "--ipam-opt", bare=""),
        config_from=arguments.config_from,
        config_only=arguments.config_only,
        routes=arguments.route,
    )
    output.result(described(network), network.id)
    return 0


def rm(controller: NetworkController, arguments: Arguments, output: Output) -> int:
    """Remove networks, all that can be, and print their names."""

    def remove(name: str) -> None:
        try:
            controller.network(name).delete(force=arguments.disconnect)
        except NotFound:
            if not arguments.force:
                raise

    return each_of(arguments.network, remove, output)


def inspect(controller: NetworkController, arguments: Arguments, output: Output) -> int:
    """Show networks in the shape of ``docker network inspect``: all those that exist, and errors for the others."""
    found: list[dict[str, Any]] = []
    statuses: list[int] = []
    for name in arguments.network:
        try:
            found.append(controller.network(name).inspect())
        except LibnetworkError as error:
            statuses.append(output.error(error))
    output.json(found)
    return statuses[0] if statuses else 0


def prune(controller: NetworkController, arguments: Arguments, output: Output) -> int:
    """Remove what nothing uses, after asking."""
    if not arguments.force:
        output.note(
            "This removes all networks without endpoints, and what dead temporary controllers left. Go on? [y/N] "
        )
        if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
            return 0
    removed = controller.prune()
    lines = [f"network {name}" for name in removed.networks] + [
        f"temporary controller {name}" for name in removed.controllers
    ]
    output.result(removed, "\n".join(lines) or "nothing to remove")
    return 0


def connect(controller: NetworkController, arguments: Arguments, output: Output) -> int:
    """Connect a sandbox to a network and print the endpoint's id."""
    network, sandbox = controller.network(arguments.network), controller.sandbox(arguments.sandbox)
    endpoint = sandbox.connect(
        network,
        priority=arguments.gw_priority,
        name=arguments.name or sandbox.name,
        addresses=[each for each in (arguments.ip, arguments.ip6) if each],
        mac=arguments.mac_address,
        ports=arguments.publish,
        expose=arguments.expose,
        aliases=arguments.alias,
        sysctls=pairs(arguments.sysctl, "--sysctl"),
        interface=arguments.interface,
        options=pairs(arguments.driver_opt, "--driver-opt", bare=""),
        labels=labels(arguments.label),
        routes=arguments.route,
    )
    output.result(described_endpoint(endpoint), endpoint.id)
    return 0


def disconnect(controller: NetworkController, arguments: Arguments, output: Output) -> int:
    """Disconnect a sandbox from a network."""
    controller.sandbox(arguments.sandbox).disconnect(controller.network(arguments.network))
    if output.as_json:
        output.json({})
    return 0


def each_of(names: Iterable[str], remove: Callable[[str], None], output: Output) -> int:
    """Remove every name, going on past errors; print those removed and return the exit status of the first error."""
    removed: list[str] = []
    statuses: list[int] = []
    for name in names:
        try:
            remove(name)
        except LibnetworkError as error:
            statuses.append(output.error(error))
        else:
            removed.append(name)
    if removed or output.as_json:
        output.result(removed, "\n".join(removed))
    return statuses[0] if statuses else 0
