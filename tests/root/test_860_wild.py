"""Operations at random: whatever is made, refused, undone or killed, the machine is as the records say, and everything can be deleted."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from libnetwork_py import LibnetworkError, NetworkController, Unavailable
from tests.root import world
from tests.root.crash_lab import KERNEL_POINTS, ROOT, Points, becomes, delete_everything, new_tag, seen
from tests.root.wild import Wild

BATCHES = 300 if world.ROOT else 120
KILLS = 15 if world.ROOT else 5


def refuse(label: str) -> None:
    """Fail like the kernel."""
    raise Unavailable(f"the test fails the kernel at {label}", code="injected")


@pytest.mark.parametrize("seed", range(3))
def test_batches_of_anything(host: str, tmp_path: Path, seed: int) -> None:
    """After each batch, and after one that the kernel refused anywhere, nothing is missing, nothing is changed and nothing is left."""
    tag = new_tag()
    pristine = seen(host, tag)
    refused = 0
    with NetworkController(tmp_path, host=host) as controller:
        wild = Wild(controller, tag, seed)
        for number in range(BATCHES):
            step = wild.random.randrange(1, 20) if number % 2 else 0
            with Points(step, refuse, kinds=KERNEL_POINTS).armed():
                try:
                    with controller.batch():
                        wild.steps()
                except LibnetworkError as error:
                    assert error.code == "injected", (number, error)  # noqa: PT017 (most are not refused)
                    refused += 1
            report = controller.reconcile(repair=False)
            assert not report, f"batch {number}: {report}"
        delete_everything(controller)
    assert refused
    becomes(lambda: seen(host, tag), pristine, "everything deleted")


def test_three_processes_that_are_killed(host: str, tmp_path: Path) -> None:
    """Of three processes on one state directory one is killed every now and then, wherever it is; no other is kept from anything."""
    tag = new_tag()
    pristine = seen(host, tag)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    chance = random.Random(860)
    running: list[subprocess.Popen[bytes]] = []
    try:
        for number in range(KILLS):
            while len(running) < 3:
                argv = [
                    sys.executable,
                    "-m",
                    "tests.root.wild",
                    str(tmp_path),
                    host,
                    tag,
                    str(10 * number + len(running)),
                ]
                running.append(subprocess.Popen(argv, env=environment))
            time.sleep(0.5 + chance.random())
            assert not [each.returncode for each in running if each.poll() is not None], "a process ended by itself"
            one = running.pop(chance.randrange(3))
            one.kill()
            one.wait()
    finally:
        for each in running:
            each.kill()
            each.wait()
    with NetworkController(tmp_path, host=host) as controller:
        assert controller.networks() or controller.sandboxes(), "they did nothing"
        report = controller.reconcile(repair=False)
        assert not report, str(report)
        delete_everything(controller)
        assert not controller.reconcile(repair=False)
    becomes(lambda: seen(host, tag), pristine, "everything deleted")
