"""An Open vSwitch of the tests' own, in a namespace of its own, and a controller whose host that namespace is."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from libnetwork_py import NetworkController

PROGRAMS = ("ovsdb-server", "ovs-vswitchd", "ovs-vsctl", "ip")
SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")


@pytest.fixture(scope="session")
def host() -> Iterator[str]:
    """The path of a namespace that plays the host."""
    if os.geteuid() != 0:
        pytest.skip("needs root: it makes namespaces and starts Open vSwitch")
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    missing = [name for name in PROGRAMS if not shutil.which(name, path=path)]
    if missing or not SCHEMA.exists():
        pytest.skip(f"needs Open vSwitch (Debian: openvswitch-switch): no {', '.join(missing) or SCHEMA}")
    name = f"ovs-test-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        yield f"/run/netns/{name}"
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)


@pytest.fixture(scope="session")
def switch(host: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The directory of a running Open vSwitch."""
    place = tmp_path_factory.mktemp("ovs")
    before = dict(os.environ)
    os.environ |= {f"OVS_{each}DIR": str(place) for each in ("RUN", "LOG", "DB", "SYSCONF")}
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    subprocess.run(["ovsdb-tool", "create", place / "conf.db", SCHEMA], check=True)
    enter = ["ip", "netns", "exec", host.rpartition("/")[2]]
    daemons = [_started(*enter, "ovsdb-server", f"{place}/conf.db", f"--remote=punix:{place}/db.sock", place=place)]
    try:
        _wait(place / "db.sock")
        subprocess.run(["ovs-vsctl", "--no-wait", "init"], check=True)
        vswitchd = ("ovs-vswitchd", f"unix:{place}/db.sock", f"--pidfile={place}/pid")
        daemons.append(_started(*enter, *vswitchd, place=place))
        _wait(place / "pid")
        yield place
    finally:
        for daemon in reversed(daemons):
            daemon.send_signal(signal.SIGTERM)
            daemon.wait(10)
        os.environ.clear()
        os.environ |= before


def _started(*argv: str, place: Path) -> subprocess.Popen[bytes]:
    argv = (*argv, f"--log-file={place}/log")
    return subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _wait(path: Path) -> None:
    deadline = time.monotonic() + 10
    while not path.exists():
        assert time.monotonic() < deadline, f"waited 10 s for {path}"
        time.sleep(0.02)


@pytest.fixture
def controller(host: str, switch: Path) -> Iterator[NetworkController]:
    """A controller in that namespace; what it made goes at the end."""
    with NetworkController.temporary(host=host) as some:
        yield some
