"""A network of more endpoints than one Linux bridge takes: several bridges below the surface, everything else as on one.

The bridges of most tests are made tiny: three endpoints on each of three.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import permutations

import pytest
from attrs import frozen

from libnetwork_py import LibnetworkError, Network, NetworkController, Sandbox, Unavailable, labels
from libnetwork_py.drivers.bridge.driver import BridgeDriver
from libnetwork_py.drivers.bridge.leaves import BRIDGE_PORTS, Sizes
from libnetwork_py.kernel import room
from tests.root import machine, world
from tests.root.api_lab import GRACE, asks, at, of, pings, serving
from tests.root.machine import Outside

TINY = Sizes(ports=4, endpoints=3, leaves=2)
CAPACITY = 9


def tiny(controller: NetworkController) -> NetworkController:
    """Make every bridge of a controller tiny."""
    controller._env.drivers.register("bridge", BridgeDriver(TINY))
    return controller


@pytest.fixture
def small(controller: NetworkController) -> NetworkController:
    """A controller whose bridges are tiny."""
    return tiny(controller)


@pytest.fixture(params=[0, 1], ids=["without br_netfilter", "with br_netfilter"])
def filtered(request: pytest.FixtureRequest, host: str) -> None:
    """Whether bridged frames pass the packet filter."""
    for tables in ("iptables", "ip6tables"):
        setting = f"/proc/sys/net/bridge/bridge-nf-call-{tables}"
        machine.run_in(host, ["sh", "-c", f"echo {request.param} > {setting}"])


@frozen
class Town:
    """A network on three bridges, and sandboxes by where they hang: ``root0``, ``one0`` and ``one1`` on the first leaf, and so on."""

    network: Network
    boxes: Mapping[str, Sandbox]


PLACES = ("root0", "root1", "", "one0", "one1", "", "two0", "two1")
"""Where endpoints come to hang, in the order of joining."""


def town(controller: NetworkController, **arguments: object) -> Town:
    """Fill a network."""
    network = controller.create_network("town", subnets=["10.7.0.0/24", "fd00:7::/64"], **arguments)  # type: ignore[arg-type]
    boxes = {}
    with controller.batch():
        for number, place in enumerate(PLACES):
            box = controller.create_sandbox(f"town-{place or number}")
            box.connect(network)
            boxes[place] = box
    return Town(network, {place: box for place, box in boxes.items() if place})


def address(box: Sandbox, family: int = 4) -> str:
    """A sandbox's address."""
    return next(str(each) for each in box.endpoints()[0].addresses if each.version == family)


def bridges(host: str) -> dict[str, int]:
    """The bridges of a host and how many ports each has."""
    links = machine.links(host)
    kinds = {name for name, link in links.items() if link.get("linkinfo", {}).get("info_kind") == "bridge"}
    return {name: sum(link.get("master") == name for link in links.values()) for name in kinds}


def soon(host: str, *ports: int) -> None:
    """Wait until a host's bridges have that many ports each: those of a deleted sandbox go a little later than it."""
    machine.wait_until(lambda: sorted(bridges(host).values()) == [*ports], f"bridges with {ports} ports")


# what is made


def test_leaves_come_and_go_with_their_endpoints(small: NetworkController, host: str) -> None:
    """A leaf comes with the first endpoint that needs it and goes with the last; the lowest bridge with room takes the next endpoint."""
    before = machine.links(host).keys()
    network = small.create_network("town", subnets="10.7.0.0/24")
    boxes = [small.create_sandbox(f"box{number}") for number in range(CAPACITY)]
    seen = []
    for box in boxes:
        box.connect(network)
        seen.append(sorted(bridges(host).values()))
    assert seen[:4] == [[1], [2], [3], [2, 4]]
    assert seen[-1] == [4, 4, 5]
    boxes[0].delete()
    boxes[0] = small.create_sandbox("again")
    boxes[0].connect(network)
    soon(host, 4, 4, 5)
    assert not small.reconcile(repair=False)
    for box in boxes[3:6]:
        box.endpoints()[0].leave()
    assert sorted(bridges(host).values()) == [2, 4, 4]
    assert pings(boxes[0], address(boxes[-1]))
    for box in boxes[6:]:
        box.endpoints()[0].leave()
    assert sorted(bridges(host).values()) == [3]
    network.delete(force=True)
    assert machine.links(host).keys() == before
    assert not small.reconcile(repair=False)


def test_a_full_network_says_so(small: NetworkController, host: str) -> None:
    """When every bridge is full the error names the network, nothing is left of the attempt, and a place that comes free is taken."""
    network = small.create_network("town", subnets="10.7.0.0/24")
    boxes = [small.create_sandbox(f"box{number}") for number in range(CAPACITY + 1)]
    with small.batch():
        for box in boxes[:-1]:
            box.connect(network)
    before = machine.links(host).keys()
    with pytest.raises(Unavailable, match="network 'town' is full: 9 endpoints") as caught:
        boxes[-1].connect(network)
    assert caught.value.code == "network_full"
    assert machine.links(host).keys() == before
    boxes[5].disconnect(network)
    boxes[-1].connect(network)
    assert pings(boxes[-1], address(boxes[0]))


def test_an_adopted_bridge_with_ports_of_its_own(small: NetworkController, host: str) -> None:
    """What an existing bridge has in ports leaves the fewer for endpoints; they are not turned away but hang on a leaf."""
    machine.ip("link", "add", "theirs", "up", "type", "bridge", namespace=host)
    for number in range(3):
        machine.ip("link", "add", f"own{number}", "master", "theirs", "type", "veth", namespace=host)
    network = small.create_network("town", subnets="10.7.0.0/24", options={labels.BRIDGE_NAME: "theirs"})
    boxes = [small.create_sandbox(f"box{number}") for number in range(2)]
    for box in boxes:
        box.connect(network)
    assert bridges(host)["theirs"] == 4
    assert pings(boxes[0], address(boxes[1]))
    assert pings(boxes[0], "10.7.0.1")


def test_reconcile_and_restart(small: NetworkController, host: str) -> None:
    """A leaf that somebody deleted is made again, with the ports it had; so is its pair."""
    some = town(small)
    for doomed in (
        next(name for name in bridges(host) if name.startswith("br1-")),
        next(name for name in machine.links(host) if name.startswith("up2-")),
    ):
        machine.ip("link", "del", doomed, namespace=host)
        assert small.reconcile(repair=True).repaired
        assert not small.reconcile(repair=False)
        assert pings(some.boxes["one0"], address(some.boxes["two0"]))


def test_mtu_and_icc_changed_in_use(small: NetworkController, host: str) -> None:
    """A network's MTU and ICC change on every bridge of it while in use."""
    some = town(small)
    some.network.update(options={labels.DRIVER_MTU: 1400, labels.BRIDGE_ENABLE_ICC: False})
    assert {link["mtu"] for name, link in machine.links(host).items() if name != "lo"} == {1400}
    assert not pings(some.boxes["one0"], address(some.boxes["two0"]), within=GRACE)
    some.network.update(options={labels.BRIDGE_ENABLE_ICC: True})
    assert pings(some.boxes["one0"], address(some.boxes["two0"]))


# a bridge that is full of what is about to go


@frozen
class Crowd:
    """A network whose bridge has as many ports as the kernel takes, five of them sandboxes'."""

    network: Network
    boxes: list[Sandbox]


@pytest.fixture
def crowd(controller: NetworkController, host: str) -> Crowd:
    """Fill a bridge up with others' ports."""
    network = controller.create_network("crowd", subnets="10.7.0.0/24", options={labels.BRIDGE_NAME: "br7"})
    boxes = fill(controller, network, "crowd-old")
    ends = [f"{letter}{number}" for number in range((BRIDGE_PORTS - 5) // 2) for letter in "pq"]
    lines = [f"link add {one} type veth peer name {other}" for one, other in zip(ends[::2], ends[1::2], strict=True)]
    lines += [f"link set {end} master br7" for end in ends]
    machine.run_in(host, ["ip", "-batch", "-"], input="\n".join(lines) + "\n")
    assert bridges(host)["br7"] == BRIDGE_PORTS
    return Crowd(network, boxes)


def fill(controller: NetworkController, network: Network, name: str) -> list[Sandbox]:
    """Five sandboxes on a network, made together."""
    with controller.batch():
        boxes = [controller.create_sandbox(f"{name}{number}") for number in range(5)]
        for box in boxes:
            box.connect(network)
    return boxes


@pytest.mark.parametrize("held", [False, True], ids=["empty", "processes inside"])
def test_a_full_bridge_takes_whoever_comes_after(controller: NetworkController, crowd: Crowd, held: bool) -> None:
    """Sandboxes made right after others were deleted get their ports, although the kernel has not taken those apart yet, or cannot."""
    processes = [box.popen(["sleep", "60"]) for box in crowd.boxes if held]
    try:
        with controller.batch():
            for box in crowd.boxes:
                box.delete()
        boxes = fill(controller, crowd.network, "crowd-new")
        assert pings(boxes[0], address(boxes[-1]))
        assert not controller.reconcile(repair=False)
    finally:
        for process in processes:
            process.kill()
            process.wait()


def test_a_full_bridge_changes_hands_in_one_batch(controller: NetworkController, crowd: Crowd) -> None:
    """Sandboxes deleted and others made in one batch fit into one bridge; where the batch fails the old ones are as they were."""
    before = [machine.ip("route", namespace=box.key) for box in crowd.boxes]

    def swap(**of_the_last: object) -> list[Sandbox]:
        for box in crowd.boxes:
            box.delete()
        for number in range(5):
            last = of_the_last if number == 4 else {}
            controller.create_sandbox(f"crowd-new{number}", **last).connect(crowd.network)  # type: ignore[arg-type]
        return controller.sandboxes()

    with pytest.raises(LibnetworkError, match="nope"), controller.batch():
        swap(sysctls={"net.ipv4.nope": "1"})
    assert [machine.ip("route", namespace=box.key) for box in crowd.boxes] == before
    assert pings(crowd.boxes[0], address(crowd.boxes[-1]))
    assert not controller.reconcile(repair=False)
    with controller.batch():
        boxes = swap()
    assert pings(boxes[0], address(boxes[-1]))
    assert not controller.reconcile(repair=False)


def test_a_full_bridge_is_waited_for(
    controller: NetworkController, crowd: Crowd, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A port that goes by itself while a bridge is full makes room; with none going, the error says that it is full."""
    box = controller.create_sandbox("crowd-late")
    with pytest.raises(Unavailable, match="1,023 ports"):
        box.connect(crowd.network)
    monkeypatch.setattr(room, "STALL", 20)
    with subprocess.Popen([*world.entering(host), "sh", "-c", "sleep 0.3; ip link del p0"]) as going:
        box.connect(crowd.network)
        assert going.wait() == 0
    assert pings(box, address(crowd.boxes[0]))


# who reaches whom


@pytest.mark.usefixtures("filtered")
def test_everybody_reaches_everybody(small: NetworkController) -> None:
    """Endpoints of one bridge and of two reach each other and the gateway, in both families, with large packets too."""
    some = town(small)
    with serving_all(some):
        for client, server in permutations(some.boxes.values(), 2):
            for family in (4, 6):
                assert asks(of(client), address(server, family), 80) == address(client, family)
            assert asks(of(client), address(server), 80, "udp") == address(client)
    for box in some.boxes.values():
        assert all(pings(box, gateway) for gateway in some.network.gateways)


@pytest.mark.usefixtures("filtered")
def test_icc_off(small: NetworkController, outside: Outside) -> None:
    """With ICC off nobody reaches anybody, on one bridge or two, directly or by way of the gateway; gateway and outside answer."""
    some = town(small, options={labels.BRIDGE_ENABLE_ICC: False})
    pairs = list(permutations(some.boxes.values(), 2))
    with serving_all(some):
        for client, server in pairs:
            assert asks(of(client), address(server), 80, within=0.1) is None
            assert asks(of(client), address(server, 6), 80, within=0.1) is None
        for client, server in pairs:
            machine.ip("route", "add", f"{address(server)}/32", "via", "10.7.0.1", namespace=client.key)
        for client, server in pairs:
            assert asks(of(client), address(server), 80, within=0.1) is None
    for box in some.boxes.values():
        assert pings(box, "10.7.0.1")
        assert pings(box, outside.ipv4.ip)
        assert pings(box, outside.ipv6.ip)


@pytest.mark.usefixtures("filtered")
def test_the_outside_sees_the_hosts_address(small: NetworkController, outside: Outside) -> None:
    """Endpoints of a leaf leave with the host's address, as those of the network's own bridge."""
    some = town(small)
    with serving(at(outside.namespace), 9000, 4, 6):
        for box in some.boxes.values():
            assert asks(of(box), outside.ipv4.ip, 9000) == str(outside.host_ipv4.ip)
            assert asks(of(box), outside.ipv6.ip, 9000) == str(outside.host_ipv6.ip)
            assert asks(of(box), outside.ipv4.ip, 9000, "udp") == str(outside.host_ipv4.ip)


@pytest.mark.usefixtures("filtered")
@pytest.mark.parametrize("icc", [True, False], ids=["ICC", "no ICC"])
def test_published_ports(small: NetworkController, host: str, outside: Outside, icc: bool) -> None:
    """A port of an endpoint on a leaf is reached from the outside, the host, other networks and, with ICC, its own and itself."""
    some = town(small, options={labels.BRIDGE_ENABLE_ICC: icc})
    other = small.create_sandbox("town-other")
    other.connect(small.create_network("other", ipv6=True))
    places = {"root0": 8000, "one0": 8001, "two0": 8002}
    for place, port in places.items():
        for protocol in ("tcp", "udp"):
            some.boxes[place].endpoints()[0].publish(f"{port}:80/{protocol}")
    with serving_all(some):
        for port in places.values():
            for family, target in ((4, outside.host_ipv4.ip), (6, outside.host_ipv6.ip)):
                own = outside.ipv4.ip if family == 4 else outside.ipv6.ip
                for protocol in ("tcp", "udp"):
                    assert asks(at(outside.namespace), target, port, protocol) == str(own), (port, family, protocol)
                    assert asks(at(host), target, port, protocol), (port, family, protocol)
                    assert asks(of(other), target, port, protocol) == address(other, family), (port, family, protocol)
                    for place, box in some.boxes.items() if icc else ():
                        assert asks(of(box), target, port, protocol), (place, port, family, protocol)
            assert asks(at(host), "127.0.0.1", port)


@pytest.mark.usefixtures("filtered")
@pytest.mark.parametrize("internal", [False, True], ids=["network", "internal network"])
def test_isolation_from_others(small: NetworkController, outside: Outside, internal: bool) -> None:
    """Endpoints of a leaf and of another network do not reach each other, nor the outside them, nor they it from an internal network."""
    some = town(small, internal=internal)
    other = small.create_sandbox("town-other")
    other.connect(small.create_network("other", ipv6=True))
    machine.ip("route", "add", "10.7.0.0/24", "via", outside.host_ipv4.ip, namespace=outside.namespace)
    probes: list[tuple[Callable[[int, str], object], str]] = []
    for place in ("root0", "one0", "two0"):
        box = some.boxes[place]
        if internal:
            machine.ip("route", "add", "default", "via", "10.7.0.1", namespace=box.key)
        for family in (4, 6):
            probes += [(of(box), address(other, family)), (of(other), address(box, family))]
        probes.append((at(outside.namespace), address(box)))
        probes += [(of(box), str(outside.ipv4.ip))] if internal else []
    with serving_all(some), serving(of(other), 80, 4, 6), serving(at(outside.namespace), 80):
        assert [each for each in probes if asks(each[0], each[1], 80, within=0.1)] == []  # type: ignore[arg-type]
    assert pings(some.boxes["one0"], address(some.boxes["two0"]))


@pytest.mark.usefixtures("filtered")
@pytest.mark.parametrize("internal", [False, True], ids=["no ICC", "internal network"])
def test_a_leaf_is_no_way_round(small: NetworkController, host: str, outside: Outside, internal: bool) -> None:
    """Frames sent to a leaf's own Ethernet address get nowhere that the gateway would not let them, and a leaf answers no ARP."""
    some = town(small, internal=internal, options={labels.BRIDGE_ENABLE_ICC: False})
    box = some.boxes["one0"]
    assert pings(box, "10.7.0.1")
    links = machine.links(host)
    (seen,) = machine.ip("neigh", "show", "10.7.0.1", namespace=box.key)
    assert seen["lladdr"] == next(
        link["address"] for name, link in links.items() if name == f"br-{some.network.id[:12]}"
    )
    leaf = next(link["address"] for name, link in links.items() if name.startswith("br1-"))
    machine.ip("neigh", "replace", "10.7.0.1", "lladdr", leaf, "dev", "eth0", "nud", "permanent", namespace=box.key)
    targets = [address(some.boxes[place]) for place in ("root0", "one1", "two0")]
    for target in targets:
        machine.ip("route", "add", f"{target}/32", "via", "10.7.0.1", namespace=box.key)
    if internal:
        machine.ip("route", "add", "default", "via", "10.7.0.1", namespace=box.key)
        machine.ip("route", "add", "10.7.0.0/24", "via", outside.host_ipv4.ip, namespace=outside.namespace)
        targets.append(str(outside.ipv4.ip))
    with serving_all(some), serving(at(outside.namespace), 80):
        assert [each for each in targets if asks(of(box), each, 80, within=GRACE)] == []
        assert [each for each in targets if asks(of(box), each, 80, "udp", within=GRACE)] == []


@contextmanager
def serving_all(some: Town) -> Iterator[None]:
    """Serve port 80 in every sandbox."""
    with ExitStack() as stack:
        for box in some.boxes.values():
            stack.enter_context(serving(of(box), 80, 4, 6))
        yield


# the real size


@pytest.fixture
def large(controller: NetworkController) -> Iterator[tuple[NetworkController, Network, list[Sandbox]]]:
    """A network of 1,100 sandboxes."""
    network = controller.create_network("large", subnets="10.7.0.0/16")
    with controller.batch():
        boxes = [controller.create_sandbox(f"large-{number}") for number in range(1100)]
        for box in boxes:
            box.connect(network)
    yield controller, network, boxes
    with controller.batch():
        for box in boxes:
            box.delete()


def test_more_endpoints_than_a_bridge_has_ports(
    large: tuple[NetworkController, Network, list[Sandbox]], host: str
) -> None:
    """1,100 sandboxes on one network: the first and the last reach each other, nothing differs from the records, and all goes again."""
    controller, _, boxes = large
    assert sorted(bridges(host).values()) == [142, 960]
    assert pings(boxes[0], address(boxes[-1]))
    assert pings(boxes[-1], address(boxes[0]))
    assert pings(boxes[-1], "10.7.0.1")
    assert not controller.reconcile(repair=False)
