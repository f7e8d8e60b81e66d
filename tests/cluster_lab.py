"""Hosts of a cluster in memory: each a controller of its own over a fake kernel, and a driver of global scope."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import EntryPoint, EntryPoints, entry_points

import pytest
from attrs import evolve

from libnetwork_py import NetworkController
from libnetwork_py.desired import HOST, Bridge, Description, Neighbour, Veth
from libnetwork_py.drivers.api import Attachment, Capability, Context, Driver, Surroundings
from libnetwork_py.endpoint import EndpointRecord
from libnetwork_py.errors import Conflict
from libnetwork_py.lifecycle.cluster import Cluster
from libnetwork_py.network import NetworkRecord
from libnetwork_py.sandbox import SandboxRecord
from libnetwork_py.store.memory import MemoryStore
from libnetwork_py.testing import FakeKernel
from libnetwork_py.types import MacAddress

PATIENCE = 10.0


class Mesh(Driver):
    """A network of global scope: a bridge, and a neighbour on it for every address on another host."""

    capability = Capability(scope="global", vni=True)

    def check_network(self, network: NetworkRecord, surroundings: Surroundings) -> NetworkRecord:
        """Take the numbers that were asked for, as text with commas."""
        asked = network.options.get("vni", "")
        return (
            evolve(network, vnis=tuple(int(each) for each in asked.split(",") if each)) if not network.vnis else network
        )

    def check_endpoint(self, network: NetworkRecord, endpoint: EndpointRecord) -> EndpointRecord:
        """Make a MAC address of the IPv4 address."""
        first = endpoint.addresses[0].ip.packed[-4:]
        return endpoint if endpoint.mac else evolve(endpoint, mac=MacAddress(b"\x02\x42" + first))

    def describe_network(self, network: NetworkRecord, context: Context) -> Description:
        """Describe the bridge and the neighbours."""
        link = f"br-{network.id[:10]}"
        known = [Neighbour(HOST, link, address.ip, peer.mac) for peer in context.peers for address in peer.addresses]
        return (Bridge(HOST, link, MacAddress("02:42:00:00:00:01")), *known)

    def describe_endpoint(
        self, network: NetworkRecord, endpoint: EndpointRecord, sandbox: SandboxRecord, context: Context
    ) -> Attachment:
        """Describe the pair."""
        assert endpoint.mac is not None
        link = f"br-{network.id[:10]}"
        return Attachment((Veth(HOST, f"ve{endpoint.id[:10]}", sandbox.key, endpoint.ifname, endpoint.mac, link),))


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the driver ``mesh`` be found as one that is installed."""

    def found(*, group: str) -> EntryPoints:
        more = [EntryPoint("mesh", "tests.cluster_lab:Mesh", group)] if group.endswith("drivers") else []
        return EntryPoints([*entry_points(group=group), *more])

    monkeypatch.setattr("libnetwork_py.plugins.registry.entry_points", found)


class Host:
    """One host: its kernel and records outlive its controller."""

    def __init__(self, number: int, url: str, ttl: float) -> None:
        self.number, self.url, self.ttl = number, url, ttl
        self.kernel, self.store = FakeKernel(), MemoryStore()
        self.controller = self.open()

    def open(self) -> NetworkController:
        """Open a controller, again over the same kernel and records."""
        config = {"advertise": f"192.0.2.{self.number}", "lease_ttl": self.ttl}
        self.controller = NetworkController.over(_Kept(self.store), self.kernel, cluster=self.url, config=config)
        return self.controller

    @property
    def cluster(self) -> Cluster:
        """The cluster as the controller sees it."""
        assert self.controller._cluster is not None
        return self.controller._cluster

    @property
    def routes(self) -> list[str]:
        """The addresses on other hosts that the kernel knows a way to."""
        return sorted(str(word.address) for word in self.kernel.state() if isinstance(word, Neighbour))

    def die(self) -> None:
        """End the controller without a word to anybody: its lease runs out."""
        cluster = self.cluster
        cluster._membership._lease = ""
        cluster.close()
        self.controller._closed = True


class _Kept(MemoryStore):
    """Records that stay when their controller closes them."""

    def __init__(self, kept: MemoryStore) -> None:
        self.__dict__ = kept.__dict__

    def close(self) -> None:
        """Stay open."""


@contextmanager
def hosts(count: int, *, url: str = "", ttl: float = 30.0) -> Iterator[list[Host]]:
    """Open controllers on so many hosts of one cluster."""
    where = url or f"memory://{secrets.token_hex(4)}"
    found = [Host(number, where, ttl) for number in range(1, count + 1)]
    try:
        yield found
    finally:
        for host in found:
            host.controller.close()


def until(done: Callable[[], object], patience: float = PATIENCE) -> None:
    """Wait until it is so."""
    end = time.monotonic() + patience
    while not done():
        assert time.monotonic() < end, "it never came to be"
        time.sleep(0.01)


def documents(host: Host) -> Mapping[str, bytes]:
    """Return what the cluster's store has, by key."""
    snapshot = host.cluster._membership.call(lambda store: store.items())
    return {item.key: item.document for item in snapshot.items}


def walk(url: str, ttl: float) -> None:
    """Go through the life of a network on two hosts of an engine's cluster, and the death of one host."""
    with hosts(2, url=url, ttl=ttl) as (first, second):
        front = first.controller.create_network("front", "mesh")
        first.controller.create_sandbox("a").connect(front)
        network = second.controller.network("front")
        second.controller.create_sandbox("b").connect(network)
        until(lambda: (first.routes, second.routes) == (["10.0.0.3"], ["10.0.0.2"]))
        with pytest.raises(Conflict):
            second.controller.create_network("front", "mesh")
        with pytest.raises(Conflict):
            network.create_endpoint("c", addresses=["10.0.0.2"])
        with pytest.raises(Conflict):
            network.delete(force=True)
        first.die()
        until(lambda: second.routes == [], 20)
        network.create_endpoint("c", addresses=["10.0.0.2"])
        first.open()
        until(lambda: not first.controller.sandbox("a").endpoints(), 20)
        network.endpoint("c").delete()
        network.delete(force=True)
        until(lambda: not first.controller.networks())
        assert {key.partition("/")[0] for key in documents(second)} == {"host", "pools"}
