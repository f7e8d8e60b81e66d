"""Two processes on one state directory: one is killed in the middle of an operation while the other waits for it to end."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from libnetwork_py import NetworkController
from tests.root import world
from tests.root.crash_lab import ROOT, Lab, Points, apart, becomes, delete_everything, new_tag, quiet, seen, told

CONNECT = """
import sys, time
from libnetwork_py import NetworkController
from tests.root import world
from tests.root.crash_lab import Lab, Points

def stop(label):
    print(label, flush=True)
    time.sleep(60)

point, path, host, tag = sys.argv[1:]
controller = NetworkController(path, host=host)
with Points(int(point), stop).armed():
    Lab(controller, tag).connect("web", ports=["18080:80"])
"""


def test_a_process_that_waits_for_one_that_is_killed_recovers_and_goes_on(host: str, tmp_path: Path) -> None:
    """Wherever the one is killed, the other undoes what it had begun, and does its own."""
    tag = new_tag()
    pristine = seen(host, tag)
    with NetworkController(tmp_path, host=host) as controller:
        lab = Lab(controller, tag)
        passed = _points_of_connect(lab, host)
        lab.connect("other", ports=["18080:80"])
        wanted = told(controller, tag), quiet(lambda: seen(host, tag))
        delete_everything(controller)
        for point in range(1, len(passed), 1 if world.ROOT else 7):  # at the last one, the operation is done
            lab.sandbox("web")
            lab.sandbox("other")
            lab.network()
            with _stopped(point, tmp_path, host, tag) as process:
                waiting = threading.Thread(target=lambda: lab.connect("other", ports=["18080:80"]))
                waiting.start()
                waiting.join(0.05)
                assert waiting.is_alive(), "the other process has the lock"
                process.kill()
                waiting.join(120)
                assert not waiting.is_alive()
            lab.sandbox("web").delete()
            assert not controller.reconcile(repair=False)
            found = told(controller, tag), quiet(lambda: seen(host, tag))
            assert found[0] == wanted[0]
            assert found[1] == wanted[1], f"killed at {point} ({passed[point - 1]}): {apart(found[1], wanted[1])}"
            delete_everything(controller)
    becomes(lambda: seen(host, tag), pristine, "everything deleted")


def test_a_process_that_waits_sees_what_the_other_has_done(host: str, tmp_path: Path) -> None:
    """A process killed after its last commit has done its operation, and the one that waited knows."""
    tag = new_tag()
    with NetworkController(tmp_path, host=host) as controller:
        lab = Lab(controller, tag)
        last = len(_points_of_connect(lab, host))
        lab.sandbox("web")
        lab.network()
        with _stopped(last, tmp_path, host, tag) as process:
            process.kill()
            lab.connect("other", ports=["18081:80"])
        assert [each.name for each in lab.network().endpoints()] == ["other", "web"]
        assert len({each.addresses for each in lab.network().endpoints()}) == 2
        assert not controller.reconcile(repair=False)
        delete_everything(controller)


def _points_of_connect(lab: Lab, host: str) -> list[str]:
    """Connect once here, and return the points on the way."""
    lab.sandbox("web")
    lab.network()
    passed: list[str] = []
    with Points(0, lambda _: None, passed.append).armed():
        lab.connect("web", ports=["18080:80"])
    delete_everything(lab.controller)
    return passed


@contextmanager
def _stopped(point: int, path: Path, host: str, tag: str) -> Generator[subprocess.Popen[str]]:
    """A process that stands still at a point of connecting, holding the lock; killed at the end."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    argv = [sys.executable, "-c", CONNECT, str(point), str(path), host, tag]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline()
            yield process
        finally:
            process.kill()
