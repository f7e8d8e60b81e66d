"""The drivers that make nothing: null and host."""

from __future__ import annotations

import pytest

from libnetwork_py import Forbidden, NetworkController, NotSupported
from tests.root import machine
from tests.root.api_lab import difference, picture


def test_null(controller: NetworkController, host: str) -> None:
    """A null network makes nothing: a joined sandbox has its loopback and no more, and any number of such networks may be."""
    before = machine.links(host)
    networks = [controller.create_network(f"none{number}", "null") for number in range(2)]
    box = controller.create_sandbox("lonely")
    endpoints = [box.connect(network) for network in networks]
    assert [(each.state, each.addresses, each.mac, each.interface, each.gateways) for each in endpoints] == [
        ("joined", (), None, "", ())
    ] * 2
    assert set(machine.links(box.key)) == {"lo"}
    assert machine.links(host) == before
    assert not machine.nft(host)
    with pytest.raises(NotSupported) as caught:
        networks[0].create_endpoint("ports", ports="80:80")
    assert caught.value.code == "no_ports"


def test_null_beside_a_bridge(controller: NetworkController) -> None:
    """A null endpoint takes no interface name and no part in the election."""
    none, front = controller.create_network("a-none", "null"), controller.create_network("front")
    box = controller.create_sandbox("both")
    box.connect(none, priority=100)
    assert box.connect(front).interface == "eth0"
    assert box.gateway(4) == front.gateways[0]


def test_host(controller: NetworkController, host: str) -> None:
    """The host network is joined by the host's own sandbox alone, and makes nothing; there is one of them."""
    network = controller.create_network("hostnet", "host")
    box = controller.create_sandbox("own", netns="host")
    before = picture(controller, host)
    endpoint = box.connect(network)
    assert (endpoint.state, endpoint.interface, endpoint.addresses) == ("joined", "", ())
    changed = difference(before, picture(controller, host))
    assert set(changed) == {"records"}
    other = controller.create_sandbox("other")
    with pytest.raises(Forbidden) as caught:
        other.connect(network)
    assert caught.value.code == "host_only"
    with pytest.raises(Forbidden) as second:
        controller.create_network("hostnet2", "host")
    assert second.value.code == "singleton"
    box.delete()
    network.delete()
    controller.create_network("hostnet2", "host")
