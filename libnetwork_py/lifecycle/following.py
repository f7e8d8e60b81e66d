"""From the cluster's documents to the records: networks and endpoints of other hosts come, change and go.

Every network of the cluster has a record on every host, but the endpoints of other hosts only on a host that *follows* their network: one
that has or had an endpoint on it, or was asked who is on it. To the rest they are documents that nobody reads, of which there may be a
hundred thousand.

May import: lifecycle, network, endpoint, errors.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from ..endpoint import EndpointRecord
from ..errors import LibnetworkError
from ..network import NetworkRecord
from . import events
from .claims import Group, Planner
from .mirror import Mirror
from .state import Record

if TYPE_CHECKING:
    from .endpoints import Endpoints
    from .engine import Engine
    from .work import Work

BATCH = 2000
"""How many documents are taken into the records by one operation."""


class Following:
    """Takes what the mirror has into the records.

    Args:
        engine: Runs the operations.
        endpoints: Removes endpoints.
        mirror: What the cluster says.
        planner: Says what of this host's own it should say.
        compare: Has this host's own endpoints compared with the cluster soon.
    """

    def __init__(
        self, engine: Engine, endpoints: Endpoints, mirror: Mirror, planner: Planner, compare: Callable[[], None]
    ) -> None:
        self._engine = engine
        self._endpoints = endpoints
        self._mirror = mirror
        self._planner = planner
        self._compare = compare
        self._followed: set[str] = set()

    def want(self, network_id: str) -> None:
        """Follow a network from now on: its endpoints on other hosts are in the records when this returns."""
        with self._engine.reading() as state:
            network = state.networks.get(network_id)
            if network is None or not network.host or network_id in self._followed:
                return
        staged = self._engine.staged
        if staged is not None:
            self.include(network, staged)
            return
        with self._engine.operation("follow the cluster") as work:
            work.mirrored = True
            self.include(network, work)

    def include(self, network: NetworkRecord, work: Work) -> None:
        """Follow a network as a step of an operation, such as one that creates an endpoint on it."""
        if network.id not in self._followed:
            self._followed.add(network.id)
            work.on_undo(lambda: self._followed.discard(network.id))
            self._together(self._mirror.endpoints(network.id), work)

    def _also_followed(self) -> None:
        """Follow what the records say is followed: those of an earlier run, or of another process."""
        for network in self._engine.state.inhabited():
            if network.host and network.id not in self._followed:
                self._followed.add(network.id)
                self._mirror.mark_network(network.id)

    def apply(self) -> None:
        """Take in what has changed.

        Raises:
            LibnetworkError: something could not be; the rest is done, and it stays marked.
        """
        tried: set[str] = set()
        problems: list[Exception] = []
        while keys := self._marked(tried):
            tried.update(keys)
            self._some(keys, problems)
        if problems:
            raise problems[0]

    def _marked(self, tried: set[str]) -> list[str]:
        """Return marked keys that were not tried yet; those that do not concern this host are marked no more."""
        with self._engine.reading():
            self._also_followed()
            dirty = self._mirror.dirty
            for key in [each for each in dirty if not self._concerns(each)]:
                del dirty[key]
            return [key for key in dirty if key not in tried][:BATCH]

    def _concerns(self, key: str) -> bool:
        kind, _, rest = key.partition("/")
        return kind != "endpoint" or rest.partition("/")[0] in self._followed

    def _some(self, keys: Sequence[str], problems: list[Exception]) -> None:
        """Take in some keys by one operation; if it fails, each half by one of its own."""
        try:
            with self._engine.operation("follow the cluster") as work:
                work.mirrored = True
                for key in keys:
                    self._mirror.dirty.pop(key, None)
                self._together(keys, work)
        except (LibnetworkError, ExceptionGroup) as error:
            self._mirror.dirty.update(dict.fromkeys(keys))
            if len(keys) == 1:
                problems.append(error)
                return
            middle = len(keys) // 2
            self._some(keys[:middle], problems)
            self._some(keys[middle:], problems)

    def _together(self, keys: Sequence[str], work: Work) -> None:
        """Whatever goes, goes before what comes: an address may have changed hands."""
        networks = [key for key in keys if key.startswith("network/")]
        endpoints = [key for key in keys if key.startswith("endpoint/")]
        wanted = {key: self._mirror.record(key) for key in endpoints}
        for key, record in wanted.items():
            self._endpoint_goes(key, record, work)
        for key in networks:
            self._network(key, work)
        for key, record in wanted.items():
            self._endpoint_comes(key, record, work)

    # Networks

    def _network(self, key: str, work: Work) -> None:
        state = self._engine.state
        wanted = self._mirror.record(key)
        held = state.network_named(key.partition("/")[2])
        if held is not None and not held.host:
            return  # this host's own network of that name hides the cluster's until it is deleted
        if held is not None and (wanted is None or wanted.id != held.id):
            self._drop_network(held, work)
            held = None
        if isinstance(wanted, NetworkRecord) and wanted != held:
            work.put(wanted)
            if held is None:
                self._engine.addressing.learn(None, wanted, state)
                work.on_undo(lambda: self._engine.addressing.give_back_network(wanted))
                self._mirror.mark_network(wanted.id)

    def _drop_network(self, network: NetworkRecord, work: Work) -> None:
        for endpoint in self._engine.state.in_network(network.id):
            if endpoint.host:
                self._drop(endpoint, work)
            else:
                self._lose(endpoint, f"network {network.name} was deleted by another host", work)
        self._engine.addressing.give_back_network(network, work)
        work.delete(network)
        self._followed.discard(network.id)

    # Endpoints of other hosts

    def _endpoint_goes(self, key: str, wanted: Record | None, work: Work) -> None:
        held = self._held(key)
        if held is None:
            return
        if not held.host:
            self._check_own(held)
        elif wanted is None or wanted.id != held.id:
            self._drop(held, work)

    def _check_own(self, endpoint: EndpointRecord) -> None:
        """Compare once more if the cluster has something else under the keys of this host's own endpoint.

        It compares when it returns to the cluster, but what others did while it was away may be told only after that.
        """
        if not self._planner.standing(endpoint, self._engine.state.networks[endpoint.network_id]):
            self._compare()

    def _endpoint_comes(self, key: str, wanted: Record | None, work: Work) -> None:
        state = self._engine.state
        held = self._held(key)
        if not isinstance(wanted, EndpointRecord) or wanted == held or wanted.network_id not in state.networks:
            return
        if held is not None and not held.host:
            return  # this host has lost it, and compares
        work.put(wanted)
        if held is None:
            network = state.networks[wanted.network_id]
            self._engine.addressing.learn(None, wanted, state)
            work.on_undo(lambda: self._engine.addressing.give_back_endpoint(network, wanted))

    def _held(self, key: str) -> EndpointRecord | None:
        _, network_id, name = key.split("/", 2)
        return self._engine.state.endpoint_named(network_id, name)

    def _drop(self, endpoint: EndpointRecord, work: Work) -> None:
        network = self._engine.state.networks[endpoint.network_id]
        self._engine.addressing.give_back_endpoint(network, endpoint, work)
        work.delete(endpoint)

    # This host's own endpoints

    def own(self) -> Iterator[tuple[EndpointRecord, NetworkRecord]]:
        """Return this host's endpoints of networks that the cluster knows."""
        state = self._engine.state
        for endpoint in list(state.endpoints.values()):
            network = state.networks.get(endpoint.network_id)
            if not endpoint.host and network is not None and network.host:
                yield endpoint, network

    def lose(self) -> None:
        """Remove the endpoints of this host whose name or address another host has got while this one counted as dead."""
        with self._engine.operation("return to the cluster") as work:
            work.mirrored = True
            for endpoint, network in self.own():
                if self._planner.lost(endpoint, network):
                    self._lose(endpoint, "its name or address went to another host while this one was away", work)

    def _lose(self, endpoint: EndpointRecord, why: str, work: Work) -> None:
        self._endpoints.remove(endpoint, work)
        work.tell(events.Event("failed", "endpoint", endpoint.id, endpoint.name, time.time(), detail=why))
        for other in self._engine.state.in_network(endpoint.network_id):
            if {*endpoint.addresses} & {*other.addresses}:  # it is the other's now, not free
                self._engine.addressing.learn(None, other, self._engine.state)
        self._mirror.mark_network(endpoint.network_id)

    def differences(self) -> Iterator[Group]:
        """Return what must be written for the cluster to say of this host's own endpoints what the records say."""
        for endpoint, network in self.own():
            if not self._planner.standing(endpoint, network):
                yield self._planner.claim(endpoint, network)
            else:
                yield from self._planner.update(endpoint, network)
        yield from self._planner.release(self._planner.leftover())
        yield from self._planner.fences()
