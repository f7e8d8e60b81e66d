"""A process is killed at every point of every operation: the next controller has everything that was acknowledged and nothing more.

Every checkpoint of the kernel layer and of the store, each in a run of its own; `crash_lab` says what the operations are.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from libnetwork_py import NetworkController
from tests.root.crash_lab import OPERATIONS, Scene, scene, told
from tests.root.machine import wait_until

PERSISTENT = [name for name, operation in OPERATIONS.items() if not operation.temporary]
TEMPORARY = [name for name, operation in OPERATIONS.items() if operation.temporary]

World = tuple[dict[str, Any], dict[str, Any]]


@pytest.mark.parametrize("name", PERSISTENT)
def test_killed_anywhere_an_operation_is_finished_or_undone(name: str, host: str, tmp_path: Path) -> None:
    """Killed at every point in turn, an operation is whole or was never begun, and a second start changes nothing."""
    with scene(name, host, tmp_path) as here:
        before, _ = _world(here, -1, status=0)
        after, passed = _world(here, 0, status=0)
        reached = []
        for point, label in enumerate(passed, 1):
            world, _ = _world(here, point, status=-9)
            assert world in (before, after), f"killed at {point} ({label}): {_apart(world, before, after)}"
            reached.append(world == after)
        print(f"{name}: {len(passed)} points")
        if name == "repair":  # which every start does as well
            assert before == after
            return
        assert before != after
        assert reached == sorted(reached), "once it is sure to be finished, it is at every later point"
        assert reached[-1], "what the last commit holds is done"


@pytest.mark.parametrize("name", TEMPORARY)
def test_killed_anywhere_a_temporary_controller_leaves_nothing(name: str, host: str, tmp_path: Path) -> None:
    """Killed at every point in turn, a temporary controller's objects are gone with the next controller's start."""
    with scene(name, host, tmp_path) as here:
        _, passed = here.crasher.crash(0)
        for point in range(-1, len(passed) + 1):
            here.crasher.crash(point)
            here.reopened(point).close()
            _becomes(here.seen, here.pristine, f"killed at {point}")
            assert os.listdir(tmp_path / "temporary") == ["lock"]
        print(f"{name}: {len(passed)} points")


def _world(here: Scene, point: int, status: int) -> tuple[World, list[str]]:
    """Crash at a point; return what a new controller tells and what witnesses see then, having checked that all agrees."""
    done, passed = here.crasher.crash(point)
    assert done == status, f"the child ended with {done} at {point}"
    with here.reopened(point) as controller:
        if here.operation is not OPERATIONS["repair"]:
            assert not _mended(controller), "recovery alone makes kernel and records agree"
        report = controller.reconcile(repair=False)
        assert not report, f"killed at {point} ({passed[-1:]}): {report}"
        world = told(controller, here.tag), here.seen()
        revision = controller._store.revision()
    with here.reopened(point) as controller:
        _becomes(here.seen, world[1], f"a second start after {point}")
        assert told(controller, here.tag) == world[0]
        assert controller._store.revision() == revision, "a second start writes nothing"
        _delete_everything(controller)
    _becomes(here.seen, here.pristine, f"everything deleted after {point}")
    return world, passed


def _mended(controller: NetworkController) -> list[str]:
    documents = [json.loads(document) for _, document in controller._store.events(0)]
    return [f"{each['name']} {each['detail']}" for each in documents if each["kind"] in {"repaired", "drifted"}]


def _delete_everything(controller: NetworkController) -> None:
    for sandbox in controller.sandboxes():
        sandbox.delete()
    for network in controller.networks():
        network.delete(force=True)


def _becomes(look: Callable[[], Any], wanted: Any, when: str) -> None:
    """The kernel takes a dropped namespace apart, links into it included, some milliseconds later."""
    found: list[Any] = []

    def there() -> bool:
        found[:] = [look()]
        return bool(found[0] == wanted)

    try:
        wait_until(there, when, 5)
    except AssertionError:
        assert found[0] == wanted, when
        raise


def _apart(world: World, *expected: World) -> str:
    """Say what differs from what was expected, shortly."""
    return "\n".join(
        f"against {'before' if number == 0 else 'after'}: {key}:\n  {part.get(key)}\n  {other.get(key)}"
        for number, whole in enumerate(expected)
        for part, other in zip(world, whole, strict=True)
        for key in {*part, *other}
        if part.get(key) != other.get(key)
    )
