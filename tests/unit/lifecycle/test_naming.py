"""Names of endpoints and sandboxes, on the fake kernel: what is refused, and what the caller is answered."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

import pytest

from libnetwork_py import InvalidParameter, LibnetworkError, Network, NetworkController, Sandbox
from libnetwork_py.store.memory import MemoryStore
from libnetwork_py.testing import FakeKernel


@pytest.fixture
def controller(fake_kernel: FakeKernel) -> Iterator[NetworkController]:
    """A controller in memory."""
    with NetworkController.over(MemoryStore(), fake_kernel) as some:
        yield some


@pytest.fixture
def front(controller: NetworkController) -> Network:
    """A network."""
    return controller.create_network("front", subnets="10.7.0.0/24")


@pytest.fixture
def client(controller: NetworkController, front: Network) -> Sandbox:
    """A sandbox that asks."""
    box = controller.create_sandbox("client", aliases={"db": "web"}, extra_hosts={"printer": "192.0.2.9"})
    box.connect(front)
    return box


def test_names_follow_the_records(controller: NetworkController, front: Network, client: Sandbox) -> None:
    """Names come with a join, change with an update and a new name of the sandbox, and go with the endpoint."""
    web = controller.create_sandbox("web", hostname="www.example")
    endpoint = web.connect(front, aliases=["shop"], dns_names=["first"])
    expected = [ip_address("10.7.0.3")]
    asked = ("web", "WEB", "shop", "first", "www.example", "web.front", "db", web.id[:12])
    assert {name: client.resolve(name) for name in asked} == dict.fromkeys(asked, expected)
    assert client.resolve("10.7.0.3") == client.resolve("3.0.7.10.in-addr.arpa") == ["first.front"]
    assert client.resolve("printer") == [ip_address("192.0.2.9")]
    endpoint.update(aliases=["store"])
    web.rename("site")
    assert (client.resolve("shop"), client.resolve("store"), client.resolve("site")) == ([], expected, expected)
    assert (client.resolve("web"), client.resolve("10.7.0.3"), endpoint.name) == ([], ["first.front"], "site")
    endpoint.leave()
    assert client.resolve("store") == []


def test_a_renamed_sandbox_leaves_its_name_to_another(
    controller: NetworkController, front: Network, client: Sandbox
) -> None:
    """The host name and the endpoint's name that came from the old name follow the new one; one of its own stays."""
    one = controller.create_sandbox("one", domainname="corp.example")
    one.connect(front)
    assert client.resolve("one.corp.example") == client.resolve("one") == [ip_address("10.7.0.3")]
    one.rename("former")
    two = controller.create_sandbox("one")
    two.connect(front)
    assert client.resolve("one") == [ip_address("10.7.0.4")]
    assert client.resolve("former") == client.resolve("former.corp.example") == [ip_address("10.7.0.3")]
    assert "10.7.0.3\tformer.corp.example former\n" in one.hosts
    own = controller.create_sandbox("three", hostname="host3")
    own.connect(front, name="endpoint3")
    own.rename("four")
    assert client.resolve("three") == []
    assert client.resolve("four") == client.resolve("host3") == client.resolve("endpoint3") == [ip_address("10.7.0.5")]


def test_what_fails_changes_no_name(
    controller: NetworkController, front: Network, client: Sandbox, fake_kernel: FakeKernel
) -> None:
    """A batch that fails leaves names as they were."""
    web = controller.create_sandbox("web")
    web.connect(front)
    with pytest.raises(LibnetworkError), controller.batch():
        _disconnect_twice(web, front)
    assert client.resolve("web") == [ip_address("10.7.0.3")]


def _disconnect_twice(box: Sandbox, network: Network) -> None:
    box.disconnect(network)
    box.disconnect(network)


def test_other_networks_are_not_seen(controller: NetworkController, client: Sandbox) -> None:
    """A name of a network that the sandbox is not on is unknown, and so is every name to a sandbox on none."""
    lonely = controller.create_sandbox("lonely")
    assert lonely.resolve("client") == []
    lonely.connect(controller.create_network("back"))
    assert (lonely.resolve("client"), client.resolve("lonely"), lonely.resolve("lonely") != []) == ([], [], True)


@pytest.mark.parametrize(
    ("option", "code"),
    [
        ({"aliases": ["x" * 64]}, "invalid_name"),
        ({"aliases": ["a..b"]}, "invalid_name"),
        ({"aliases": ["no space"]}, "invalid_name"),
        ({"aliases": ["web", "WEB"]}, "duplicate_name"),
        ({"dns_names": ["one", "one"]}, "duplicate_name"),
    ],
)
def test_names_that_are_refused(front: Network, option: dict[str, Any], code: str) -> None:
    """What no question can ask for, or is said twice, is refused before anything is touched."""
    with pytest.raises(InvalidParameter) as refused:
        front.create_endpoint("web", **option)
    assert refused.value.code == code
    assert front.endpoints() == []


@pytest.mark.parametrize("field", ["extra_hosts", "hostname", "domainname"])
def test_a_part_of_a_name_has_63_letters_at_most(controller: NetworkController, field: str) -> None:
    """A name that nobody could ask for is refused, and nothing is made."""
    name = "x" * 64
    given: dict[str, Any] = {field: {name: "192.0.2.9"} if field == "extra_hosts" else name}
    with pytest.raises(InvalidParameter, match="63"):
        controller.create_sandbox("box", **given)
    assert controller.sandboxes() == []
