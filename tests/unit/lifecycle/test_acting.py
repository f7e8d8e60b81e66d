"""A driver that acts is called at the right moments, and what it did is undone where the operation is."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import pytest

from libnetwork_py import Forbidden, Internal, NetworkController, Unavailable
from libnetwork_py.desired import Moved
from libnetwork_py.store.api import Item, Write
from libnetwork_py.store.memory import MemoryStore
from libnetwork_py.testing import FakeKernel, Killed
from tests.unit.lifecycle.actor import Actor, with_actor
from tests.unit.lifecycle.fake import everything

ARRIVALS = ("create_network", "create_endpoint", "join", "program_external")


class Scene:
    """A controller, its kernel and store, and an acting driver."""

    def __init__(self) -> None:
        self.kernel, self.store = FakeKernel(), MemoryStore()
        self.actor = Actor(self.kernel)
        self.controller = with_actor(self.kernel, self.actor, self.store)
        self.controller.create_sandbox("web")
        self.controller.create_sandbox("idle")

    def again(self) -> NetworkController:
        """Another controller on the same store, as after a restart."""
        return with_actor(self.kernel, self.actor, self.store)

    @property
    def state(self) -> tuple[object, ...]:
        """What kernel, records and driver hold."""
        return everything(self.controller, self.kernel), self.actor.holds


@pytest.fixture
def scene() -> Scene:
    """One with two sandboxes."""
    return Scene()


def everything_at_once(some: NetworkController) -> None:
    """A network, and a sandbox on it with a published port, in one batch."""
    with some.batch():
        some.sandbox("web").connect(some.create_network("front", "actor"), ports="8080:80")


def test_the_order_of_calls(scene: Scene) -> None:
    """Network, endpoint, join and the way out come in this order and go in the reverse one."""
    some, calls = scene.controller, scene.actor.calls
    network = some.create_network("front", "actor", subnets="10.7.0.0/24")
    endpoint = some.sandbox("web").connect(network)
    assert calls == list(ARRIVALS)
    assert (endpoint.mac, endpoint.interface) == ("02:00:00:00:00:07", "port0")
    assert scene.actor.ways[endpoint.id][0] == (4,)
    calls.clear()
    some.sandbox("web").disconnect(network)
    network.delete()
    assert calls == ["revoke_external", "leave", "delete_endpoint", "delete_network"]
    assert scene.actor.holds == (set(), set(), {}, {})


def test_its_interface_is_in_the_sandbox(scene: Scene) -> None:
    """The interface that it made is moved into the sandbox with the address, and is back on the host when it leaves."""
    network = scene.controller.create_network("front", "actor", subnets="10.7.0.0/24")
    sandbox = scene.controller.sandbox("web")
    endpoint = sandbox.connect(network)
    inside = {each.name: each for each in sandbox.interfaces()}
    assert [str(each) for each in inside["port0"].addresses] == ["10.7.0.2/24"]
    assert str(sandbox.gateway()) == "10.7.0.1"
    assert not scene.controller.reconcile()
    endpoint.leave()
    assert not [word for word in scene.kernel.state() if isinstance(word, Moved)]
    endpoint.join(scene.controller.sandbox("idle"))
    assert not scene.controller.reconcile()


def test_an_endpoint_without_an_interface(scene: Scene) -> None:
    """A driver that gives an endpoint no interface leaves its sandbox without one."""
    scene.actor.prefix = ""
    network = scene.controller.create_network("front", "actor", internal=True)
    assert scene.controller.sandbox("web").connect(network).interface == ""


def test_a_plan_calls_nothing(scene: Scene) -> None:
    """A plan of everything calls the driver not once."""
    with scene.controller.plan() as plan:
        everything_at_once_inside(scene.controller)
    assert scene.actor.calls == []
    assert "8080" not in plan.text


def everything_at_once_inside(some: NetworkController) -> None:
    """The same without a batch of its own."""
    some.sandbox("web").connect(some.create_network("front", "actor"), ports="8080:80")


@pytest.mark.parametrize("call", ARRIVALS)
@pytest.mark.parametrize("error", [Unavailable("it hangs"), Forbidden("it refuses"), KeyboardInterrupt()], ids=repr)
def test_an_arrival_fails(scene: Scene, call: str, error: BaseException) -> None:
    """Whichever arrival fails, kernel, records and driver hold what they held, and the same batch succeeds afterwards."""
    before = scene.state
    scene.actor.failures[call] = error
    with pytest.raises(type(error)):
        everything_at_once(scene.controller)
    assert scene.state == before
    everything_at_once(scene.controller)
    assert not scene.controller.reconcile(repair=False)


def test_the_kernel_fails_after_the_driver(scene: Scene) -> None:
    """Where the kernel refuses the interface, the driver is told to leave and to delete."""
    before = scene.state
    scene.kernel.fail_on(lambda word: isinstance(word, Moved))
    with pytest.raises(Unavailable) as caught:
        everything_at_once(scene.controller)
    assert "rolled back" in caught.value.__notes__[-1]
    assert scene.state == before


@pytest.mark.parametrize("call", ["revoke_external", "leave", "delete_endpoint", "delete_network"])
def test_a_departure_fails(scene: Scene, call: str) -> None:
    """What is deleted stays deleted although the driver fails at it, the other departures are called, and a warning says so."""
    everything_at_once(scene.controller)
    scene.actor.failures[call] = Unavailable("it hangs")
    scene.controller.network("front").delete(force=True)
    assert scene.actor.holds == (set(), set(), {}, {})
    assert [each for each in scene.controller.info().warnings if "it hangs" in each]
    assert not scene.controller.reconcile(repair=False)


def test_an_interrupted_departure(scene: Scene) -> None:
    """Ctrl-C during a departure arrives when the operation is over, which stands; the next operation goes on with the departures."""
    everything_at_once(scene.controller)
    scene.actor.failures["leave"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        scene.controller.network("front").delete(force=True)
    assert scene.controller.networks() == []
    scene.controller.create_sandbox("later")
    assert scene.actor.holds == (set(), set(), {}, {})
    assert not scene.controller.reconcile(repair=False)


@pytest.mark.parametrize("call", ARRIVALS)
def test_a_death_during_an_arrival(scene: Scene, call: str) -> None:
    """A process that dies in an arrival leaves nothing: the next one tells the driver to take it back."""
    before = scene.state
    scene.actor.failures[call] = Killed()
    later = die(lambda: everything_at_once(scene.controller), scene)
    assert everything(later, scene.kernel) == before[0]
    assert scene.actor.holds == before[1]


@pytest.mark.parametrize("call", ["revoke_external", "leave", "delete_endpoint", "delete_network"])
def test_a_death_during_a_departure(scene: Scene, call: str) -> None:
    """A process that dies in a departure leaves the rest of them to the next one."""
    everything_at_once(scene.controller)
    scene.actor.failures[call] = Killed()
    later = die(lambda: scene.controller.network("front").delete(force=True), scene)
    assert later.networks() == []
    assert scene.actor.holds == (set(), set(), {}, {})


def die(verb: Callable[[], object], scene: Scene) -> NetworkController:
    """Let a verb end as a process that dies in it, with none of its undoing done, and return the next controller."""
    store, kernel, actor = scene.store, scene.kernel, scene.actor
    kept: list[tuple[object, ...]] = []
    actor.on_failure = lambda: kept.append(
        (
            kernel._machine.copy(),
            dict(store._items),
            set(actor.networks),
            set(actor.endpoints),
            dict(actor.joined),
            dict(actor.ways),
        )
    )
    with pytest.raises(Killed):
        verb()
    ((kernel._machine, items, actor.networks, actor.endpoints, actor.joined, actor.ways),) = kept  # type: ignore[assignment]
    scene.store = MemoryStore()
    scene.store.commit([Write(each.key, each.document) for each in cast("dict[str, Item]", items).values()])
    return scene.again()


def test_the_way_out_moves(scene: Scene) -> None:
    """An endpoint is told when it becomes its sandbox's way out, when its ports change, and when another one takes its place."""
    some, actor = scene.controller, scene.actor
    back, front = (some.create_network(name, "actor") for name in ("back", "front"))
    sandbox = some.sandbox("web")
    first = sandbox.connect(front)
    assert set(actor.ways) == {first.id}
    first.publish("8080:80")
    assert actor.ways[first.id] == ((4,), 1)
    second = sandbox.connect(back, priority=5)
    assert set(actor.ways) == {second.id}
    sandbox.disconnect(back)
    assert set(actor.ways) == {first.id}


def test_nonsense_is_named(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver that returns nonsense, or raises what is none of ours, is named in an error, and nothing of the operation remains."""
    before = everything(scene.controller, scene.kernel)
    for name, value in (
        ("create_endpoint", lambda *_: None),
        ("join", lambda *_: 7),
        ("create_network", lambda *_: 1 / 0),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(scene.actor, name, value)
            with pytest.raises(Internal, match="driver 'actor'") as caught:
                everything_at_once(scene.controller)
        assert caught.value.code == "plugin_broken"
        assert everything(scene.controller, scene.kernel) == before
