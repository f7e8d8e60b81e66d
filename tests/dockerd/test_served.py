"""A real dockerd uses our drivers as its plug-ins: what Docker's user does works, also when either side was restarted in between."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from libnetwork_py.serving import Listen, PluginServer
from tests.dockerd.lab import OUTSIDE, Dockerd, fetch, missing

pytestmark = [pytest.mark.skipif(bool(missing()), reason=f"needs {missing()}"), pytest.mark.timeout(300)]
PORT = 18080


@pytest.fixture
def record() -> Iterator[Callable[[dict[str, Any]], object]]:
    """Where calls are written down: the file that ``LIBNETWORK_PY_TRANSCRIPT`` names."""
    place = os.environ.get("LIBNETWORK_PY_TRANSCRIPT", os.devnull)
    with Path(place).open("a") as file:
        yield lambda entry: file.write(json.dumps(entry) + "\n")


@pytest.fixture
def docker(tmp_path: Path, record: Callable[[dict[str, Any]], object]) -> Iterator[Dockerd]:
    """A daemon with an image."""
    daemon = Dockerd(Path(os.environ["LIBNETWORK_PY_DOCKERD"]), tmp_path, record)
    try:
        daemon.start()
        daemon.image()
        yield daemon
    finally:
        daemon.stop()
        daemon.remove()


def server(docker: Dockerd, tmp_path: Path, driver: str, ipam: str = "") -> PluginServer:
    """A server of a driver, on the daemon's host."""
    listen = Listen(path=str(docker.plugins / "lnw.sock"))
    return PluginServer("lnw", driver=driver, ipam=ipam, listen=listen, state_dir=tmp_path / "state", host=docker.host)


def links(docker: Dockerd) -> set[str]:
    """The interfaces on the daemon's host."""
    done = subprocess.run(["ip", "-n", Path(docker.host).name, "-j", "link"], capture_output=True, check=True)
    return {each["ifname"] for each in json.loads(done.stdout)} - {"docker0"}


def answers(docker: Dockerd, address: str, port: int) -> bool:
    """Whether the web server of the test answers somebody outside."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        if fetch(docker.outside, address, port) == b"hello\n":
            return True
        time.sleep(0.2)
    return False


WEB = ("sh", "-c", "mkdir -p /www && echo hello >/www/hello && exec httpd -f -p 80 -h /www")


@pytest.mark.parametrize("ipam", ["", "default"])
def test_bridge(docker: Dockerd, tmp_path: Path, ipam: str) -> None:
    """Two containers on our bridge reach each other and the outside, a published port answers, and nothing is left at the end."""
    before = links(docker)
    with server(docker, tmp_path, "bridge", ipam):
        _create(docker, "front", ipam)
        docker.run("web", "front", *WEB, ports={str(PORT): "80"})
        docker.run("client", "front")
        assert docker.inside("client", "ping", "-c", "1", "-W", "2", docker.address("web", "front")) == 0
        assert docker.inside("client", "ping", "-c", "1", "-W", "2", OUTSIDE) == 0
        assert answers(docker, "198.51.100.1", PORT)
        _create(docker, "back", ipam)
        docker("POST", "/networks/back/connect", {"Container": "client"})
        assert docker.address("client", "back")
        docker("POST", "/networks/back/disconnect", {"Container": "client"})
        for name in ("web", "client"):
            docker("DELETE", f"/containers/{name}?force=1")
        for name in ("front", "back"):
            docker("DELETE", f"/networks/{name}")
        assert links(docker) == before


def test_restarts(docker: Dockerd, tmp_path: Path) -> None:
    """Networks and containers go on through a restart of the server, and work again after one of the daemon."""
    with server(docker, tmp_path, "bridge", "default"):
        _create(docker, "front", "default")
        docker.run("web", "front", *WEB, ports={str(PORT): "80"})
        docker.run("client", "front")
    assert docker.inside("client", "ping", "-c", "1", "-W", "2", docker.address("web", "front")) == 0
    with server(docker, tmp_path, "bridge", "default"):
        assert answers(docker, "198.51.100.1", PORT)
        docker.run("late", "front")
        assert docker.inside("late", "ping", "-c", "1", "-W", "2", docker.address("web", "front")) == 0
        docker.stop()
        docker.start()
        for name in ("web", "client"):
            docker("POST", f"/containers/{name}/start")
        assert docker.inside("client", "ping", "-c", "1", "-W", "2", docker.address("web", "front")) == 0
        assert answers(docker, "198.51.100.1", PORT)
        for name in ("web", "client", "late"):
            docker("DELETE", f"/containers/{name}?force=1")
        docker("DELETE", "/networks/front")


def test_an_error_reaches_dockers_user(docker: Dockerd, tmp_path: Path) -> None:
    """What our driver refuses is what Docker's user reads."""
    with server(docker, tmp_path, "bridge"):
        body = {"Name": "bad", "Driver": "lnw", "Options": {"com.docker.network.bridge.enable_icc": "perhaps"}}
        assert "perhaps" in docker("POST", "/networks/create", body, refused=True)


def _create(docker: Dockerd, name: str, ipam: str) -> None:
    body: dict[str, Any] = {"Name": name, "Driver": "lnw"}
    docker("POST", "/networks/create", body | ({"IPAM": {"Driver": "lnw"}} if ipam else {}))


def test_a_driver_of_another_package(docker: Dockerd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example driver, a package of its own, serves Docker too: its containers are ports of Open vSwitch and reach each other."""
    example = Path(__file__).parents[2] / "examples/ovs_driver"
    if not Path("/usr/share/openvswitch/vswitch.ovsschema").exists():
        pytest.skip("needs Open vSwitch: apt-get install openvswitch-switch")
    monkeypatch.syspath_prepend(str(example / "src"))
    from libnetwork_ovs.driver import OvsDriver

    with switch(docker.host, tmp_path, monkeypatch):
        before = links(docker)
        listen = Listen(path=str(docker.plugins / "lnw.sock"))
        config = {"drivers": {"ovs": OvsDriver()}}
        with PluginServer(
            "lnw", driver="ovs", listen=listen, state_dir=tmp_path / "state", host=docker.host, config=config
        ):
            docker("POST", "/networks/create", {"Name": "lan", "Driver": "lnw", "Options": {"ovs.vlan": "10"}})
            docker.run("one", "lan")
            docker.run("two", "lan")
            assert docker.inside("one", "ping", "-c", "1", "-W", "2", docker.address("two", "lan")) == 0
            assert (
                len([each for each in links(docker) if each.startswith("ovs-")]) == 2
            )  # the bridge, and Open vSwitch's own
            for name in ("one", "two"):
                docker("DELETE", f"/containers/{name}?force=1")
            docker("DELETE", "/networks/lan")
            assert links(docker) <= before | {"ovs-netdev"}


@contextmanager
def switch(host: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An Open vSwitch in the daemon's network namespace."""
    for each in ("RUN", "LOG", "DB", "SYSCONF"):
        monkeypatch.setenv(f"OVS_{each}DIR", str(place))
    monkeypatch.setenv("PATH", f"{os.environ['PATH']}:/usr/sbin:/sbin")
    subprocess.run(["ovsdb-tool", "create", place / "conf.db", "/usr/share/openvswitch/vswitch.ovsschema"], check=True)
    enter = ["nsenter", f"--net={host}"]
    servers = (
        ["ovsdb-server", f"{place}/conf.db", f"--remote=punix:{place}/db.sock"],
        ["ovs-vswitchd", f"unix:{place}/db.sock", f"--pidfile={place}/vswitchd.pid"],
    )
    started: list[subprocess.Popen[bytes]] = []
    try:
        for argv, sign in zip(servers, ("db.sock", "vswitchd.pid"), strict=True):
            started.append(subprocess.Popen([*enter, *argv, f"--log-file={place}/ovs.log"], stderr=subprocess.DEVNULL))
            while not (place / sign).exists():
                assert started[-1].poll() is None
                time.sleep(0.02)
            if sign == "db.sock":
                subprocess.run(["ovs-vsctl", "--no-wait", "init"], check=True)
        yield
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait(10)
