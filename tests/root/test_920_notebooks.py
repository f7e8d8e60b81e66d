"""The notebooks under ``examples/notebooks``, each executed in a real Jupyter kernel by an ordinary user."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engines.servers import ROOT as ENGINES

TREE = Path(__file__).parents[2]
BOOKS = TREE / "examples" / "notebooks"
PROMISED = {
    "congestion": ("400 kB queue", "throughput", "20 Mbit/s, 2 % loss"),
    "first_steps": (
        "3 received",
        "hello from web",
        "ip link add",
        "2 findings",
        "keeps networks front and elsewhere apart",
    ),
    "partition_etcd": ("leader: etcd-", "alone: 0 of ", "a partition keeps it apart", "apart from 2"),
    "published_port": ("listening", "requests a second, none failed", "127.0.0.1:9090:80/tcp"),
    "your_own_driver": ("ip link add sw", "3 received", "mtu 1400", "no route to 10.99.0.1", "example-switch"),
}
"""What the outputs of each say."""


def test_every_notebook_is_executed() -> None:
    """There is no notebook that these tests do not run."""
    assert {path.stem for path in BOOKS.glob("*.ipynb")} == set(PROMISED)


@pytest.fixture
def desk() -> Iterator[Path]:
    """A directory that anybody may write to, with etcd in it where only the tests' own has it."""
    with tempfile.TemporaryDirectory(prefix="libnetwork_py-notebook-") as name:
        path = Path(name)
        path.chmod(0o777)
        if shutil.which("etcd") is None and (ENGINES / "usr/bin/etcd").exists():
            shutil.copy(ENGINES / "usr/bin/etcd", path)
        yield path


def executed(source: Path, desk: Path) -> dict[str, object]:
    """Execute a notebook as an ordinary user; return it with its outputs."""
    target = desk / source.name
    environment = {**os.environ, "PYTHON": sys.executable, "PATH": f"{os.environ['PATH']}:{desk}"}
    argv: list[str | Path] = [
        TREE / "scripts" / "as-user",
        sys.executable,
        TREE / "tests" / "root" / "execute_notebook.py",
        source,
        target,
    ]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, object] = json.loads(target.read_text())
    return found


@pytest.mark.parametrize("name", sorted(PROMISED))
def test_a_notebook_runs(name: str, desk: Path) -> None:
    """Every cell runs, and the outputs say what they promise."""
    for needed in ("nbclient", "ipykernel", "matplotlib", "pandas"):
        pytest.importorskip(needed, reason=f"{needed}, of the extras `notebook` and `test`")
    if name == "partition_etcd" and shutil.which("etcd") is None and not (desk / "etcd").exists():
        pytest.skip("etcd is neither on the path nor unpacked by scripts/fetch-engines")
    said = json.dumps(executed(BOOKS / f"{name}.ipynb", desk)["cells"], ensure_ascii=False)
    missing = [phrase for phrase in PROMISED[name] if phrase not in said]
    assert not missing
