"""The options of the bridge driver on the real kernel, looked at with ``ip`` and with real packets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from libnetwork_py import InvalidParameter, NetworkController, Sandbox, labels
from tests.root import machine
from tests.root.api_lab import GRACE, PATIENCE, asks, at, of, pings, serving
from tests.root.machine import Outside

SUBNETS = ["10.7.0.0/24", "fd00:7::/64"]
NAME = {labels.BRIDGE_NAME: "br7"}


def box_on(controller: NetworkController, options: dict[str, Any], name: str = "opt-box", **given: Any) -> Sandbox:
    """A network ``front`` with options on the bridge br7, and a sandbox on it."""
    connect = {key: given.pop(key) for key in ("ports",) if key in given}
    network = controller.create_network("front", subnets=SUBNETS, options={**NAME, **options}, **given)
    box = controller.create_sandbox(name)
    box.connect(network, **connect)
    return box


def add_address(outside: Outside, host: str, *addresses: str) -> None:
    """Give the host more addresses on its uplink."""
    for each in addresses:
        machine.ip("addr", "add", each, "dev", outside.host_link, *(["nodad"] if ":" in each else []), namespace=host)


def way_in(outside: Outside) -> None:
    """Tell the outside the way to the networks' own addresses."""
    machine.ip("route", "add", SUBNETS[0], "via", outside.host_ipv4.ip, namespace=outside.namespace)
    machine.ip("-6", "route", "add", SUBNETS[1], "via", outside.host_ipv6.ip, namespace=outside.namespace)


# Gateway modes


@pytest.mark.parametrize("families", [(4,), (6,), (4, 6)])
def test_isolated(controller: NetworkController, host: str, families: tuple[int, ...]) -> None:
    """An isolated family has no address on the bridge, IPv6 not even a link-local one, and no route; neighbours reach each other."""
    keys = {4: labels.BRIDGE_GATEWAY_MODE_IPV4, 6: labels.BRIDGE_GATEWAY_MODE_IPV6}
    one = box_on(controller, {keys[family]: "isolated" for family in families}, internal=True)
    two = controller.create_sandbox("opt-two")
    other = two.connect(controller.network("front"))
    assert all(pings(one, address) for address in other.addresses)
    gateways = {4: "10.7.0.1/24", 6: "fd00:7::1/64"}
    assert machine.addresses("br7", host) == {text for family, text in gateways.items() if family not in families}
    (shown,) = [each for each in machine.ip("addr", "show", "dev", "br7", namespace=host) if each]
    assert any(":" in each["local"] for each in shown["addr_info"]) is (6 not in families)
    assert machine.sysctl("ipv6/conf/br7/disable_ipv6", host) == ("1" if 6 in families else "0")
    assert {str(each.version) for each in controller.network("front").gateways} == {
        str(f) for f in (4, 6) if f not in families
    }
    assert not [each for each in machine.routes(one.key) | machine.routes(one.key, 6) if each[0] == "default"]


@pytest.mark.parametrize("family", [4, 6])
def test_routed(controller: NetworkController, outside: Outside, family: int) -> None:
    """A routed family leaves with its own addresses; the outside reaches published container ports and pings, and nothing else."""
    way_in(outside)
    modes = {labels.BRIDGE_GATEWAY_MODE_IPV4: "routed", labels.BRIDGE_GATEWAY_MODE_IPV6: "routed"}
    box = box_on(controller, modes, ports="8080:80")
    address = next(each for each in box.endpoints()[0].addresses if each.version == family)
    target = outside.ipv4.ip if family == 4 else outside.ipv6.ip
    with serving(at(outside.namespace), 9000, 4, 6), serving(of(box), 80, 4, 6), serving(of(box), 81, 4, 6):
        assert asks(of(box), target, 9000) == str(address)
        assert asks(at(outside.namespace), address, 80) == str(target)
        assert asks(at(outside.namespace), address, 81, within=GRACE) is None
    machine.run_in(outside.namespace, ["ping", "-n", "-c", "1", "-W", "5", address])


def test_nat_unprotected(controller: NetworkController, outside: Outside) -> None:
    """In nat-unprotected mode the outside reaches every port, and sandboxes leave with the host's address."""
    way_in(outside)
    box = box_on(controller, {labels.BRIDGE_GATEWAY_MODE_IPV4: "nat-unprotected"})
    with serving(at(outside.namespace), 9000), serving(of(box), 81, 4, 6):
        assert asks(of(box), outside.ipv4.ip, 9000) == str(outside.host_ipv4.ip)
        assert asks(at(outside.namespace), "10.7.0.2", 81) == str(outside.ipv4.ip)
        assert asks(at(outside.namespace), "fd00:7::2", 81, within=GRACE) is None


# Addresses of the host


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_the_source_address_is_the_one_given(
    controller: NetworkController, host: str, outside: Outside, protocol: str
) -> None:
    """A server outside sees the addresses of ``host_ipv4`` and ``host_ipv6`` instead of the uplink's first ones."""
    add_address(outside, host, "10.255.0.9/24", "fd00:255::9/64")
    box = box_on(controller, {labels.HOST_IPV4: "10.255.0.9", labels.HOST_IPV6: "fd00:255::9"})
    with serving(at(outside.namespace), 9000, 4, 6):
        assert asks(of(box), outside.ipv4.ip, 9000, protocol) == "10.255.0.9"
        assert asks(of(box), outside.ipv6.ip, 9000, protocol) == "fd00:255::9"


@pytest.mark.parametrize("binding", ["10.255.0.9", "fd00:255::9", "0.0.0.0"])
def test_the_host_address_of_ports(controller: NetworkController, host: str, outside: Outside, binding: str) -> None:
    """Ports that name no host address are bound to the network's; 0.0.0.0 stands for all, of both families."""
    add_address(outside, host, "10.255.0.9/24", "fd00:255::9/64")
    box = box_on(controller, {labels.BRIDGE_HOST_BINDING_IPV4: binding}, ports=["8080:80"])
    box.endpoints()[0].publish(f"{outside.host_ipv4.ip}:8081:80")
    with serving(of(box), 80, 4, 6):
        for address in ("10.255.0.9", "fd00:255::9", str(outside.host_ipv4.ip)):
            expected = binding == address or binding.startswith("0.")
            seen = asks(at(outside.namespace), address, 8080, within=PATIENCE if expected else GRACE)
            assert (seen is not None) is expected, address
        assert asks(at(outside.namespace), outside.host_ipv4.ip, 8081) == str(outside.ipv4.ip)


def test_trusted_interfaces(controller: NetworkController, outside: Outside) -> None:
    """From a trusted interface of the host a published port is reached by the sandbox's own address; no other port is."""
    way_in(outside)
    box = box_on(controller, {}, ports=["8080:80"])
    network = controller.network("front")
    with serving(of(box), 80, 4, 6), serving(of(box), 81, 4, 6):
        for trusted in ("", "lo:nosuch0:uplink0", "nosuch0"):
            network.update(options={labels.BRIDGE_TRUSTED_HOST_INTERFACES: trusted})
            for address in ("10.7.0.2", "fd00:7::2"):
                expected = "uplink0" in trusted
                seen = asks(at(outside.namespace), address, 80, within=PATIENCE if expected else GRACE)
                assert (seen is not None) is expected, (trusted, address)
                assert asks(at(outside.namespace), address, 81, within=GRACE) is None


# Gateways


def test_inhibit_ipv4(controller: NetworkController, host: str) -> None:
    """The bridge has no IPv4 address; sandboxes are sent to the gateway all the same, where somebody else may have it."""
    box = box_on(controller, {labels.BRIDGE_INHIBIT_IPV4: True})
    assert machine.addresses("br7", host) == {"fd00:7::1/64"}
    assert ("default", "10.7.0.1", "eth0") in machine.routes(box.key)
    router = controller.create_sandbox("opt-router")
    router.connect(controller.network("front"))
    machine.ip("addr", "add", "10.7.0.1/24", "dev", "eth0", namespace=router.key)
    machine.ip("addr", "add", "192.0.2.7/32", "dev", "lo", namespace=router.key)
    assert pings(box, "192.0.2.7")


def test_default_gateways(controller: NetworkController) -> None:
    """The auxiliary addresses of that name are the sandboxes' gateways, in both families; they go to no endpoint."""
    aux = {"DefaultGatewayIPv4": "10.7.0.2", "DefaultGatewayIPv6": "fd00:7::2"}
    box = box_on(controller, {}, aux_addresses=aux)
    assert [str(each) for each in box.endpoints()[0].addresses] == ["10.7.0.3", "fd00:7::3"]
    assert [str(each) for each in box.endpoints()[0].gateways] == ["10.7.0.2", "fd00:7::2"]
    assert ("default", "10.7.0.2", "eth0") in machine.routes(box.key)
    assert ("default", "fd00:7::2", "eth0") in machine.routes(box.key, 6)


# Names and sizes


def test_prefix_of_interfaces(controller: NetworkController) -> None:
    """Interfaces are numbered after the prefix of their network, each prefix by itself."""
    box = box_on(controller, {labels.CONTAINER_IFACE_PREFIX: "data"})
    box.connect(controller.create_network("other"))
    assert set(machine.links(box.key)) == {"lo", "data0", "eth0"}


@pytest.mark.parametrize("mtu", [68, 1279, 1280, 65535])
def test_the_limits_of_mtu(controller: NetworkController, host: str, mtu: int) -> None:
    """The least and the greatest MTU that the kernel takes are taken, on bridge and interfaces; IPv6 needs 1280."""
    options = {**NAME, labels.DRIVER_MTU: mtu}
    network = controller.create_network("front", subnets="10.7.0.0/24", options=options)
    box = controller.create_sandbox("opt-box")
    box.connect(network)
    outer = next(link for link in machine.links(host).values() if link.get("master") == "br7")
    assert {machine.links(host)["br7"]["mtu"], outer["mtu"], machine.links(box.key)["eth0"]["mtu"]} == {mtu}
    network.delete(force=True)
    if mtu < 1280:
        with pytest.raises(InvalidParameter, match="IPv6 needs 1280"):
            controller.create_network("front", ipv6=True, options=options)


@pytest.mark.parametrize("mtu", [67, 65536])
def test_the_kernel_takes_no_other_mtu(controller: NetworkController, host: str, mtu: int) -> None:
    """What is refused as an MTU is what the kernel refuses for one end or the other."""
    before = set(machine.links(host))
    with pytest.raises(InvalidParameter, match="between 68 and 65535"):
        controller.create_network("front", options={labels.DRIVER_MTU: mtu})
    assert set(machine.links(host)) == before
    made = machine.run_in(host, ["ip", "link", "add", "mtu0", "mtu", mtu, "type", "veth"], check=False)
    assert "Invalid argument" in made.stderr


# A bridge of somebody else's


@pytest.fixture(params=[(), ("10.7.0.1/24", "10.66.0.1/24", "fd00:66::1/64")], ids=["bare", "with addresses"])
def theirs(request: pytest.FixtureRequest, host: str) -> tuple[Any, ...]:
    """A bridge br7 that somebody made, with settings of its own; how it looks."""
    machine.ip("link", "add", "br7", "type", "bridge", namespace=host)
    machine.ip("link", "set", "br7", "mtu", "1400", "address", "02:00:00:00:00:07", "up", namespace=host)
    for each in request.param:
        machine.ip("addr", "add", each, "dev", "br7", *(["nodad"] if ":" in each else []), namespace=host)
    machine.run_in(host, ["sysctl", "-w", "net.ipv6.conf.br7.accept_ra=2"])
    return look(host)


def look(host: str) -> tuple[Any, ...]:
    """A bridge with all that a network may change about it."""
    link = machine.links(host)["br7"]
    names = ("ipv4/conf/br7/route_localnet", "ipv6/conf/br7/accept_ra", "ipv6/conf/br7/disable_ipv6")
    settings = [machine.sysctl(name, host) for name in names]
    return link["ifindex"], link["mtu"], link["address"], link["group"], machine.addresses("br7", host), settings


@pytest.mark.parametrize("subnets", ["10.7.0.0/24", SUBNETS], ids=["IPv4", "both"])
def test_a_bridge_that_was_there(
    host: str, outside: Outside, theirs: tuple[Any, ...], tmp_path: Path, subnets: Any
) -> None:
    """It is used, over a restart and `reconcile`, and left with what it had; a port of it works."""
    had = theirs[4]
    with NetworkController(tmp_path / "state", host=host) as first:
        network = first.create_network("front", subnets=subnets, options=NAME)
        box = first.create_sandbox("opt-box")
        box.connect(network)
    with NetworkController(tmp_path / "state", host=host) as second:
        box = second.sandbox("opt-box")
        assert pings(box, "10.7.0.1")
        assert pings(box, outside.ipv4.ip)
        assert machine.links(box.key)["eth0"]["mtu"] == 1400
        gateways = {"10.7.0.1/24"} | ({"fd00:7::1/64"} if subnets is SUBNETS else set())
        assert machine.addresses("br7", host) == had | gateways
        assert not second.reconcile()
        machine.ip("addr", "flush", "dev", "br7", "to", "10.7.0.0/24", namespace=host)
        second.reconcile()
        assert machine.addresses("br7", host) >= gateways - had
        machine.run_in(host, ["ip", "addr", "replace", "10.7.0.1/24", "dev", "br7"])
        second.network("front").update(options={labels.BRIDGE_ENABLE_ICC: False})
        assert machine.links(host)["br7"]["ifindex"] == theirs[0]
        second.network("front").delete(force=True)
        box.delete()
    if "10.7.0.1/24" not in had:
        machine.run_in(host, ["ip", "addr", "del", "10.7.0.1/24", "dev", "br7"], check=False)
    assert look(host) == theirs


def test_a_bridge_with_the_wrong_address(controller: NetworkController, host: str) -> None:
    """An address of another subnet stays on the bridge beside the gateway's, and after it."""
    machine.ip("link", "add", "br7", "type", "bridge", namespace=host)
    machine.ip("addr", "add", "10.66.0.1/24", "dev", "br7", namespace=host)
    network = controller.create_network("front", subnets="10.7.0.0/24", options=NAME)
    assert machine.addresses("br7", host) == {"10.66.0.1/24", "10.7.0.1/24"}
    network.delete()
    assert machine.addresses("br7", host) == {"10.66.0.1/24"}


def test_a_name_that_is_another_link_s(controller: NetworkController, host: str, outside: Outside) -> None:
    """A bridge name that another kind of link has is refused, and the link is as it was."""
    before = machine.links(host)[outside.host_link]
    with pytest.raises(Exception, match="it is a veth link of the host") as caught:
        controller.create_network("front", options={labels.BRIDGE_NAME: outside.host_link})
    assert getattr(caught.value, "code", "") == "link_exists"
    assert machine.links(host)[outside.host_link]["flags"] == before["flags"]
