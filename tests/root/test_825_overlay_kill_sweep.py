"""A host of a cluster is killed at every point of what it does with overlay networks, on the real kernel and a real etcd."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.root import machine, overlay_lab
from tests.root.crash_lab import ROOT, apart, new_tag, remove_remains
from tests.root.host_process import HostProcess
from tests.root.overlay_sweep import OPERATIONS


@pytest.mark.timeout(400)
def test_killed_anywhere_nothing_is_lost_and_nothing_left(tmp_path: Path) -> None:
    """Killed at every point, an operation is whole or was never begun: in the records, the kernel, the cluster and on the other host."""
    tag = new_tag()
    with overlay_lab.lab(2) as lab:
        machine.run_in(lab.underlay, ["ip", "addr", "add", "10.99.0.254/24", "dev", "br0"])
        for name in ("etcd", "two"):
            (tmp_path / name).mkdir(mode=0o700)
        with overlay_lab.etcd(lab.underlay, "10.99.0.254", tmp_path / "etcd"):
            url = "etcd://10.99.0.254:2379"
            two = HostProcess(lab.hosts[1].path, tmp_path / "two", url)
            try:
                two.do("create_network", "net", {"subnets": ["10.77.0.0/24"], "internal": True})
                two.do("connect", f"{tag}-two-api", "net", {"name": "api", "addresses": ["10.77.0.2"]})
                _sweep([lab.hosts[0].path, url, str(tmp_path / "one"), tag], two)
            finally:
                two.kill()
                remove_remains(tag)
                for path in machine.NAMESPACES.glob("ov-*"):
                    machine.drop_namespace(str(path))


def _sweep(arguments: list[str], two: HostProcess) -> None:
    argv = [sys.executable, "-m", "tests.root.overlay_sweep", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    points: dict[str, int] = {}
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            for line in process.stdout:
                name, point, status, label, before, whole, after, took = json.loads(line)
                where = f"{name}, killed at {point} {label}"
                print(where, status, round(took, 2))
                assert status in {0, -9}
                _check(where, before, whole, after)
                machine.wait_until(lambda after=after: _agrees(two, after["told"]), f"the other host: {where}")  # type: ignore[misc]
                points[name] = points.get(name, 0) + 1
                process.stdin.write("\n")
                process.stdin.flush()
            assert process.wait(30) == 0
        finally:
            process.kill()
    print(points)
    assert points.keys() == OPERATIONS.keys()


def _agrees(two: HostProcess, told: dict[str, Any]) -> bool:
    """Whether the other host knows the same networks and endpoints, and has in its kernel what that means."""
    known = {name: [each[0] for each in network["endpoints"]] for name, network in told["networks"].items()}
    known.pop("docker_gwbridge", None)
    return bool(two.do("endpoints") == known and "as described" in two.do("reconcile"))


def _check(where: str, before: dict[str, Any], whole: dict[str, Any], after: dict[str, Any]) -> None:
    """Check that all agrees, and is as it was before or as it is afterwards."""
    assert after["wrong"] == [], where
    assert before["told"] != whole["told"]
    wanted = whole if after["told"] == whole["told"] else before
    assert after == wanted, f"{where}: {apart(after, wanted)}"
