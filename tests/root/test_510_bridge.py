"""The bridge driver: what it makes, who reaches whom, and how packets leave."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from libnetwork_py import Network, NetworkController, Sandbox, labels
from tests.root import machine
from tests.root.api_lab import GRACE, asks, at, of, pings, serving
from tests.root.machine import Outside


def bridges(host: str) -> dict[str, dict[str, object]]:
    """The bridges of a host."""
    return {
        name: link
        for name, link in machine.links(host).items()
        if link.get("linkinfo", {}).get("info_kind") == "bridge"
    }


def pair(controller: NetworkController, network: Network, name: str = "p") -> tuple[Sandbox, Sandbox]:
    """Two sandboxes on a network."""
    found = tuple(controller.create_sandbox(f"{name}{number}") for number in range(2))
    for box in found:
        box.connect(network)
    return found[0], found[1]


def address(box: Sandbox, family: int = 4, index: int = 0) -> str:
    """A sandbox's address on its leading network."""
    return next(str(each) for each in box.endpoints()[index].addresses if each.version == family)


# what is made


def test_a_network_is_a_bridge(controller: NetworkController, host: str) -> None:
    """A network is one bridge, up, with the gateway's address; an endpoint is a port of it; both go with what they belong to."""
    network = controller.create_network("front", subnets="10.7.0.0/24")
    ((name, bridge),) = bridges(host).items()
    assert name == f"br-{network.id[:12]}"
    assert "UP" in bridge["flags"]  # type: ignore[operator]
    assert machine.addresses(name, host) == {"10.7.0.1/24"}
    box = controller.create_sandbox("port")
    box.connect(network)
    (port,) = (link for link in machine.links(host).values() if link.get("master") == name)
    assert port["linkinfo"]["info_kind"] == "veth"
    assert machine.routes(box.key) == {("default", "10.7.0.1", "eth0"), ("10.7.0.0/24", "", "eth0")}
    box.delete()
    network.delete()
    assert not bridges(host)


def test_own_bridge_name_gateway_range_and_mtu(controller: NetworkController, host: str) -> None:
    """The bridge's name, the gateway, the range of addresses and the MTU are as asked, on every interface."""
    network = controller.create_network(
        "front", subnets="10.7.0.0/24", gateways="10.7.0.254", ip_ranges="10.7.0.128/25", aux_addresses={"router": "10.7.0.128"},
        options={labels.BRIDGE_NAME: "mybr0", labels.DRIVER_MTU: 1400},
    )  # fmt: skip
    box, _ = pair(controller, network)
    assert machine.addresses("mybr0", host) == {"10.7.0.254/24"}
    assert address(box) == "10.7.0.129"
    assert {link["mtu"] for name, link in machine.links(host).items() if name != "lo"} == {1400}
    assert machine.links(box.key)["eth0"]["mtu"] == 1400
    assert ("default", "10.7.0.254", "eth0") in machine.routes(box.key)
    assert str(network.gateways[0]) == "10.7.0.254"


def test_dual_stack(controller: NetworkController, host: str) -> None:
    """A network with IPv6 chooses a subnet of unique local addresses, and both families reach neighbour and gateway."""
    network = controller.create_network("front", ipv6=True)
    assert [each.version for each in network.subnets] == [4, 6]
    assert network.subnets[1].subnet_of(ip_network("fd00::/8"))  # type: ignore[arg-type]
    one, two = pair(controller, network)
    assert all(pings(one, address(two, family)) for family in (4, 6))
    assert all(pings(one, gateway) for gateway in network.gateways)
    assert len(machine.addresses(f"br-{network.id[:12]}", host)) == 2


def test_ipv6_alone(controller: NetworkController) -> None:
    """A network may have IPv6 only: no IPv4 address anywhere."""
    network = controller.create_network("six", ipv4=False, ipv6=True)
    one, two = pair(controller, network)
    assert {each.version for each in one.endpoints()[0].addresses} == {6}
    assert not [each for each in machine.ip("-4", "addr", "show", "dev", "eth0", namespace=one.key) if each]
    assert pings(one, address(two, 6))


def test_the_chosen_subnet_avoids_what_the_host_is_connected_to(
    controller: NetworkController, host: str, outside: Outside
) -> None:
    """A subnet of our choice overlaps no network that the host is connected to."""
    machine.ip("addr", "add", "172.17.3.4/16", "dev", outside.host_link, namespace=host)
    machine.ip("route", "add", "172.18.5.0/24", "dev", outside.host_link, namespace=host)
    chosen = controller.create_network("front").subnets[0]
    assert str(chosen) == "172.19.0.0/16"


def test_point_to_point_subnets(controller: NetworkController) -> None:
    """A /31 has two usable addresses, the gateway's and one more, and they reach each other."""
    network = controller.create_network("p2p", subnets="10.7.0.0/31")
    box = controller.create_sandbox("p2p-box")
    box.connect(network)
    assert pings(box, network.gateways[0])


# the outside


@pytest.mark.parametrize("family", [4, 6])
def test_masquerade(controller: NetworkController, outside: Outside, family: int) -> None:
    """Traffic to the outside leaves with the host's own address, by TCP and UDP, in both families."""
    box, _ = pair(controller, controller.create_network("front", ipv6=True))
    target, seen = {4: (outside.ipv4.ip, outside.host_ipv4.ip), 6: (outside.ipv6.ip, outside.host_ipv6.ip)}[family]
    assert pings(box, target)
    with serving(at(outside.namespace), 9000, 4, 6):
        assert asks(of(box), target, 9000) == str(seen)
        assert asks(of(box), target, 9000, "udp") == str(seen)


def test_without_masquerade(controller: NetworkController, outside: Outside) -> None:
    """With masquerading off the outside sees the sandbox's own address, once it knows the way back."""
    network = controller.create_network(
        "front", subnets="10.7.0.0/24", options={labels.BRIDGE_ENABLE_IP_MASQUERADE: False}
    )
    box, _ = pair(controller, network)
    machine.ip("route", "add", "10.7.0.0/24", "via", outside.host_ipv4.ip, namespace=outside.namespace)
    with serving(at(outside.namespace), 9000):
        assert asks(of(box), outside.ipv4.ip, 9000) == address(box)


def test_internal(controller: NetworkController, outside: Outside) -> None:
    """An internal network's endpoints reach each other and nothing outside, even with a route of their own."""
    network = controller.create_network("inner", internal=True)
    one, two = pair(controller, network)
    assert pings(one, address(two))
    assert not pings(one, outside.ipv4.ip, within=GRACE)
    machine.ip("route", "add", "default", "via", network.gateways[0], namespace=one.key)
    assert not pings(one, outside.ipv4.ip, within=GRACE)


def test_the_outside_gets_in_nowhere(controller: NetworkController, outside: Outside) -> None:
    """The outside reaches no unpublished port, even where it knows the way."""
    network = controller.create_network("front", subnets="10.7.0.0/24")
    box, _ = pair(controller, network)
    machine.ip("route", "add", "10.7.0.0/24", "via", outside.host_ipv4.ip, namespace=outside.namespace)
    with serving(of(box), 80):
        assert asks(at(outside.namespace), address(box), 80, within=GRACE) is None
        assert asks(at(outside.namespace), address(box), 80, "udp", within=GRACE) is None


# neighbours


def test_isolation_between_networks(controller: NetworkController) -> None:
    """A sandbox reaches no endpoint of another network, by TCP, UDP or ping, in either direction."""
    one, _ = pair(controller, controller.create_network("one", ipv6=True), "one")
    two, _ = pair(controller, controller.create_network("two", ipv6=True), "two")
    with serving(of(one), 80, 4, 6), serving(of(two), 80, 4, 6):
        for client, server in ((one, two), (two, one)):
            for family in (4, 6):
                assert asks(of(client), address(server, family), 80, within=GRACE) is None
        assert asks(of(one), address(two), 80, "udp", within=GRACE) is None
    assert not pings(one, address(two), within=GRACE)


def test_a_sandbox_on_both_networks_reaches_both(controller: NetworkController) -> None:
    """Isolation is between networks, not between sandboxes that share one."""
    networks = [controller.create_network(name) for name in ("one", "two")]
    (one, _), (two, _) = (pair(controller, network, network.name) for network in networks)
    both = controller.create_sandbox("both")
    for network in networks:
        both.connect(network)
    assert pings(both, address(one))
    assert pings(both, address(two))


@pytest.fixture
def quiet(controller: NetworkController) -> tuple[Network, Sandbox, Sandbox]:
    """A network without communication between its endpoints, and two of them."""
    network = controller.create_network("quiet", subnets="10.7.0.0/24", options={labels.BRIDGE_ENABLE_ICC: False})
    return network, *pair(controller, network)


def test_icc_off(quiet: tuple[Network, Sandbox, Sandbox], outside: Outside) -> None:
    """With ICC off neighbours do not reach each other on the wire, but the gateway and the outside they do."""
    network, one, two = quiet
    assert not pings(one, address(two), within=GRACE)
    with serving(of(two), 80):
        assert asks(of(one), address(two), 80, within=GRACE) is None
    assert pings(one, network.gateways[0])
    assert pings(one, outside.ipv4.ip)


def test_icc_off_by_way_of_the_gateway(quiet: tuple[Network, Sandbox, Sandbox], host: str) -> None:
    """Nor do they by way of the gateway, when a sandbox routes its neighbour's address through it."""
    network, one, two = quiet
    for box, other in ((one, two), (two, one)):
        machine.ip("route", "add", f"{address(other)}/32", "via", network.gateways[0], namespace=box.key)
    with serving(of(two), 80):
        assert asks(of(one), address(two), 80, within=GRACE) is None
    assert not pings(one, address(two), within=GRACE)


def test_a_bridge_network_keeps_to_its_own_table(controller: NetworkController, host: str) -> None:
    """Another table of the packet filter stays as it is while networks come and go."""
    rules = "table ip theirs { chain c { type filter hook forward priority 0; policy accept; counter; }; }"
    machine.run_in(host, ["nft", "-f", "-"], input=rules)
    before = machine.run_in(host, ["nft", "list", "table", "ip", "theirs"]).stdout
    network = controller.create_network("front")
    pair(controller, network)
    network.delete(force=True)
    assert machine.run_in(host, ["nft", "list", "table", "ip", "theirs"]).stdout == before
    assert {each["table"]["name"] for each in machine.nft(host) if "table" in each} == {"theirs"}


def test_addresses_are_given_lowest_first(controller: NetworkController) -> None:
    """Addresses are given from the lowest free one, and a freed one is given again."""
    network = controller.create_network("front", subnets="10.7.0.0/29")
    endpoints = [network.create_endpoint() for _ in range(5)]
    assert [each.addresses[0] for each in endpoints] == [ip_address(f"10.7.0.{number}") for number in range(2, 7)]
    with pytest.raises(Exception, match="no IPv4 address is free"):
        network.create_endpoint()
    endpoints[1].delete()
    assert str(network.create_endpoint().addresses[0]) == "10.7.0.3"
