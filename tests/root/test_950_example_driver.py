"""The example driver, a package of its own, is installed beside the library, found by its entry point, and passes its own tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples/ovs_driver"


@pytest.mark.timeout(180)
def test_the_example_driver(tmp_path: Path) -> None:
    """Its wheel is built and installed, and its tests pass on a real Open vSwitch."""
    if not shutil.which("ovs-vswitchd", path=f"{os.environ['PATH']}:/usr/sbin"):
        pytest.skip("needs Open vSwitch: apt-get install openvswitch-switch")
    copied = shutil.copytree(EXAMPLE, tmp_path / "ovs_driver", ignore=shutil.ignore_patterns("__pycache__"))
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(tmp_path / "site"), str(copied)]
    built = subprocess.run(pip, capture_output=True, text=True, check=False)
    if built.returncode and "hatchling" in built.stderr:
        pytest.skip("needs hatchling, from a package index, to build the example's wheel")
    assert not built.returncode, built.stderr
    environment = os.environ | {"PYTHONPATH": f"{tmp_path / 'site'}:{Path(__file__).parents[2]}"}
    argv = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "libnetwork_py.testing.table",
        str(copied / "tests"),
    ]
    done = subprocess.run(argv, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stdout + done.stderr
    print(done.stdout)
