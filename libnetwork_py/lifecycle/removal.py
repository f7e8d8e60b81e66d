"""Taking away what nobody uses: unused networks, everything of a controller.

May import: lifecycle, network, errors.
"""

from __future__ import annotations

from contextlib import suppress

from attrs import field, frozen

from ..errors import LibnetworkError
from ..network import NetworkRecord
from .endpoints import Endpoints
from .engine import Engine
from .networks import Networks
from .sandboxes import Sandboxes


@frozen
class Pruned:
    """What `NetworkController.prune` removed: names of networks, and directories of temporary controllers whose process died."""

    networks: tuple[str, ...] = ()
    controllers: tuple[str, ...] = field(default=())


def prune_networks(engine: Engine) -> tuple[str, ...]:
    """Delete networks without endpoints, all in one operation; configuration-only ones stay."""
    with engine.operation("prune networks") as work:
        state = engine.state
        unused = [
            each
            for each in state.networks.values()
            if not each.config_only and not _is_used(each, engine) and each.host in {"", engine.env.id}
        ]
        for network in unused:
            engine.addressing.give_back_network(network, work)
            work.delete(network)
        return tuple(sorted(each.name for each in unused))


def _is_used(network: NetworkRecord, engine: Engine) -> bool:
    if engine.state.in_network(network.id):
        return True
    return bool(network.host) and engine.cluster is not None and engine.cluster.mirror.used(network.id)


def remove_everything(engine: Engine, sandboxes: Sandboxes, endpoints: Endpoints, networks: Networks) -> None:
    """Delete every sandbox, endpoint and network of this host in one operation; then what it made in a cluster and nobody else uses."""
    with engine.operation("remove everything") as work:
        state = engine.state
        for sandbox in list(state.sandboxes.values()):
            sandboxes.remove(sandbox, work)
        for endpoint in [each for each in state.endpoints.values() if not each.host]:
            endpoints.remove(endpoint, work)
        for network in [each for each in state.networks.values() if not each.host]:
            engine.addressing.give_back_network(network, work)
            work.delete(network)
    for network in [each for each in engine.state.networks.values() if each.host == engine.env.id]:
        with suppress(LibnetworkError):  # another host uses it, or the store is away: then it is the cluster's
            networks.delete(network.id, force=True)
