"""Events: what happened, in order, from every process, until the iterator is closed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread

import pytest

from libnetwork_py import Conflict, LibnetworkError, NetworkController
from tests.root import machine
from tests.root.api_lab import python

THEIRS = """
import sys
from libnetwork_py import NetworkController
with NetworkController(sys.argv[1], host=sys.argv[2]) as controller:
    controller.create_network("theirs")
"""


@pytest.fixture
def persistent(host: str, tmp_path: Path) -> Iterator[NetworkController]:
    """A controller on a directory, emptied afterwards."""
    with NetworkController(tmp_path / "state", host=host) as controller:
        yield controller
        for box in controller.sandboxes():
            box.delete()
        for network in controller.networks():
            network.delete(force=True)


def test_what_happens(controller: NetworkController) -> None:
    """Each thing that happens is one event with its kind, object, id and name, in order and numbered."""
    started = time.time()
    with controller.events() as events:
        front = controller.create_network("front")
        box = controller.create_sandbox("told")
        endpoint = box.connect(front)
        endpoint.publish("0:80")
        endpoint.leave()
        endpoint.delete()
        box.rename("retold")
        box.delete()
        front.delete()
        seen = [next(events) for _ in range(10)]
    assert [(each.kind, each.object, each.name) for each in seen] == [
        ("created", "network", "front"), ("created", "sandbox", "told"), ("created", "endpoint", "told"), ("joined", "endpoint", "told"),
        ("updated", "endpoint", "told"), ("left", "endpoint", "told"), ("deleted", "endpoint", "told"), ("updated", "sandbox", "retold"),
        ("deleted", "sandbox", "retold"), ("deleted", "network", "front"),
    ]  # fmt: skip
    assert {each.id for each in seen} == {front.id, box.id, endpoint.id}
    numbers = [each.number for each in seen]
    assert numbers == sorted(set(numbers))
    assert all(started - 1 < each.time <= time.time() + 1 for each in seen)
    assert seen[0].when.tzinfo is UTC


def test_failures_and_drift(controller: NetworkController) -> None:
    """An operation that the kernel refused is an event, and so are drift and its repair; what was refused before is none."""
    front = controller.create_network("front")
    box = controller.create_sandbox("drifts")
    box.connect(front)
    with controller.events() as events:
        with pytest.raises(Conflict):
            controller.create_network("front")
        with pytest.raises(LibnetworkError):
            controller.create_sandbox("bad", sysctls={"net.ipv4.nope": "1"})
        machine.ip("route", "del", "default", namespace=box.key)
        controller.reconcile(repair=False)
        controller.reconcile()
        controller.reconcile()
        controller.create_network("last")
        seen = [next(events) for _ in range(4)]
    assert [each.kind for each in seen] == ["failed", "drifted", "repaired", "created"]
    assert "nope" in seen[0].detail


def test_since(controller: NetworkController) -> None:
    """Without ``since`` only what is to come; since a number, what came after it; since a time, what came later."""
    controller.create_network("one")
    moment = time.time()
    time.sleep(0.01)
    with controller.events(since=0) as events:
        first = next(events)
        controller.create_network("two")
        assert [first.name, next(events).name] == ["one", "two"]
    with controller.events(since=first.number) as events:
        assert next(events).name == "two"
    for since in (moment, datetime.fromtimestamp(moment, tz=UTC)):
        with controller.events(since=since) as events:
            assert next(events).name == "two"
    with controller.events() as events:
        controller.create_network("three")
        assert next(events).name == "three"


@pytest.mark.parametrize("what", ["iterator", "controller"])
def test_closed_from_another_thread(controller: NetworkController, what: str) -> None:
    """A reader that waits ends when another thread closes the iterator, or the controller."""
    events = controller.events()
    seen: list[object] = []
    reader = Thread(target=lambda: seen.extend(events))
    reader.start()
    reader.join(0.05)
    assert reader.is_alive()
    (events if what == "iterator" else controller).close()
    reader.join(120)
    assert not reader.is_alive()
    assert seen == []


def test_two_readers(controller: NetworkController) -> None:
    """Each of two readers gets every event."""
    with controller.events() as one, controller.events() as two:
        controller.create_network("front")
        assert next(one) == next(two)


def test_events_of_another_process(persistent: NetworkController, host: str, tmp_path: Path) -> None:
    """What another process does on the same directory arrives as well, also while one waits for it."""
    events = persistent.events()
    seen: list[str] = []
    reader = Thread(target=lambda: seen.append(next(events).name))
    reader.start()
    python(
        THEIRS,
        tmp_path / "state",
        host,
    )
    reader.join(120)
    events.close()
    assert seen == ["theirs"]


def test_events_survive(host: str, tmp_path: Path) -> None:
    """A later controller can read what happened before it was opened."""
    with NetworkController(tmp_path / "state", host=host) as first:
        first.create_network("front").delete()
    with NetworkController(tmp_path / "state", host=host) as second, second.events(since=0) as events:
        assert [(next(events).kind, next(events).kind)] == [("created", "deleted")]
