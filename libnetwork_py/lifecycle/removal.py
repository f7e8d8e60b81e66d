"""Taking away what nobody uses: unused networks, everything of a controller.

May import: lifecycle, kernel.api, desired, types, errors.
"""

from __future__ import annotations

import time

from attrs import field, frozen

from ..desired import HOST, Change, Description, Veth
from ..errors import LibnetworkError
from .endpoints import Endpoints
from .engine import Engine
from .sandboxes import Sandboxes

SETTLE = 10.0
"""Seconds to wait until the kernel has destroyed dropped namespaces with the veth pairs into them; it takes a millisecond each."""


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
    """Delete every sandbox, endpoint and network in one operation, and wait until the kernel has let go of them."""
    with engine.operation("remove everything") as work:
        state = engine.state
        for sandbox in list(state.sandboxes.values()):
            sandboxes.remove(sandbox, work)
        for endpoint in list(state.endpoints.values()):
            endpoints.remove(endpoint, work)
        for network in list(state.networks.values()):
            engine.addressing.give_back_network(network, work)
            work.delete(network)
        gone = work.change().remove
    _settle(engine, gone)


def _settle(engine: Engine, gone: Description) -> None:
    """Wait for veth pairs that go with their namespace; end those that a process still inside keeps alive."""
    names = {word.name: word for word in gone if isinstance(word, Veth) and word.namespace == HOST}
    deadline, pause = time.monotonic() + SETTLE, 0.002
    while names:
        try:
            links = engine.env.kernel.facts().host.links
        except LibnetworkError:  # the host's namespace is gone, and everything in it
            return
        left = tuple(word for name, word in names.items() if name in links)
        if not left:
            return
        if time.monotonic() > deadline - SETTLE / 2:
            engine.env.kernel.enforce(Change(remove=left, why="remove what a process kept"))
            return
        time.sleep(pause)
        pause = min(pause * 2, 0.1)
