"""The way out of a sandbox with several endpoints: elected per family, again at every join and leave, as ``ip route`` shows it."""

from __future__ import annotations

from libnetwork_py import Network, NetworkController, Sandbox
from tests.root import machine


def ways_out(box: Sandbox, family: int = 4) -> set[tuple[str, str]]:
    """The default routes that the kernel has: gateway and interface."""
    return {
        (gateway, link) for destination, gateway, link in machine.routes(box.key, family) if destination == "default"
    }


def gateway(network: Network, family: int = 4) -> str:
    """A network's gateway as text."""
    return next(str(each) for each in network.gateways if each.version == family)


def test_the_first_by_name_leads(controller: NetworkController) -> None:
    """Among equals the network whose name comes first is the way out, whoever joined first; leaving it elects the next."""
    beta, alpha = controller.create_network("beta"), controller.create_network("alpha")
    box = controller.create_sandbox("elect")
    assert (ways_out(box), box.gateway(4)) == (set(), None)
    box.connect(beta)
    assert ways_out(box) == {(gateway(beta), "eth0")}
    box.connect(alpha)
    assert ways_out(box) == {(gateway(alpha), "eth1")}
    assert str(box.gateway(4)) == gateway(alpha)
    assert [each.network_id for each in box.endpoints()] == [alpha.id, beta.id]
    box.disconnect(alpha)
    assert ways_out(box) == {(gateway(beta), "eth0")}
    box.disconnect(beta)
    assert (ways_out(box), box.gateway(4)) == (set(), None)


def test_priority_wins(controller: NetworkController) -> None:
    """A higher priority wins over the name, and the second highest takes over when it leaves."""
    networks = [controller.create_network(name) for name in ("a", "b", "c")]
    box = controller.create_sandbox("priority")
    for network, priority in zip(networks, (0, 5, 10), strict=True):
        box.connect(network, priority=priority)
    assert ways_out(box) == {(gateway(networks[2]), "eth2")}
    box.disconnect(networks[2])
    assert ways_out(box) == {(gateway(networks[1]), "eth1")}
    endpoint = networks[2].create_endpoint("again")
    endpoint.join(box, priority=-1)
    assert ways_out(box) == {(gateway(networks[1]), "eth1")}


def test_an_internal_network_is_no_way_out(controller: NetworkController) -> None:
    """A sandbox on an internal network alone has no default route; beside another, the other leads."""
    inner = controller.create_network("a-inner", internal=True)
    outer = controller.create_network("outer")
    box = controller.create_sandbox("internal")
    endpoint = box.connect(inner)
    assert (ways_out(box), endpoint.gateways) == (set(), ())
    box.connect(outer)
    assert ways_out(box) == {(gateway(outer), "eth1")}


def test_each_family_has_its_own_way_out(controller: NetworkController) -> None:
    """IPv4 and IPv6 are elected apart; a network with both families comes before one with one."""
    four = controller.create_network("a-four")
    six = controller.create_network("b-six", ipv4=False, ipv6=True)
    both = controller.create_network("c-both", ipv6=True)
    box = controller.create_sandbox("two-families")
    box.connect(four)
    box.connect(six)
    assert (ways_out(box, 4), ways_out(box, 6)) == ({(gateway(four), "eth0")}, {(gateway(six, 6), "eth1")})
    box.connect(both)
    assert (ways_out(box, 4), ways_out(box, 6)) == ({(gateway(both), "eth2")}, {(gateway(both, 6), "eth2")})
    box.disconnect(both)
    assert (ways_out(box, 4), ways_out(box, 6)) == ({(gateway(four), "eth0")}, {(gateway(six, 6), "eth1")})


def test_routes_that_others_made_stay(controller: NetworkController) -> None:
    """A re-election changes the default route alone: a route that somebody added in the sandbox stays."""
    beta, alpha = controller.create_network("beta"), controller.create_network("alpha")
    box = controller.create_sandbox("extra-route")
    box.connect(beta)
    machine.ip("route", "add", "198.51.100.0/24", "via", gateway(beta), namespace=box.key)
    box.connect(alpha)
    box.disconnect(alpha)
    assert ("198.51.100.0/24", gateway(beta), "eth0") in machine.routes(box.key)


def test_a_batch_elects_once_for_all(controller: NetworkController) -> None:
    """Several joins in one batch end in one default route."""
    networks = [controller.create_network(name) for name in ("z", "y", "x")]
    box = controller.create_sandbox("batch-elect")
    with controller.batch():
        for network in networks:
            box.connect(network)
    assert ways_out(box) == {(gateway(networks[2]), "eth2")}
