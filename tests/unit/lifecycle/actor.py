"""A driver that acts: it makes interfaces on a fake kernel's host, says what it was asked, and fails when told to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from attrs import evolve

from libnetwork_py import Forbidden, NetworkController
from libnetwork_py.desired import HOST, Moved, Veth
from libnetwork_py.drivers.acting import ActingDriver, Joined
from libnetwork_py.drivers.api import Attachment, Capability, Context
from libnetwork_py.endpoint import EndpointRecord
from libnetwork_py.network import NetworkRecord
from libnetwork_py.sandbox import SandboxRecord
from libnetwork_py.store.memory import MemoryStore
from libnetwork_py.testing import FakeKernel
from libnetwork_py.types import Family, MacAddress


class Actor(ActingDriver):
    """Makes a veth pair on the host for each joined endpoint, and knows what there is."""

    capability = Capability(ports=True)

    def __init__(self, kernel: FakeKernel) -> None:
        self.kernel = kernel
        self.calls: list[str] = []
        self.networks: set[str] = set()
        self.endpoints: set[str] = set()
        self.joined: dict[str, Veth] = {}
        self.ways: dict[str, tuple[Sequence[Family], int]] = {}
        self.failures: dict[str, BaseException] = {}
        self.prefix: str | None = "port"
        self.on_failure: Callable[[], object] = lambda: None

    def _refuses(self, what: str) -> None:
        """Who refuses has done nothing."""
        if isinstance(self.failures.get(what), Forbidden):
            raise self.failures.pop(what)

    def _called(self, what: str) -> None:
        self.calls.append(what)
        if what in self.failures:
            self.on_failure()
            raise self.failures.pop(what)

    def create_network(self, network: NetworkRecord) -> None:
        self._refuses("create_network")
        self.networks.add(network.id)
        self._called("create_network")

    def delete_network(self, network: NetworkRecord) -> None:
        self.networks.discard(network.id)
        self._called("delete_network")

    def create_endpoint(self, network: NetworkRecord, endpoint: EndpointRecord) -> EndpointRecord:
        self._refuses("create_endpoint")
        self.endpoints.add(endpoint.id)
        self._called("create_endpoint")
        return evolve(endpoint, mac=MacAddress("02:00:00:00:00:07")) if endpoint.mac is None else endpoint

    def delete_endpoint(self, network: NetworkRecord, endpoint: EndpointRecord) -> None:
        self.endpoints.discard(endpoint.id)
        self._called("delete_endpoint")

    def join(self, network: NetworkRecord, endpoint: EndpointRecord, sandbox: SandboxRecord) -> Joined:
        self._refuses("join")
        name = f"act{endpoint.id[:8]}"
        pair = Veth(HOST, name, HOST, f"{name}-in", MacAddress("02:00:00:00:00:08"))
        if endpoint.id not in self.joined:
            self.kernel.disturb(make=[pair])
        self.joined[endpoint.id] = pair
        self._called("join")
        return Joined(self.prefix, MappingProxyType({"source": pair.peer_name}))

    def leave(self, network: NetworkRecord, endpoint: EndpointRecord) -> None:
        pair = self.joined.pop(endpoint.id, None)
        if pair is not None:
            self.kernel.disturb(remove=[pair])
        self._called("leave")

    def program_external(self, network: NetworkRecord, endpoint: EndpointRecord, families: Sequence[Family]) -> None:
        self._refuses("program_external")
        self.ways[endpoint.id] = families, len(endpoint.ports)
        self._called("program_external")

    def revoke_external(self, network: NetworkRecord, endpoint: EndpointRecord) -> None:
        self.ways.pop(endpoint.id, None)
        self._called("revoke_external")

    def describe_endpoint(
        self, network: NetworkRecord, endpoint: EndpointRecord, sandbox: SandboxRecord, context: Context
    ) -> Attachment:
        gateway = network.gateway(4)
        decided: Mapping[str, str] = endpoint.decided
        if "source" not in decided or not endpoint.ifname:
            return Attachment((), (gateway,) if gateway else ())
        moved = Moved(sandbox.key, endpoint.ifname, decided["source"], endpoint.mac)
        return Attachment((moved,), (gateway,) if gateway else ())

    @property
    def holds(self) -> tuple[object, ...]:
        """What it holds, for comparison."""
        return set(self.networks), set(self.endpoints), dict(self.joined), dict(self.ways)


def with_actor(kernel: FakeKernel, actor: Actor, store: MemoryStore | None = None) -> NetworkController:
    """A controller that has the driver `actor`."""
    return NetworkController.over(store or MemoryStore(), kernel, config={"drivers": {"actor": actor}})
