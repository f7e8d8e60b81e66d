"""A real dockerd uses our drivers as its plug-ins: what Docker's user does works, also when either side was restarted in between."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from libnetwork_py.serving import Listen, PluginServer
from tests.dockerd.lab import OUTSIDE, WEB, Dockerd
from tests.plugin_process import Server, certificate

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]
PORT = 18080


def server(docker: Dockerd, tmp_path: Path, driver: str, ipam: str = "") -> PluginServer:
    """A server of a driver, on the daemon's host."""
    listen = Listen(path=str(docker.plugins / "lnw.sock"))
    return PluginServer("lnw", driver=driver, ipam=ipam, listen=listen, state_dir=tmp_path / "state", host=docker.host)


@pytest.mark.parametrize("ipam", ["", "default"])
def test_bridge(docker: Dockerd, tmp_path: Path, ipam: str) -> None:
    """Two containers on our bridge reach each other and the outside, a published port answers, and nothing is left at the end."""
    before = docker.links()
    with server(docker, tmp_path, "bridge", ipam):
        docker.create("front", ipam)
        docker.run("web", "front", *WEB, ports={str(PORT): "80"})
        docker.run("client", "front")
        assert docker.reaches("client", docker.address("web", "front"))
        assert docker.reaches("client", OUTSIDE)
        assert docker.answers(PORT)
        docker.create("back", ipam)
        docker("POST", "/networks/back/connect", {"Container": "client"})
        assert docker.address("client", "back")
        docker("POST", "/networks/back/disconnect", {"Container": "client"})
        for name in ("web", "client"):
            docker("DELETE", f"/containers/{name}?force=1")
        for name in ("front", "back"):
            docker("DELETE", f"/networks/{name}")
        assert docker.settles(before)


def test_restarts(docker: Dockerd, tmp_path: Path) -> None:
    """Networks and containers go on through a restart of the server, and work again after one of the daemon."""
    with server(docker, tmp_path, "bridge", "default"):
        docker.create("front", "default")
        docker.run("web", "front", *WEB, ports={str(PORT): "80"})
        docker.run("client", "front")
    assert docker.reaches("client", docker.address("web", "front"))
    with server(docker, tmp_path, "bridge", "default"):
        assert docker.answers(PORT)
        docker.run("late", "front")
        assert docker.reaches("late", docker.address("web", "front"))
        docker.stop()
        docker.start()
        for name in ("web", "client"):
            docker("POST", f"/containers/{name}/start")
        assert docker.reaches("client", docker.address("web", "front"))
        assert docker.answers(PORT)
        for name in ("web", "client", "late"):
            docker("DELETE", f"/containers/{name}?force=1")
        docker("DELETE", "/networks/front")


def test_over_tls(docker: Dockerd, tmp_path: Path) -> None:
    """Over TCP with TLS, each side sure of the other by its certificate, a network is made and a container is on it."""
    if not shutil.which("openssl"):
        pytest.skip("needs openssl to make a certificate")
    pem, key = certificate(docker.specs, "mine")
    place = Path("/etc/docker/plugins")
    files = {"CAFile": place / "mine.pem", "CertFile": place / "mine.pem", "KeyFile": place / "mine.key"}
    spec = {
        "Name": "lnw",
        "Addr": "https://127.0.0.1:7443",
        "TLSConfig": {name: str(path) for name, path in files.items()},
    }
    (docker.specs / "lnw.json").write_text(json.dumps(spec))
    server = Server(tmp_path / "lnw.sock", tmp_path / "state", docker.host, tls=(pem, key))
    server.start()
    try:
        docker.create("front", "default")
        docker.run("web", "front")
        assert docker.reaches("web", OUTSIDE)
        docker("DELETE", "/containers/web?force=1")
        docker("DELETE", "/networks/front")
    finally:
        server.stop()


def test_an_error_reaches_dockers_user(docker: Dockerd, tmp_path: Path) -> None:
    """What our driver refuses is what Docker's user reads."""
    with server(docker, tmp_path, "bridge"):
        body = {"Name": "bad", "Driver": "lnw", "Options": {"com.docker.network.bridge.enable_icc": "perhaps"}}
        assert "perhaps" in docker("POST", "/networks/create", body, refused=True)


def test_a_driver_of_another_package(docker: Dockerd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example driver, a package of its own, serves Docker too: its containers are ports of Open vSwitch and reach each other."""
    example = Path(__file__).parents[2] / "examples/ovs_driver"
    if not Path("/usr/share/openvswitch/vswitch.ovsschema").exists():
        pytest.skip("needs Open vSwitch: apt-get install openvswitch-switch")
    monkeypatch.syspath_prepend(str(example / "src"))
    from libnetwork_ovs.driver import OvsDriver

    with switch(docker.host, tmp_path, monkeypatch):
        before = docker.links()
        listen = Listen(path=str(docker.plugins / "lnw.sock"))
        config = {"drivers": {"ovs": OvsDriver()}}
        with PluginServer(
            "lnw", driver="ovs", listen=listen, state_dir=tmp_path / "state", host=docker.host, config=config
        ):
            docker("POST", "/networks/create", {"Name": "lan", "Driver": "lnw", "Options": {"ovs.vlan": "10"}})
            docker.run("one", "lan")
            docker.run("two", "lan")
            assert docker.reaches("one", docker.address("two", "lan"))
            assert (
                len([each for each in docker.links() if each.startswith("ovs-")]) == 2
            )  # the bridge, and Open vSwitch's own
            for name in ("one", "two"):
                docker("DELETE", f"/containers/{name}?force=1")
            docker("DELETE", "/networks/lan")
            assert docker.links() <= before | {"ovs-netdev"}


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
