"""A network of several bridges, without a kernel: which bridge an endpoint hangs on, and what a leaf is as text."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from attrs import evolve

from libnetwork_py import NetworkController, Unavailable, labels
from libnetwork_py.desired import Bridge, Veth
from libnetwork_py.drivers.bridge.checks import PORTS
from libnetwork_py.drivers.bridge.driver import BridgeDriver
from libnetwork_py.drivers.bridge.leaves import BRIDGE_PORTS, Sizes
from libnetwork_py.network import NetworkRecord
from libnetwork_py.store.memory import MemoryStore
from libnetwork_py.testing import FakeKernel
from tests.unit.lifecycle.fake import controller, everything, stable_ids, without_table

NETWORK = NetworkRecord(id="ab" * 32, name="town", driver="bridge")
SIZES = Sizes()


@pytest.mark.parametrize(
    ("taken", "expected"),
    [
        ({}, 0),
        ({0: 958}, 0),
        ({0: 959}, 1),
        ({0: 959, 1: 958}, 1),
        ({0: 959, 1: 959}, 2),
        ({0: 959, 1: 959, 2: 3}, 2),
        ({0: 958, 1: 959, 2: 3}, 0),
        ({0: 959, 2: 959}, 1),
    ],
)
def test_the_lowest_bridge_with_room_is_taken(taken: dict[int, int], expected: int) -> None:
    """The network's own bridge first, then the lowest leaf that is not full, though a later one be in use."""
    assert SIZES.segment(NETWORK, taken) == expected


def test_a_network_holds_what_a_16_bit_subnet_holds() -> None:
    """The last place is beyond the addresses of a /16; after it the error names the network and how many are joined."""
    full = dict.fromkeys(range(SIZES.leaves + 1), SIZES.endpoints)
    assert sum(full.values()) > 2**16
    with pytest.raises(Unavailable, match="network 'town' is full: 66,171 endpoints") as caught:
        SIZES.segment(NETWORK, full)
    assert caught.value.code == "network_full"


@pytest.mark.parametrize(("own", "expected"), [(0, 0), (BRIDGE_PORTS - 2, 0), (BRIDGE_PORTS - 1, 1)])
def test_ports_of_an_existing_bridge_count(own: int, expected: int) -> None:
    """What an existing bridge has in ports is left to it, and one port is kept for the first leaf."""
    network = evolve(NETWORK, decided={PORTS: str(own)})
    assert SIZES.segment(network, {}) == expected


def test_a_bridge_without_a_free_port_takes_nobody() -> None:
    """Where the existing bridge is full itself, so is the network."""
    with pytest.raises(Unavailable, match="is full: 0 endpoints"):
        SIZES.segment(evolve(NETWORK, decided={PORTS: str(BRIDGE_PORTS)}), {})


@pytest.fixture
def kernel() -> FakeKernel:
    """A machine."""
    return FakeKernel(host_links=["ens3"], host_addresses={"ens3": "192.0.2.10/24"})


def tiny(kernel: FakeKernel, store: MemoryStore | None = None) -> NetworkController:
    """A controller whose bridges take one endpoint each."""
    some = controller(kernel, store)
    some._env.drivers.register("bridge", BridgeDriver(Sizes(ports=3, endpoints=1, leaves=2)))
    return some


@pytest.mark.parametrize("name", ["plain", "dual-stack", "quiet", "internal"])
def test_a_leaf_as_text(
    kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch, golden: Callable[[str, str], None], name: str
) -> None:
    """A second and third endpoint bring a leaf each, and take it along, as a person would type it."""
    stable_ids(monkeypatch)
    settings: dict[str, dict[str, object]] = {
        "plain": {}, "dual-stack": {"subnets": ["10.7.0.0/24", "fd00:7::/64"]},
        "quiet": {"options": {labels.BRIDGE_ENABLE_ICC: False, labels.DRIVER_MTU: 1400}}, "internal": {"internal": True},
    }  # fmt: skip
    some = tiny(kernel)
    network = some.create_network("town", **{"subnets": "10.7.0.0/24", **settings[name]})  # type: ignore[arg-type]
    boxes = [some.create_sandbox(f"box{number}") for number in range(3)]
    boxes[0].connect(network)
    kernel.take_text()
    for box in boxes[1:]:
        box.connect(network)
    come = kernel.take_text()
    assert not some.reconcile(repair=False)
    for box in reversed(boxes[1:]):
        box.disconnect(network)
    golden(f"bridge/leaves-{name}.txt", without_table(f"{come}\n{kernel.take_text()}\n"))


def test_a_middle_leaf_stays_while_a_later_one_is_used(kernel: FakeKernel) -> None:
    """Leaves stand in a row: one that is empty stays as long as another hangs on it; the next endpoint hangs on it again."""
    some = tiny(kernel)
    network = some.create_network("town")
    boxes = [some.create_sandbox(f"box{number}") for number in range(3)]
    for box in boxes:
        box.connect(network)
    before = kernel.state()
    boxes[1].disconnect(network)
    assert not some.reconcile(repair=False)
    boxes[1].connect(network)
    masters = sorted(getattr(word, "master", "") for word in kernel.state())
    assert masters == sorted(getattr(word, "master", "") for word in before)


@pytest.mark.parametrize("step", range(0, 40, 3))
def test_a_failure_leaves_no_leaf(kernel: FakeKernel, step: int) -> None:
    """An endpoint that cannot join because the kernel refuses something takes its leaf along."""
    some = tiny(kernel)
    network = some.create_network("town")
    boxes = [some.create_sandbox(f"box{number}") for number in range(2)]
    boxes[0].connect(network)
    endpoint = network.create_endpoint("last")
    before = everything(some, kernel)
    kernel.fail_at(step)
    try:
        endpoint.join(boxes[1])
    except Exception:  # noqa: BLE001 (whatever the fake kernel was told to raise)
        assert everything(some, kernel) == before
    else:
        assert not some.reconcile(repair=False)


def test_another_controller_knows_the_leaves(kernel: FakeKernel) -> None:
    """A restart finds everything as described, whatever the sizes are then, and a plan names the leaf that would come."""
    store = MemoryStore()
    some = tiny(kernel, store)
    network = some.create_network("town")
    boxes = [some.create_sandbox(f"box{number}") for number in range(3)]
    for box in boxes[:2]:
        box.connect(network)
    with some.plan() as plan:
        boxes[2].connect(network)
    assert f"ip link add br2-{network.id[:10]}" in str(plan)
    again = controller(kernel, store)
    assert not again.reconcile(repair=False)
    again.sandbox("box1").disconnect(again.network("town"))
    assert not [word for word in kernel.state() if getattr(word, "peer_master", "")]


def test_endpoints_of_the_first_bridge_change_nothing_of_the_network(kernel: FakeKernel) -> None:
    """Joining and leaving the network's own bridge says nothing about the network, so it costs nothing more than ever."""
    some = controller(kernel)
    network = some.create_network("town")
    box = some.create_sandbox("box")
    with some.plan() as plan:
        box.connect(network)
    links = [word for word in plan.change.make if isinstance(word, Bridge | Veth) and word.namespace == ""]
    assert not [word for word in links if network.id[:10] in word.name]
