"""What the kernel layer is told to forget and to announce, and when: after success, and only what went or moved."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from libnetwork_py import Conflict, LibnetworkError, NetworkController, PortBinding
from libnetwork_py.kernel.api import PortFlow
from libnetwork_py.store.memory import MemoryStore
from libnetwork_py.testing import FakeKernel

ADDRESSES = (ip_address("10.7.0.9"), ip_address("fd00:7::9"))


@pytest.fixture
def kernel() -> FakeKernel:
    """A host in memory."""
    return FakeKernel()


@pytest.fixture
def controller(kernel: FakeKernel) -> Iterator[NetworkController]:
    """A network of both families, an endpoint that is joined with two addresses, and a sandbox that is not connected."""
    with NetworkController.over(MemoryStore(), kernel) as made:
        front = made.create_network("front", subnets=["10.7.0.0/24", "fd00:7::/64"])
        made.create_sandbox("web").connect(front, addresses=ADDRESSES)
        made.create_sandbox("idle")
        yield made


def test_addresses_are_forgotten_when_they_go(controller: NetworkController, kernel: FakeKernel) -> None:
    """Leaving, disconnecting and deleting a sandbox each name the endpoint's addresses, once; deleting what is not joined none."""
    front, web = controller.network("front"), controller.sandbox("web")
    endpoint = front.endpoint("web")
    gone = [("gone", each) for each in ADDRESSES]
    endpoint.leave()
    assert kernel.forgotten == gone
    endpoint.delete()
    assert kernel.forgotten == gone
    web.connect(front, addresses=ADDRESSES)
    kernel.forgotten.clear()
    web.delete()
    assert kernel.forgotten == gone


def test_an_endpoint_that_comes_back_keeps_its_connections(controller: NetworkController, kernel: FakeKernel) -> None:
    """When the same endpoint joins again, what was to be forgotten of its addresses is kept; another owner's is not."""
    front = controller.network("front")
    endpoint = front.endpoint("web")
    endpoint.leave()
    endpoint.join(controller.sandbox("idle"))
    assert kernel.forgotten == []
    endpoint.delete(force=True)
    controller.sandbox("web").connect(front, addresses=ADDRESSES)
    assert [each for _, each in kernel.forgotten] == list(ADDRESSES)


def test_ports_are_forgotten_when_they_come_and_go(controller: NetworkController, kernel: FakeKernel) -> None:
    """A published UDP port is named when it opens, every port when it closes: with the first address of each family it leads to."""
    endpoint = controller.network("front").endpoint("web")
    endpoint.publish("8080:80")
    assert kernel.forgotten == []
    for text, addresses in (("8081:81/udp", ADDRESSES), ("127.0.0.1:8082:82/udp", ADDRESSES[:1])):
        binding = endpoint.publish(text)
        assert kernel.forgotten == [("opened", PortFlow(binding, each)) for each in addresses]
        kernel.forgotten.clear()
        endpoint.unpublish(binding)
        assert kernel.forgotten == [("closed", PortFlow(binding, each)) for each in addresses]
        kernel.forgotten.clear()


def test_a_failed_operation_forgets_nothing(controller: NetworkController, kernel: FakeKernel) -> None:
    """What was taken back was never gone."""
    endpoint = controller.network("front").endpoint("web")
    kernel.fail_at(1)
    with pytest.raises(LibnetworkError):
        endpoint.leave()
    with pytest.raises(Conflict):
        endpoint.join(controller.sandbox("idle"))
    with controller.plan():
        endpoint.leave()
    assert kernel.forgotten == []


def test_only_what_moved_is_announced(controller: NetworkController, kernel: FakeKernel) -> None:
    """An address is announced when its last owner had another MAC address, and not otherwise."""
    front, web, idle = controller.network("front"), controller.sandbox("web"), controller.sandbox("idle")
    web.disconnect(front)
    idle.connect(front, addresses=ADDRESSES)
    assert kernel.announced == []
    idle.disconnect(front)
    web.connect(front, addresses=ADDRESSES, mac="02:00:00:00:00:01")
    assert kernel.announced == [(web.key, "eth0", each) for each in ADDRESSES]


def test_a_run_of_ports_leads_one_to_one() -> None:
    """Each host port of a run leads to the container port of the same place."""
    flow = PortFlow(PortBinding.parse("8000-8002:80-82"), ADDRESSES[0])
    assert list(flow.ways) == [(8000, 80), (8001, 81), (8002, 82)]
