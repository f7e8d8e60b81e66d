"""The Container Network Model on the real kernel: what belongs to what, what may be named how, and that everything goes again."""

from __future__ import annotations

from pathlib import Path

import pytest

from libnetwork_py import Conflict, NetworkController, NotFound
from tests.root import machine
from tests.root.api_lab import asks, of, pings, serving


def test_the_ten_line_program(host: str) -> None:
    """Two sandboxes on a network reach each other, and all is gone when the controller is closed."""
    forwarding = machine.sysctl("ipv4/ip_forward", host)
    with NetworkController.temporary(host=host) as controller:
        front = controller.create_network("front")
        web = controller.create_sandbox("ten-web")
        client = controller.create_sandbox("ten-client")
        address = web.connect(front, ports=["8080:80"]).addresses[0]
        client.connect(front)
        client.run(["ping", "-c", "1", str(address)], check=True, capture_output=True, timeout=120)
        keys = [Path(web.key), Path(client.key)]
        assert all(key.exists() for key in keys)
    assert not any(key.exists() for key in keys)
    assert set(machine.links(host)) == {"lo"}
    assert not machine.nft(host)
    assert machine.sysctl("ipv4/ip_forward", host) == forwarding


def test_many_to_many(controller: NetworkController) -> None:
    """A sandbox has endpoints on several networks, a network endpoints of several sandboxes, and each reaches each of its network."""
    networks = [controller.create_network(f"net{number}") for number in range(3)]
    boxes = [controller.create_sandbox(f"many{number}") for number in range(3)]
    for box in boxes:
        for network in networks:
            box.connect(network)
    for network in networks:
        assert len(network.endpoints()) == 3
    for box in boxes:
        assert {each.network_id for each in box.endpoints()} == {each.id for each in networks}
        assert [each["ifname"] for each in machine.ip("link", namespace=box.key)] == ["lo", "eth0", "eth1", "eth2"]
    for network in networks:
        for endpoint in network.endpoints():
            assert pings(boxes[0], endpoint.addresses[0])


def test_two_endpoints_of_one_network_in_one_sandbox(controller: NetworkController) -> None:
    """A sandbox may be on one network twice; `disconnect` then asks which one is meant."""
    front, box = controller.create_network("front"), controller.create_sandbox("twice")
    for name in ("one", "two"):
        front.create_endpoint(name).join(box)
    assert [each.name for each in box.interfaces()] == ["lo", "eth0", "eth1"]
    with pytest.raises(Conflict) as caught:
        box.disconnect(front)
    assert caught.value.code == "ambiguous"
    front.endpoint("one").delete(force=True)
    box.disconnect(front)
    assert [each.name for each in box.interfaces()] == ["lo"]


def test_the_states_of_an_endpoint(controller: NetworkController) -> None:
    """Created, joined, created again with the same address and name, joined elsewhere, deleted; the kernel follows."""
    front = controller.create_network("front")
    one, two = controller.create_sandbox("state-one"), controller.create_sandbox("state-two")
    endpoint = front.create_endpoint("traveller", addresses=str(front.subnets[0].network_address + 77))
    assert (endpoint.state, endpoint.sandbox_id, endpoint.interface) == ("created", None, "")
    address, mac = f"{endpoint.addresses[0]}/{front.subnets[0].prefixlen}", endpoint.mac
    for box, other in ((one, two), (two, one)):
        endpoint.join(box)
        assert (endpoint.state, endpoint.sandbox_id, endpoint.interface) == ("joined", box.id, "eth0")
        assert machine.addresses("eth0", box.key) == {address}
        assert machine.links(box.key)["eth0"]["address"] == mac
        assert set(machine.links(other.key)) == {"lo"}
        endpoint.leave()
        assert endpoint.state == "created"
        assert set(machine.links(box.key)) == {"lo"}
    endpoint.delete()
    assert endpoint.state == "deleted"
    with pytest.raises(NotFound):
        controller.endpoint(endpoint.id)


def test_names_are_unique_where_they_must_be(controller: NetworkController) -> None:
    """Two networks may each have an endpoint of one name; a network may be named as a sandbox is; a name is free after deletion."""
    front, back = controller.create_network("same"), controller.create_network("back")
    box = controller.create_sandbox("same")
    box.connect(front)
    box.connect(back)
    assert [each.name for each in box.endpoints()] == ["same", "same"]
    with pytest.raises(Conflict):
        controller.create_network("same")
    box.delete()
    front.delete()
    controller.create_network("same")
    controller.create_sandbox("same")


def test_finding(controller: NetworkController) -> None:
    """Networks, sandboxes and endpoints are found by name, id, the beginning of an id, and by filter."""
    front = controller.create_network("front", labels={"tier": "1"}, internal=True)
    controller.create_network("back")
    box = controller.create_sandbox("found", labels={"role": "web"})
    endpoint = box.connect(front)
    for key in ("front", front.id, front.id[:12]):
        assert controller.network(key) == front
    for key in ("found", box.id, box.id[:12]):
        assert controller.sandbox(key) == box
    for key in (endpoint.id, endpoint.id[:12]):
        assert controller.endpoint(key) == endpoint
        assert front.endpoint(key) == endpoint
    assert front.endpoint("found") == endpoint
    assert [each.name for each in controller.networks()] == ["back", "front"]
    assert (
        controller.networks(internal=True)
        == controller.networks(label="tier=1")
        == controller.networks(label="tier")
        == [front]
    )
    assert controller.networks(driver="null") == []
    assert controller.sandboxes(label="role=web") == [box] == controller.sandboxes()


def test_inspect_has_the_shape_of_docker(controller: NetworkController) -> None:
    """`inspect` has the keys of ``docker network inspect``, and says what the kernel has."""
    front = controller.create_network("front", subnets="10.7.0.0/24", gateways="10.7.0.9", labels={"a": "b"})
    box = controller.create_sandbox("inspected")
    endpoint = box.connect(front)
    shown = front.inspect()
    assert {"Name", "Id", "Created", "Scope", "Driver", "EnableIPv6", "IPAM", "Internal", "Attachable", "Ingress",
            "ConfigFrom", "ConfigOnly", "Containers", "Options", "Labels"} <= set(shown)  # fmt: skip
    assert (shown["Name"], shown["Driver"], shown["Scope"], shown["Labels"]) == ("front", "bridge", "local", {"a": "b"})
    assert shown["IPAM"]["Config"] == [{"Subnet": "10.7.0.0/24", "Gateway": "10.7.0.9"}]
    (container,) = shown["Containers"].values()
    (address,) = machine.addresses("eth0", box.key)
    assert container == {
        "Name": "inspected", "EndpointID": endpoint.id, "MacAddress": machine.links(box.key)["eth0"]["address"],
        "IPv4Address": address, "IPv6Address": "",
    }  # fmt: skip


def test_deleting_a_sandbox_takes_its_endpoints(controller: NetworkController, host: str) -> None:
    """A deleted sandbox leaves neither endpoint nor link nor namespace, and its address and port are free at once."""
    front = controller.create_network("front")
    for _ in range(3):
        box = controller.create_sandbox("shortlived")
        endpoint = box.connect(front, ports="8080:80")
        assert endpoint.addresses[0] == front.subnets[0].network_address + 2
        box.delete()
        assert front.endpoints() == []
        assert not Path(box.key).exists()
    machine.wait_until(lambda: not [name for name in machine.links(host) if name.startswith("veth")], "the links to go")


def test_forced_deletion_of_a_network(controller: NetworkController, host: str) -> None:
    """A network in use is deleted by force with its endpoints; the sandboxes stay, without the interfaces."""
    front, back = controller.create_network("front"), controller.create_network("back")
    box = controller.create_sandbox("stays")
    box.connect(back)
    box.connect(front)
    front.create_endpoint("unjoined")
    front.delete(force=True)
    assert set(machine.links(box.key)) == {"lo", "eth0"}
    assert [each.network_id for each in box.endpoints()] == [back.id]
    assert len([name for name in machine.links(host) if name.startswith("br-")]) == 1


def test_a_server_in_a_sandbox(controller: NetworkController) -> None:
    """A server in one sandbox answers another by TCP and UDP and sees its address."""
    front = controller.create_network("front")
    server, client = controller.create_sandbox("srv"), controller.create_sandbox("cli")
    address, own = server.connect(front).addresses[0], client.connect(front).addresses[0]
    with serving(of(server), 80):
        assert asks(of(client), address, 80) == str(own)
        assert asks(of(client), address, 80, "udp") == str(own)
