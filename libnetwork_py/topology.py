"""More than a star: routers, and chains, rings, trees and fat trees of them, over the public API alone.

    chain = topology.chain(controller, routers=3)
    chain.hosts[0].run(["ping", "-c1", str(chain.hosts[1].endpoints()[0].addresses[0])])

A router is a sandbox that forwards between its networks. A cable is a network of two sandboxes that has no way out. Each sandbox gets a
route to every cable that it is not on, over a shortest way; between equal ones the destination chooses. All is made in one batch.

Division of labour: `cable`, `router` and `connect_all` are the parts, for shapes of your own; the rest are shapes.

May import: controller, network, endpoint, sandbox, show's label of tiers, types, errors.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import blake2b
from ipaddress import IPv4Network, ip_network
from itertools import pairwise

from attrs import frozen

from .controller import NetworkController
from .endpoint import Endpoint
from .errors import InvalidParameter
from .network import Network
from .sandbox import Sandbox
from .show.shapes import TIER

POOL = "10.128.0.0/10"
"""Where cables get their subnets from, unless told otherwise."""
PREFIX = 29
"""A cable's subnet: two sandboxes, and the address that every network keeps for itself."""
FORWARDING = {"net.ipv4.ip_forward": "1"}
ROUTERS_MOST = 1000


@frozen
class Topology:
    """What was built. ``hosts`` and ``routers`` in the order of their making; ``cables`` likewise."""

    hosts: tuple[Sandbox, ...]
    routers: tuple[Sandbox, ...]
    cables: tuple[Network, ...]

    def delete(self) -> None:
        """Remove all of it."""
        for sandbox in (*self.hosts, *self.routers):
            sandbox.delete()
        for network in self.cables:
            network.delete()


@frozen
class _Cable:
    network: Network
    ends: tuple[Endpoint, Endpoint]
    sandboxes: tuple[Sandbox, Sandbox]


class Builder:
    """Puts sandboxes and cables together; `finish` works out the routes.

    Use it inside ``controller.batch()``: then all is made together.

    Args:
        controller: Where.
        prefix: What the names begin with.
        pool: Where cables' subnets come from.
    """

    def __init__(self, controller: NetworkController, prefix: str = "", pool: str = POOL) -> None:
        network = ip_network(pool)
        if not isinstance(network, IPv4Network) or network.prefixlen > PREFIX:
            raise InvalidParameter(
                f"invalid pool {pool!r}: an IPv4 network of at least /{PREFIX} is needed", code="invalid_pool"
            )
        self._controller, self._prefix = controller, prefix
        self._subnets = network.subnets(new_prefix=PREFIX)
        self._cables: list[_Cable] = []
        self._hosts: list[Sandbox] = []
        self._routers: list[Sandbox] = []

    def host(self, name: str, tier: int = 0) -> Sandbox:
        """Add a sandbox that does not forward."""
        made = self._controller.create_sandbox(f"{self._prefix}{name}", labels={TIER: str(tier)})
        self._hosts.append(made)
        return made

    def router(self, name: str, tier: int = 0) -> Sandbox:
        """Add one that forwards."""
        made = self._controller.create_sandbox(f"{self._prefix}{name}", sysctls=FORWARDING, labels={TIER: str(tier)})
        self._routers.append(made)
        return made

    def cable(self, one: Sandbox, other: Sandbox) -> Network:
        """Join two sandboxes by a network of their own.

        Raises:
            InvalidParameter: the pool is used up.
        """
        subnet = next(self._subnets, None)
        if subnet is None:
            raise InvalidParameter(
                "the pool has no subnet left for another cable: give a larger one", code="invalid_pool"
            )
        name = f"{one.name}-{other.name.removeprefix(self._prefix)}"
        network = self._controller.create_network(name, subnets=subnet, internal=True)
        self._cables.append(_Cable(network, (one.connect(network), other.connect(network)), (one, other)))
        return network

    def finish(self) -> Topology:
        """Give every sandbox its routes, and return what was built."""
        routes = dict[Endpoint, list[str]]()
        for number, target in enumerate(self._cables):
            for endpoint, gateway in _ways_to(target, self._cables, {each.id for each in self._routers}, number):
                routes.setdefault(endpoint, []).append(f"{target.network.subnets[0]} via {gateway}")
        for endpoint, some in routes.items():
            endpoint.update(routes=some)
        return Topology(tuple(self._hosts), tuple(self._routers), tuple(each.network for each in self._cables))


def _ways_to(
    target: _Cable, cables: Sequence[_Cable], routers: set[str], number: int
) -> Iterator[tuple[Endpoint, object]]:
    """Return by which endpoint and gateway each sandbox reaches a cable: breadth first from its two ends; only routers pass on."""
    steps: dict[str, list[tuple[str, Endpoint, object]]] = {}
    for each in cables:
        for mine, its in ((0, 1), (1, 0)):
            step = (each.sandboxes[its].id, each.ends[its], each.ends[mine].addresses[0])
            steps.setdefault(each.sandboxes[mine].id, []).append(step)
    order = {far: place for place, far in enumerate(steps)}
    ring = [each.id for each in target.sandboxes]
    known = set(ring)
    while ring:
        found: dict[str, list[tuple[Endpoint, object]]] = {}
        for near in ring:
            if near in routers:
                for far, endpoint, gateway in steps[near]:
                    if far not in known:
                        found.setdefault(far, []).append((endpoint, gateway))
        for far, ways in found.items():
            yield ways[blake2b(f"{number} {order[far]}".encode()).digest()[0] % len(ways)]
        ring = list(found)
        known |= found.keys()


def chain(controller: NetworkController, routers: int = 1, *, prefix: str = "", pool: str = POOL) -> Topology:
    """Build two hosts with routers in a row between them: ``h1 r1 … rN h2``.

    Raises:
        InvalidParameter: no router, or too many.
    """
    _check("routers", routers, 1, ROUTERS_MOST)
    with controller.batch():
        builder = Builder(controller, prefix, pool)
        first = builder.host("h1")
        row = [first, *(builder.router(f"r{number + 1}") for number in range(routers)), builder.host("h2")]
        for one, other in pairwise(row):
            builder.cable(one, other)
        return builder.finish()


def ring(controller: NetworkController, routers: int = 4, *, prefix: str = "", pool: str = POOL) -> Topology:
    """Build a ring of routers, each with a host: ``r1 … rN r1``, ``hI`` on ``rI``. Routes go the shorter way round.

    Raises:
        InvalidParameter: fewer than three routers, or too many.
    """
    _check("routers", routers, 3, ROUTERS_MOST)
    with controller.batch():
        builder = Builder(controller, prefix, pool)
        around = [builder.router(f"r{number + 1}") for number in range(routers)]
        for one, other in pairwise([*around, around[0]]):
            builder.cable(one, other)
        for number, router in enumerate(around):
            builder.cable(router, builder.host(f"h{number + 1}", tier=1))
        return builder.finish()


def tree(
    controller: NetworkController, depth: int = 2, fanout: int = 2, *, prefix: str = "", pool: str = POOL
) -> Topology:
    """Build a tree of routers with hosts as its leaves, ``depth`` cables below the root, ``fanout`` at each router.

    Raises:
        InvalidParameter: a number below 1, or more than a thousand routers.
    """
    _check("depth", depth, 1, 10)
    _check("fanout", fanout, 1, 256)
    _check("routers", sum(fanout**level for level in range(depth)), 1, ROUTERS_MOST)
    with controller.batch():
        builder = Builder(controller, prefix, pool)
        level = [builder.router("r")]
        for tier in range(1, depth + 1):
            below = []
            for parent in level:
                stem = parent.name.removeprefix(prefix)[1:]
                for number in range(1, fanout + 1):
                    child = (builder.router if tier < depth else builder.host)(
                        f"{'r' if tier < depth else 'h'}{stem}{'-' if stem else ''}{number}", tier
                    )
                    builder.cable(parent, child)
                    below.append(child)
            level = below
        return builder.finish()


def fat_tree(controller: NetworkController, k: int = 4, *, prefix: str = "", pool: str = POOL) -> Topology:
    """Build a fat tree of ``k``-port switches (Al-Fares, Loukissas, Vahdat, SIGCOMM 2008), the switches being routers.

    There are (k/2)² core routers, and k pods with k/2 aggregation and k/2 edge routers each; k/2 hosts hang on each edge router.

    Raises:
        InvalidParameter: ``k`` is odd, or not from 2 to 8.
    """
    _check("k", k, 2, 8)
    if k % 2:
        raise InvalidParameter(
            f"a fat tree has switches with an even number of ports, not {k}", code="invalid_topology"
        )
    half = k // 2
    with controller.batch():
        builder = Builder(controller, prefix, pool)
        cores = [builder.router(f"core{number + 1}", 0) for number in range(half * half)]
        for pod in range(1, k + 1):
            upper = [builder.router(f"agg{pod}-{number + 1}", 1) for number in range(half)]
            lower = [builder.router(f"edge{pod}-{number + 1}", 2) for number in range(half)]
            for number, aggregation in enumerate(upper):
                for core in cores[number * half : (number + 1) * half]:
                    builder.cable(core, aggregation)
                for edge in lower:
                    builder.cable(aggregation, edge)
            for number, edge in enumerate(lower):
                for host in range(half):
                    builder.cable(edge, builder.host(f"h{pod}-{number + 1}-{host + 1}", 3))
        return builder.finish()


def _check(what: str, value: object, least: int, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise InvalidParameter(
            f"{what} must be a whole number from {least} to {most}, not {value!r}", code="invalid_topology", field=what
        )
