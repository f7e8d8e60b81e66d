"""Ctrl-C, a refusal of the kernel, a failing disk, at every point of every operation: it is done or it is not, in records and kernel.

One controller goes through all of it, so what is in its memory (names, addresses, ports) must stay right as well.
"""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from libnetwork_py import NetworkController
from libnetwork_py.errors import Unavailable
from tests.root.crash_lab import (
    KERNEL_POINTS,
    OPERATIONS,
    Lab,
    Points,
    apart,
    becomes,
    delete_everything,
    neither,
    new_tag,
    quiet,
    remove_remains,
    seen,
    told,
)

NAMES = [name for name, operation in OPERATIONS.items() if not operation.temporary and name != "repair"]

World = dict[str, Any]


class Bench:
    """One controller, one operation, and how it is without and with it."""

    def __init__(self, name: str, host: str, path: Path) -> None:
        self.operation = OPERATIONS[name]
        self.host = host
        self.controller = NetworkController(path / "state", host=host)
        self.tag = new_tag()
        self.lab = Lab(self.controller, self.tag)
        self.operation.prepare(self.lab)
        self.before = self.world()
        self.operation.operate(self.lab)
        self.after = self.world()
        assert self.before != self.after
        self.begin_again()

    def world(self) -> World:
        """How it is now, having checked that records and kernel agree."""
        found = {"told": told(self.controller, self.tag), "seen": quiet(lambda: seen(self.host, self.tag))}
        report = self.controller.reconcile(repair=False)
        assert not report, report
        return found

    def begin_again(self) -> None:
        """Go back to how it was before the operation."""
        delete_everything(self.controller)
        self.operation.prepare(self.lab)
        becomes(self.world, self.before, "prepared again")

    def operate(
        self, point: int, act: Callable[[str], object], *kinds: str, lasting: bool = False
    ) -> tuple[bool, BaseException | None]:
        """Operate, ``act`` at a point (of certain kinds, ``lasting``: and at all after it).

        Returns:
            Whether it came to that, and what was raised.
        """
        points = Points(point, act, kinds=kinds, lasting=lasting)
        raised = None
        with points.armed():
            try:
                self.operation.operate(self.lab)
            except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 (what came is what is looked at)
                raised = error
        return points.count >= point, raised

    def same(self, wanted: World, when: str) -> None:
        """It is as it should be."""
        found = self.world()
        assert found == wanted, f"{when}:\n{apart(found, wanted)}"


@contextmanager
def bench(name: str, host: str, path: Path) -> Iterator[Bench]:
    """A bench, emptied at the end."""
    found = Bench(name, host, path)
    try:
        yield found
        delete_everything(found.controller)
    finally:
        found.controller.close()
        remove_remains(found.tag)


@pytest.mark.parametrize("name", NAMES)
def test_interrupted_anywhere_an_operation_is_finished_or_undone(name: str, host: str, tmp_path: Path) -> None:
    """SIGINT at every point in turn arrives as KeyboardInterrupt and finds an operation whole or never begun."""
    with bench(name, host, tmp_path) as here:
        point = 0
        while True:
            point += 1
            came, raised = here.operate(point, lambda _: os.kill(os.getpid(), signal.SIGINT))
            if not came:
                break
            assert isinstance(raised, KeyboardInterrupt), f"{raised!r} at {point}"
            world = here.world()
            assert world in (here.before, here.after), neither(world, here.before, here.after)
            if world == here.after:
                here.begin_again()
        assert raised is None
        print(f"{name}: {point - 1} points")


@pytest.mark.parametrize("name", NAMES)
def test_refused_anywhere_an_operation_is_undone(name: str, host: str, tmp_path: Path) -> None:
    """A failure at every action on the kernel in turn leaves records, kernel, addresses and ports as they were."""

    def fail(label: str) -> None:
        raise Unavailable(f"the test fails the kernel at {label}", code="injected")

    with bench(name, host, tmp_path) as here:
        point, came, raised = 0, True, None
        while came:
            point += 1
            came, raised = here.operate(point, fail, *KERNEL_POINTS)
            if came:
                assert getattr(raised, "code", "") == "injected", f"{raised!r} at {point}"
                here.same(here.before, f"refused at {point}")
        assert raised is None
        here.same(here.after, "let do")
        print(f"{name}: {point - 1} points")


@pytest.mark.parametrize("lasting", [False, True], ids=["once", "lasting"])
@pytest.mark.parametrize("name", NAMES)
def test_with_a_failing_disk_an_operation_is_undone(name: str, lasting: bool, host: str, tmp_path: Path) -> None:
    """A failure of every commit in turn, or of all from one on until the disk is well again, leaves everything as it was."""

    def fail(label: str) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    with bench(name, host, tmp_path) as here:
        point, came, raised = 0, True, None
        while came:
            point += 1
            came, raised = here.operate(point, fail, "before commit", lasting=lasting)
            if came:
                assert raised is None or isinstance(raised, Unavailable), f"{raised!r} at {point}"
                here.same(here.before if raised else here.after, f"commit {point} failed")
            if came and raised is None:  # only what was to be tidied up was not
                here.begin_again()
        assert raised is None
        here.same(here.after, "let do")
        print(f"{name}: {point - 1} points")
