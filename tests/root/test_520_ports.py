"""Published ports: reached from the outside, from the host, from other sandboxes and from the sandbox itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from ipaddress import ip_address

import pytest
from attrs import frozen

from libnetwork_py import Conflict, Endpoint, InvalidParameter, Network, NetworkController, PortBinding, Sandbox
from tests.root import machine
from tests.root.api_lab import GRACE, PATIENCE, asks, at, of, serving, socket_in
from tests.root.machine import Outside


@frozen
class Shop:
    """A sandbox that serves port 80 by both protocols and families on a network with both."""

    controller: NetworkController
    host: str
    outside: Outside
    network: Network
    web: Sandbox
    endpoint: Endpoint

    def from_outside(
        self, port: int, protocol: str = "tcp", *, family: int = 4, within: float = PATIENCE
    ) -> str | None:
        """What the server saw of a client beyond the host."""
        target = self.outside.host_ipv4.ip if family == 4 else self.outside.host_ipv6.ip
        return asks(at(self.outside.namespace), target, port, protocol, within=within)


@pytest.fixture
def shop(controller: NetworkController, host: str, outside: Outside) -> Iterator[Shop]:
    """A shop, open."""
    network = controller.create_network("front", ipv6=True)
    web = controller.create_sandbox("shop")
    endpoint = web.connect(network, ports=["8080:80/tcp", "8080:80/udp"])
    with serving(of(web), 80, 4, 6):
        yield Shop(controller, host, outside, network, web, endpoint)


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_from_the_outside(shop: Shop, protocol: str, family: int) -> None:
    """The outside reaches a published port, and the server sees the client's own address."""
    own = shop.outside.ipv4.ip if family == 4 else shop.outside.ipv6.ip
    assert shop.from_outside(8080, protocol, family=family) == str(own)


def test_at_once(shop: Shop) -> None:
    """The host can ask for IPv6 neighbours, with an address of the link that is valid already, as soon as the port is published."""
    (bridge,) = machine.ip("-6", "addr", "show", "dev", f"br-{shop.network.id[:12]}", namespace=shop.host)
    own = [each for each in bridge["addr_info"] if each["scope"] == "link" and not each.get("tentative")]
    assert own, bridge


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_from_the_host(shop: Shop, protocol: str) -> None:
    """The host reaches it by each of its own addresses, 127.0.0.1 among them."""
    gateway = shop.network.gateways[0]
    for address in ("127.0.0.1", shop.outside.host_ipv4.ip, gateway, shop.outside.host_ipv6.ip):
        assert asks(at(shop.host), address, 8080, protocol) is not None, address


def test_from_another_sandbox(shop: Shop) -> None:
    """A sandbox of the same network and one of another reach it by the host's address."""
    same, other = shop.controller.create_sandbox("same-net"), shop.controller.create_sandbox("other-net")
    same.connect(shop.network)
    other.connect(shop.controller.create_network("back"))
    for client in (same, other):
        for protocol in ("tcp", "udp"):
            assert asks(of(client), shop.outside.host_ipv4.ip, 8080, protocol) is not None, client
    assert asks(of(other), shop.endpoint.addresses[0], 80, within=GRACE) is None


def test_from_itself(shop: Shop) -> None:
    """The sandbox reaches its own published port by the host's address."""
    for protocol in ("tcp", "udp"):
        assert asks(of(shop.web), shop.outside.host_ipv4.ip, 8080, protocol) is not None
        assert asks(of(shop.web), shop.network.gateways[0], 8080, protocol) is not None


def test_publish_and_unpublish_while_joined(shop: Shop) -> None:
    """A port is published and taken back while the sandbox runs; the others stay, and new connections follow at once."""
    assert shop.from_outside(9090, within=GRACE) is None
    binding = shop.endpoint.publish("9090:80")
    assert binding == PortBinding(80, host_port=9090)
    assert shop.from_outside(9090) is not None
    shop.endpoint.unpublish(binding)
    assert shop.from_outside(9090, within=GRACE) is None
    shop.endpoint.unpublish("8080:80/udp")
    assert shop.from_outside(8080, "udp", within=GRACE) is None
    assert shop.from_outside(8080) is not None
    assert [str(each) for each in shop.endpoint.ports] == ["8080:80/tcp"]


def test_leaving_takes_the_ports_back(shop: Shop) -> None:
    """While an endpoint is not joined its ports are anybody's; they are published again when it joins."""
    shop.endpoint.leave()
    with socket_in(shop.host) as theirs:
        theirs.bind(("0.0.0.0", 8080))
        theirs.listen()
        with pytest.raises(Conflict) as caught:
            shop.endpoint.join(shop.web)
        assert caught.value.code == "port_in_use"
    assert shop.endpoint.state == "created"
    shop.endpoint.join(shop.web)
    assert shop.from_outside(8080) is not None


def test_a_free_port_is_chosen(shop: Shop) -> None:
    """Without a host port a free one is chosen, and the endpoint says which; two endpoints never get the same."""
    chosen = [shop.endpoint.publish(port) for port in ("80", "0:80", "80/udp")]
    assert all(each.host_port for each in chosen)
    assert len({(each.host_port, each.protocol) for each in chosen}) == 3
    for each in chosen:
        assert shop.from_outside(each.host_port, each.protocol) is not None


def test_a_range(shop: Shop) -> None:
    """A range of host ports leads to the container's ports in order."""
    with serving(of(shop.web), 81), serving(of(shop.web), 82):
        shop.endpoint.publish("9000-9002:80-82")
        assert all(shop.from_outside(port) for port in (9000, 9001, 9002))
        assert shop.from_outside(9003, within=GRACE) is None


def test_one_host_address(shop: Shop) -> None:
    """A port bound to one address of the host is reached by that one and no other; another address may have it too."""
    shop.endpoint.publish("127.0.0.1:9100:80")
    assert asks(at(shop.host), "127.0.0.1", 9100) is not None
    assert shop.from_outside(9100, within=GRACE) is None
    other = shop.controller.create_sandbox("other")
    with serving(of(other), 80):
        other.connect(shop.network, ports=f"{shop.outside.host_ipv4.ip}:9100:80")
        assert shop.from_outside(9100) is not None
        assert asks(at(shop.host), "127.0.0.1", 9100) is not None


def test_one_port_at_each_family_s_address(shop: Shop) -> None:
    """A port asked for at both unspecified addresses, as a compose file does, goes with each of them, and is anybody's then."""
    other = shop.controller.create_sandbox("other").connect(shop.network)
    shop.web.disconnect(shop.network)
    endpoint = shop.web.connect(shop.network, ports=["0.0.0.0:9700:80", "[::]:9700:80"])
    assert [shop.from_outside(9700, family=family) is not None for family in (4, 6)] == [True, True]
    for family, binding in zip((4, 6), endpoint.ports, strict=True):
        endpoint.unpublish(binding)
        assert shop.from_outside(9700, family=family, within=GRACE) is None
        other.publish(binding)


def test_an_ipv6_host_address(shop: Shop) -> None:
    """A port bound to an IPv6 address of the host is reached over IPv6 alone."""
    shop.endpoint.publish(f"[{shop.outside.host_ipv6.ip}]:9200:80")
    assert shop.from_outside(9200, family=6) == str(shop.outside.ipv6.ip)
    assert shop.from_outside(9200, family=4, within=GRACE) is None


def test_the_port_is_taken_on_the_host(shop: Shop) -> None:
    """Nobody else on the host can bind a published port, and `ss` shows that it is taken; afterwards anybody can."""
    shown = machine.run_in(shop.host, ["ss", "-Hlntu"]).stdout
    assert ":8080" in shown
    for protocol in ("tcp", "udp"):
        with socket_in(shop.host, 4, protocol) as theirs, pytest.raises(OSError, match="in use"):
            theirs.bind(("0.0.0.0", 8080))
    shop.web.delete()
    with socket_in(shop.host) as theirs:
        theirs.bind(("0.0.0.0", 8080))


@pytest.mark.parametrize("taker", ["port", "batch"])
def test_a_port_that_was_refused_stays_free(shop: Shop, taker: str) -> None:
    """Where one of several ports is taken none is kept, alone or in a batch."""
    other = shop.controller.create_sandbox("other")
    ports = ["9300:80", "8080:80"]

    def together() -> None:
        with shop.controller.batch():
            other.connect(shop.network, ports=ports)

    connect: Callable[[], object] = together if taker == "batch" else lambda: other.connect(shop.network, ports=ports)
    with pytest.raises(Conflict):
        connect()
    with socket_in(shop.host) as theirs:
        theirs.bind(("0.0.0.0", 9300))
    assert other.endpoints() == []


def test_the_text_forms(shop: Shop) -> None:
    """Every form of the API's table is taken, as text, number or binding, and an endpoint's ports are given back as bindings."""
    endpoint = shop.network.create_endpoint(
        "texts",
        ports=[
            "80",
            81,
            "8001:82",
            "127.0.0.1:8002:83/udp",
            "[::1]:8003:84",
            "8010-8012:90-92/tcp",
            "0:85",
            PortBinding(86),
        ],
    )
    assert [str(each) for each in endpoint.ports] == [
        "0:80/tcp", "0:81/tcp", "8001:82/tcp", "127.0.0.1:8002:83/udp", "[::1]:8003:84/tcp", "8010-8012:90-92/tcp", "0:85/tcp", "0:86/tcp",
    ]  # fmt: skip


def test_an_internal_network_publishes_nothing(shop: Shop) -> None:
    """Ports of an internal network are refused."""
    inner = shop.controller.create_network("inner", internal=True)
    with pytest.raises(InvalidParameter) as caught:
        inner.create_endpoint("x", ports="80:80")
    assert caught.value.code == "internal_ports"


def test_many_ports_of_many_sandboxes(shop: Shop) -> None:
    """Each of many published ports leads to its own sandbox."""
    boxes = [shop.controller.create_sandbox(f"many{number}") for number in range(8)]
    with shop.controller.batch():
        endpoints = [box.connect(shop.network, ports=f"{9400 + number}:8000") for number, box in enumerate(boxes)]
    for number, (box, endpoint) in enumerate(zip(boxes, endpoints, strict=True)):
        with box.socket() as server:
            server.bind(("0.0.0.0", 8000))
            server.listen()
            server.settimeout(PATIENCE)
            with socket_in(shop.outside.namespace) as client:
                client.settimeout(PATIENCE)
                client.connect((str(shop.outside.host_ipv4.ip), 9400 + number))
                connection, _ = server.accept()
                with connection:
                    assert ip_address(connection.getsockname()[0]) == endpoint.addresses[0]
