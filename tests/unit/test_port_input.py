"""What is refused of ports, in memory: through the public API, with nothing half-made."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from libnetwork_py import Conflict, InvalidParameter, LibnetworkError, NetworkController, PortBinding, labels
from libnetwork_py.store.memory import MemoryStore
from libnetwork_py.testing import FakeKernel
from tests import port_input
from tests.port_input import BY_NUMBER, FORBIDDEN, MALFORMED, Refused

CASES = [pytest.param(each, id=each.what) for each in (*MALFORMED, *FORBIDDEN)]


@pytest.fixture
def kernel() -> FakeKernel:
    """A host in memory."""
    return FakeKernel(host_links=["eth0"])


@pytest.fixture
def controller(kernel: FakeKernel) -> Iterator[NetworkController]:
    """The scene of `port_input` on it."""
    with NetworkController.over(MemoryStore(), kernel) as made:
        port_input.build(made)
        yield made


@pytest.mark.parametrize("case", CASES)
def test_it_is_refused_and_nothing_stays(controller: NetworkController, kernel: FakeKernel, case: Refused) -> None:
    """A port that cannot be published is refused with its reason, as part of a connection and on its own; nothing of it stays."""
    endpoint = controller.network("front").endpoint("web")
    before = kernel.state(), endpoint.ports
    with pytest.raises(case.category, match=case.says.replace("[", r"\[")) as caught:
        port_input.ask_for(controller, case)
    assert caught.value.code == case.code
    if case.network == "front":
        with pytest.raises(case.category) as caught:
            port_input.publish(endpoint, case)
        assert caught.value.code == case.code
    assert (kernel.state(), endpoint.ports) == before
    assert not controller.sandbox("inputs-idle").endpoints()
    port_input.neighbours(controller)


@pytest.mark.parametrize("values", BY_NUMBER, ids=str)
def test_a_binding_is_checked_however_it_is_made(values: dict[str, Any]) -> None:
    """A binding made of numbers is checked like one that is written."""
    with pytest.raises(InvalidParameter, match="invalid port"):
        PortBinding(**values)


def test_two_ports_of_one_endpoint_do_not_overlap(controller: NetworkController) -> None:
    """Two bindings of one endpoint that need the same host port are refused when it joins, and neither is kept."""
    front, idle = controller.network("front"), controller.sandbox("inputs-idle")
    for ports in (["9000:80", "9000:81"], ["9000:80", "127.0.0.1:9000:81"], ["9000-9002:80-82", "9002:90"]):
        endpoint = front.create_endpoint("both", ports=ports)
        with pytest.raises(Conflict, match="already published by both"):
            endpoint.join(idle)
        assert endpoint.state == "created"
        endpoint.delete()
    assert idle.connect(front, ports="9000-9002:80-82").ports[0].host_port == 9000


def test_a_port_of_a_batch_that_fails_is_free_again(controller: NetworkController) -> None:
    """What a batch reserved before it failed is not kept."""
    endpoint = controller.network("front").endpoint("web")

    def work() -> None:
        with controller.batch():
            endpoint.publish("9000:80")
            endpoint.publish("8002:81")

    with pytest.raises(Conflict):
        work()
    assert endpoint.publish("9000:80").host_port == 9000


def test_a_publication_that_the_kernel_refuses_is_taken_back(controller: NetworkController, kernel: FakeKernel) -> None:
    """When the packet filter refuses a range, neither its ports nor any element of it stays."""
    endpoint = controller.network("front").endpoint("web")
    before = kernel.state(), endpoint.ports
    kernel.fail_at(3)
    with pytest.raises(LibnetworkError):
        endpoint.publish("9000-9009:80-89")
    assert (kernel.state(), endpoint.ports) == before
    assert endpoint.publish("9004:80").host_port == 9004


def test_an_ipv4_host_address_needs_ipv4_inside(controller: NetworkController) -> None:
    """A port of an IPv4 address of the host cannot be published by an endpoint without IPv4; that of an IPv6 one by any."""
    six = controller.create_network("six", ipv4=False, subnets="fd00:66::/64")
    with pytest.raises(InvalidParameter, match="IPv4 address of the host") as caught:
        six.create_endpoint(ports="127.0.0.1:8080:80")
    assert caught.value.code == "port_family"
    for name in ("six", "dual", "front"):
        assert controller.network(name).create_endpoint(ports="[::1]:8080:80").ports[0].host_port == 8080


def test_an_ipv6_host_address_needs_translated_ipv4(controller: NetworkController) -> None:
    """A port of an IPv6 address of the host leads nowhere on a network whose only family is routed."""
    routed = controller.create_network(
        "routed", subnets="10.66.0.0/24", options={labels.BRIDGE_GATEWAY_MODE_IPV4: "routed"}
    )
    with pytest.raises(InvalidParameter, match="IPv6 address of the host") as caught:
        routed.create_endpoint(ports="[::1]:8080:80")
    assert caught.value.code == "port_family"
