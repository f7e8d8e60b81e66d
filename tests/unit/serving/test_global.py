"""A driver of global scope as a cluster's daemons call it: one allocates and frees a network, each makes and removes it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from libnetwork_py import NetworkController
from libnetwork_py.serving.app import Application
from libnetwork_py.serving.given import GivenIpam
from libnetwork_py.serving.network import IPAM, NetworkService
from libnetwork_py.store.memory import MemoryStore
from libnetwork_py.testing import FakeKernel
from tests.cluster_lab import until
from tests.unit.serving.test_serving import ask

NETWORK = "c" * 64
POOL = {"AddressSpace": "GlobalDefault", "Pool": "10.7.0.0/24", "Gateway": "10.7.0.1/24"}
NUMBER = {"com.docker.network.driver.overlay.vxlanid_list": "4097"}


class Daemon:
    """A host of the cluster whose daemon calls the ``overlay`` driver."""

    def __init__(self, number: int) -> None:
        kernel = FakeKernel(host_links=["ens3"], host_addresses={"ens3": f"192.0.2.{number}/24"})
        config = {"ipams": {IPAM: GivenIpam()}, "advertise": f"192.0.2.{number}"}
        self.controller = NetworkController.over(MemoryStore(), kernel, cluster="memory://served", config=config)
        self._application = Application({"NetworkDriver": NetworkService(self.controller, "overlay").calls()})
        self.endpoint, self._address = f"{number}" * 64, f"10.7.0.{number + 4}/24"

    def __call__(self, method: str, **body: Any) -> Mapping[str, Any]:
        return ask(self._application, f"NetworkDriver.{method}", NetworkID=NETWORK, **body)

    def start(self) -> Mapping[str, Any]:
        """Start a container: the network is made first, as each daemon does."""
        assert self("CreateNetwork", Options={"com.docker.network.generic": NUMBER}, IPv4Data=[POOL], IPv6Data=[]) == {}
        made = self("CreateEndpoint", EndpointID=self.endpoint, Interface={"Address": self._address}, Options={})
        assert made["Interface"]["MacAddress"]
        return self("Join", EndpointID=self.endpoint, SandboxKey="x", Options={})

    def end(self) -> None:
        """End the container, and with it the daemon's use of the network."""
        for method in ("Leave", "DeleteEndpoint"):
            assert self(method, EndpointID=self.endpoint) == {}
        assert self("DeleteNetwork") == {}

    def knows(self) -> bool:
        """Whether the network is there."""
        return bool(self.controller.networks(driver="overlay"))


@pytest.fixture
def daemons() -> Iterator[tuple[Daemon, Daemon]]:
    """Two."""
    first, second = Daemon(1), Daemon(2)
    with first.controller, second.controller:
        yield first, second


def test_from_allocation_to_the_end(daemons: tuple[Daemon, Daemon]) -> None:
    """Options of an allocation go to every daemon; a daemon that goes leaves the others the network, and the last takes it along."""
    first, second = daemons
    assert first("GetCapabilities")["Scope"] == "global"
    assert first("AllocateNetwork", Options=NUMBER, IPv4Data=[POOL], IPv6Data=[]) == {"Options": NUMBER}
    names = [daemon.start()["InterfaceName"]["SrcName"] for daemon in daemons]
    assert all(names)
    until(lambda: len(first.controller.network(NETWORK).endpoints()) == 2)
    first.end()
    assert second.knows()
    until(lambda: len(second.controller.network(NETWORK).endpoints()) == 1)
    second.end()
    assert not second.knows()
    until(lambda: not first.knows())


def test_it_is_freed(daemons: tuple[Daemon, Daemon]) -> None:
    """FreeNetwork removes what no daemon uses, and is no error for what is gone or was never made."""
    first, _ = daemons
    assert first("FreeNetwork") == {}
    first.start()
    for method in ("Leave", "DeleteEndpoint"):
        first(method, EndpointID=first.endpoint)
    for _number in range(2):
        assert first("FreeNetwork") == {}
        assert not first.knows()


def test_a_driver_of_global_scope_needs_a_cluster() -> None:
    """Without a cluster's store a network across hosts is refused in words."""
    with NetworkController.over(MemoryStore(), FakeKernel(), config={"ipams": {IPAM: GivenIpam()}}) as alone:
        calls = Application({"NetworkDriver": NetworkService(alone, "overlay").calls()})
        answer = ask(calls, "NetworkDriver.CreateNetwork", NetworkID=NETWORK, IPv4Data=[POOL])
    assert "cluster=" in answer["Err"]
