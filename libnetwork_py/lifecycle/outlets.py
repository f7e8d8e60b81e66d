"""The way out of sandboxes whose networks have none: an endpoint on a local network, made and removed with the need for it.

As the reference does for overlay networks: the network is called ``docker_gwbridge`` (whoever wants it otherwise creates a network of
that name first), its endpoints do not reach each other, and one of them is in every sandbox that needs it. It comes last in the election
of the gateway, and publishes the ports of the sandbox's endpoints on networks without a way out.

May import: lifecycle, drivers.api, plugins, network, endpoint, sandbox, labels, errors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

from .. import labels
from ..drivers.api import NetworkDriver
from ..endpoint import EndpointRecord
from ..errors import LibnetworkError
from ..network import EndpointSpec, Network, NetworkRecord, NetworkSpec
from ..plugins.registry import Registry
from ..sandbox import SandboxRecord
from .state import State

if TYPE_CHECKING:
    from .endpoints import Endpoints
    from .engine import Engine
    from .work import Work

NETWORK = "docker_gwbridge"
"""The network that leads out."""

PRIORITY = -(1 << 31)
"""Of its endpoints: any other network that offers a gateway is preferred."""


def endpoint_name(sandbox_id: str) -> str:
    """Return the name of the endpoint that is a sandbox's way out."""
    return f"gateway_{sandbox_id[:12]}"


def is_outlet(endpoint: EndpointRecord) -> bool:
    """Return whether an endpoint was made to be its sandbox's way out."""
    return endpoint.priority == PRIORITY and endpoint.name == endpoint_name(endpoint.sandbox_id or "")


def reached(endpoint: EndpointRecord, state: State, drivers: Registry[NetworkDriver]) -> EndpointRecord:
    """Return the endpoint that has an endpoint's published ports, as things are now: its sandbox's way out, where its network has none."""
    endpoint = state.endpoints.get(endpoint.id, endpoint)
    joined = state.in_sandbox(endpoint.sandbox_id or "")
    outlet = next((each for each in joined if is_outlet(each)), None)
    if outlet is not None:
        with suppress(LibnetworkError):  # a plug-in that has gone: what it says of itself is nowhere else
            if drivers.get(state.networks[endpoint.network_id].driver).capability.outlet:
                return outlet
    return endpoint


class Outlets:
    """Makes and removes ways out.

    Args:
        engine: Runs the operations.
        create: Creates a network.
        endpoints: Create and remove endpoints, and ask `settle` after each of a sandbox that came or went.
    """

    def __init__(self, engine: Engine, create: Callable[[NetworkSpec], Network], endpoints: Endpoints) -> None:
        self._engine, self._create, self._endpoints = engine, create, endpoints

    def settle(self, sandbox: SandboxRecord, work: Work) -> None:
        """Give a sandbox its way out if it needs one, take it away if it does not, as a step of an operation."""
        joined = self._engine.state.in_sandbox(sandbox.id)
        held = next((each for each in joined if is_outlet(each)), None)
        needed = self._needed(joined)
        if needed and held is None:
            spec = EndpointSpec(endpoint_name(sandbox.id))
            endpoint = self._endpoints.add(self._network(), spec, work)
            self._endpoints.attach(endpoint, sandbox, PRIORITY, work)
        elif held is not None and not needed:
            self._endpoints.remove(held, work)

    def _needed(self, joined: Iterable[EndpointRecord]) -> bool:
        networks = (self._engine.state.networks[each.network_id] for each in joined)
        return any(not each.internal and self._leads_nowhere(each) for each in networks)

    def _leads_nowhere(self, network: NetworkRecord) -> bool:
        return self._engine.env.drivers.get(network.driver).capability.outlet

    def _network(self) -> NetworkRecord:
        held = self._engine.state.network_named(NETWORK)
        if held is not None:
            return held
        made = self._create(NetworkSpec(NETWORK, options={labels.BRIDGE_ENABLE_ICC: "false"}))
        return self._engine.state.network(made.id)
