"""A topology for networkx, which is an extra (``pip install libnetwork_py[graph]``).

May import: scene, errors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import NotSupported
from ..scene import Scene, is_router

if TYPE_CHECKING:
    from networkx import Graph


def graph(scene: Scene) -> Graph[str]:
    """Return a graph whose nodes are networks and sandboxes, by id, and whose edges are joined endpoints.

    Nodes have ``kind`` (``network`` or ``sandbox``), ``name``, ``router`` or ``driver``, ``subnets``; edges have ``endpoint`` (its id),
    ``name``, ``interface``, ``addresses`` and, where they are known, ``rx_bytes`` and ``tx_bytes``.

    Raises:
        NotSupported: networkx is not installed.
    """
    try:
        from networkx import MultiGraph  # noqa: PLC0415 (an extra)
    except ImportError as error:
        raise NotSupported(
            "networkx is not installed: pip install 'libnetwork_py[graph]'", code="extra_missing", extra="graph"
        ) from error
    made: Graph[str] = MultiGraph(name=scene.title)
    for network in scene.networks:
        subnets = [str(each.subnet) for each in network.subnets]
        made.add_node(network.id, kind="network", name=network.name, driver=network.driver, subnets=subnets)
    for sandbox in scene.sandboxes:
        made.add_node(sandbox.id, kind="sandbox", name=sandbox.name, router=is_router(sandbox))
    for endpoint in scene.endpoints:
        if endpoint.sandbox_id:
            counters = scene.counters.get(endpoint.id)
            counted = {"rx_bytes": counters.rx_bytes, "tx_bytes": counters.tx_bytes} if counters else {}
            addresses = [str(each.ip) for each in endpoint.addresses]
            made.add_edge(
                endpoint.network_id, endpoint.sandbox_id,
                endpoint=endpoint.id, name=endpoint.name, interface=endpoint.ifname, addresses=addresses, **counted,
            )  # fmt: skip
    return made
