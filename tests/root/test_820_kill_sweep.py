"""A process is killed at every point of every operation: the next controller has everything that was acknowledged and nothing more.

Every checkpoint of the kernel layer and of the store, each in a run of its own; `crash_lab` says what the operations are.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.root.crash_lab import OPERATIONS, Scene, becomes, delete_everything, neither, quiet, scene, told

PERSISTENT = [name for name, operation in OPERATIONS.items() if not operation.temporary]
TEMPORARY = [name for name, operation in OPERATIONS.items() if operation.temporary]
RECOVERIES = ["connect to second network", "batch that takes and makes", "delete sandbox"]

World = dict[str, Any]


@pytest.mark.parametrize("name", PERSISTENT)
def test_killed_anywhere_an_operation_is_finished_or_undone(name: str, host: str, tmp_path: Path) -> None:
    """Killed at every point in turn, an operation is whole or was never begun, and a second start changes nothing."""
    with scene(name, host, tmp_path) as here:
        before, after, passed = _ends(here)
        reached = []
        for point, label in enumerate(passed, 1):
            assert here.crasher.crash(point)[0] == -9
            world = _world(here, str(point), name == "repair")
            assert world in (before, after), f"killed at {point} ({label}), {neither(world, before, after)}"
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
            becomes(here.seen, here.pristine, f"killed at {point}")
            assert [each.name for each in (tmp_path / "temporary").iterdir()] == ["lock"]
        print(f"{name}: {len(passed)} points")


@pytest.mark.parametrize("name", RECOVERIES)
def test_killed_in_its_recovery_an_operation_is_still_finished_or_undone(name: str, host: str, tmp_path: Path) -> None:
    """Killed in the middle of an operation, and again at every point of the recovery in turn, it is whole or was never begun."""
    with scene(name, host, tmp_path) as here:
        before, after, passed = _ends(here)
        middle = max(number for number, label in enumerate(passed, 1) if not label.endswith("commit"))
        status, points = -9, 0
        while status == -9:
            points += 1
            assert here.crasher.crash(middle)[0] == -9
            (tmp_path / str(middle)).rename(tmp_path / f"again{points}")
            status, passed = here.crasher.crash(points, recovering=f"again{points}")
            world = _world(here, f"again{points}")
            assert world in (before, after), f"killed again at {points}, {neither(world, before, after)}"
        assert status == 0
        print(f"recovery of {name}: {points - 1} points")


def _ends(here: Scene) -> tuple[World, World, list[str]]:
    """Return how it is without the operation and with it, and the points on the way."""
    repair = here.operation is OPERATIONS["repair"]
    assert here.crasher.crash(-1) == (0, [])
    before = _world(here, "-1", repair)
    status, passed = here.crasher.crash(0)
    assert status == 0
    return before, _world(here, "0", repair), passed


def _world(here: Scene, name: str, repair: bool = False) -> World:
    """Return what a new controller tells and what witnesses see then, having checked that all agrees; remove it all.

    The controller recovers only: without ``repair`` it does not compare with the kernel, so nothing else mends what recovery missed.
    """
    with here.reopened(name, repair_on_open=repair) as controller:
        report = controller.reconcile(repair=False)
        assert not report, f"{name}: {report}"
        world = {"told": told(controller, here.tag), "seen": quiet(here.seen)}
        revision = controller._store.revision()
    with here.reopened(name) as controller:
        becomes(here.seen, world["seen"], f"a second start after {name}")
        assert told(controller, here.tag) == world["told"]
        assert controller._store.revision() == revision, "a second start writes nothing"
        delete_everything(controller)
    becomes(here.seen, here.pristine, f"everything deleted after {name}")
    return world
