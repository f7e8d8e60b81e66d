"""Taking away what nobody uses: unused networks, everything of a controller.

May import: lifecycle.
"""

from __future__ import annotations

from attrs import field, frozen

from .endpoints import Endpoints
from .engine import Engine
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
        unused = [each for each in state.networks.values() if not each.config_only and not state.in_network(each.id)]
        for network in unused:
            engine.addressing.give_back_network(network, work)
            work.delete(network)
        return tuple(sorted(each.name for each in unused))


def remove_everything(engine: Engine, sandboxes: Sandboxes, endpoints: Endpoints) -> None:
    """Delete every sandbox, endpoint and network in one operation."""
    with engine.operation("remove everything") as work:
        state = engine.state
        for sandbox in list(state.sandboxes.values()):
            sandboxes.remove(sandbox, work)
        for endpoint in list(state.endpoints.values()):
            endpoints.remove(endpoint, work)
        for network in list(state.networks.values()):
            engine.addressing.give_back_network(network, work)
            work.delete(network)
