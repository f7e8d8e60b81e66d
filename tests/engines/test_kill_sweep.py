from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.engines import servers

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(180)
def test_whatever_a_kill_leaves_is_put_right(tmp_path: Path) -> None:
    """Wherever a host is killed, before or after a commit to its own store or the cluster's, its next start has both agree."""
    with servers.etcd() as (server,):
        argv = [sys.executable, "-m", "tests.engines.kill_sweep", f"etcd://{server.address}", str(tmp_path)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(argv, capture_output=True, text=True, check=False, env=environment, timeout=170)
    points = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, done.stderr
    assert [point for point in points if point[2]] == []
    assert {name for name, _, _ in points} == {"create network", "connect", "disconnect", "delete network"}
    assert len(points) > 20
