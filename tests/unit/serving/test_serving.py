"""What a served driver answers, without a daemon: the protocol's form, IPAM and its memory, sockets and who may use them."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from libnetwork_py import Conflict, InvalidParameter, NetworkController
from libnetwork_py.desired import Veth
from libnetwork_py.ipam.default import DefaultIpam
from libnetwork_py.plugins.client import Plugin
from libnetwork_py.plugins.discovery import Discovery
from libnetwork_py.serving.app import Application
from libnetwork_py.serving.given import GivenIpam
from libnetwork_py.serving.ipam import IpamService
from libnetwork_py.serving.network import IPAM, NetworkService
from libnetwork_py.serving.server import Listen, _Http
from libnetwork_py.store.memory import MemoryStore
from libnetwork_py.testing import FakeKernel

NETWORK, ENDPOINT = "a" * 64, "b" * 64


def ask(application: Application, method: str, **body: Any) -> Mapping[str, Any]:
    """Call a method and return the answer."""
    status, answer = application.answer(method, json.dumps(body).encode() if body else b"")
    assert status == 200
    return answer


class Docker:
    """Calls an application as Docker would."""

    def __init__(self, kernel: FakeKernel | None = None, store: MemoryStore | None = None) -> None:
        self.kernel, self.store = kernel or FakeKernel(), store or MemoryStore()
        self.controller = NetworkController.over(MemoryStore(), self.kernel, config={"ipams": {IPAM: GivenIpam()}})
        service, ipam = NetworkService(self.controller, "bridge"), IpamService(DefaultIpam(), self.store)
        self.application = Application({"NetworkDriver": service.calls(), "IpamDriver": ipam.calls()})

    def __call__(self, method: str, **body: Any) -> Mapping[str, Any]:
        return ask(self.application, method, **body)

    def network(self, **options: Any) -> Mapping[str, Any]:
        pool = {"AddressSpace": "LocalDefault", "Pool": "10.7.0.0/24", "Gateway": "10.7.0.1/24"}
        given = {"com.docker.network.enable_ipv6": False, "com.docker.network.generic": options}
        return self("NetworkDriver.CreateNetwork", NetworkID=NETWORK, Options=given, IPv4Data=[pool], IPv6Data=[])

    def endpoint(self, **options: Any) -> Mapping[str, Any]:
        interface = {"Address": "10.7.0.5/24", "AddressIPv6": "", "MacAddress": ""}
        return self("NetworkDriver.CreateEndpoint", **IDS, Interface=interface, Options=options)


IDS = {"NetworkID": NETWORK, "EndpointID": ENDPOINT}
PORTS = {"com.docker.network.portmap": [{"Proto": 6, "Port": 80, "HostIP": "", "HostPort": 0, "HostPortEnd": 0}]}


def test_a_container_from_start_to_end() -> None:
    """Network, endpoint, join and their ends, in Docker's order; the interface waits on the host, and nothing is left."""
    docker = Docker()
    before = docker.kernel.state()
    assert docker.network() == {}
    assert docker.endpoint() == {"Interface": {"MacAddress": "02:42:0a:07:00:05"}}
    joined = docker("NetworkDriver.Join", **IDS, SandboxKey="/var/run/docker/netns/x", Options={})
    (veth,) = [word for word in docker.kernel.state() if isinstance(word, Veth)]
    assert joined["InterfaceName"] == {"SrcName": veth.peer_name, "DstPrefix": "eth"}
    assert (veth.peer_namespace, veth.handed) == ("", True)
    assert (joined["Gateway"], joined["DisableGatewayService"]) == ("10.7.0.1", True)
    assert docker("NetworkDriver.EndpointOperInfo", **IDS)["Value"]
    assert not docker.controller.reconcile()
    for method in ("RevokeExternalConnectivity", "Leave", "DeleteEndpoint", "DeleteNetwork"):
        assert docker(f"NetworkDriver.{method}", **(IDS if method != "DeleteNetwork" else {"NetworkID": NETWORK})) == {}
    assert docker.kernel.state() == before
    assert docker.controller.sandboxes() == []


def test_calls_are_repeated() -> None:
    """Each call may come twice, and an end for what never was: Docker does so after it died."""
    docker = Docker()
    for _ in range(2):
        docker.network()
        docker.endpoint()
        assert docker("NetworkDriver.Join", **IDS, SandboxKey="x", Options={})["InterfaceName"]
    for _ in range(2):
        for method in ("RevokeExternalConnectivity", "Leave", "DeleteEndpoint"):
            assert docker(f"NetworkDriver.{method}", **IDS) == {}
        assert docker("NetworkDriver.DeleteNetwork", NetworkID=NETWORK) == {}


def test_a_driver_refuses() -> None:
    """What the driver refuses is under Err, and nothing is left of it."""
    docker = Docker()
    assert "perhaps" in docker.network(**{"com.docker.network.bridge.enable_icc": "perhaps"})["Err"]
    assert docker.controller.networks() == []
    assert "not found" in docker.endpoint()["Err"]


@pytest.mark.parametrize(
    ("path", "raw", "status"),
    [
        ("NetworkDriver.Dance", b"", 404),
        ("VolumeDriver.Create", b"{}", 404),
        ("NetworkDriver.Join", b"{", 400),
        ("NetworkDriver.Join", b"[]", 400),
        ("NetworkDriver.Join", b'{"NetworkID": "\\ud800"}', 400),
        ("NetworkDriver.Join", 200_000 * b"[", 400),
    ],
)
def test_what_is_no_call(path: str, raw: bytes, status: int) -> None:
    """An unknown method is 404, which Docker takes for one that is not there; a body that is no object is 400."""
    assert Docker().application.answer(path, raw)[0] == status


@pytest.mark.parametrize(
    "body",
    [{}, {"NetworkID": 7}, {"NetworkID": NETWORK, "IPv4Data": 7}, {"NetworkID": NETWORK, "IPv4Data": [{"Pool": "x"}]}],
)
def test_bad_requests(body: dict[str, Any]) -> None:
    """A request that lacks a field, or has one of another type, is refused in words."""
    assert Docker()("NetworkDriver.CreateNetwork", **body)["Err"]


def test_ipam_remembers() -> None:
    """Pools and addresses that are out are out for the next server too; what was given back is free."""
    store = MemoryStore()
    docker = Docker(store=store)
    pool = docker(
        "IpamDriver.RequestPool", AddressSpace="libnetwork-py-local", Pool="10.9.0.0/29", SubPool="", V6=False
    )
    gateway = docker(
        "IpamDriver.RequestAddress",
        PoolID=pool["PoolID"],
        Address="10.9.0.1",
        Options={"RequestAddressType": "com.docker.network.gateway"},
    )
    first, second = (
        docker("IpamDriver.RequestAddress", PoolID=pool["PoolID"], Address="")["Address"] for _ in range(2)
    )
    assert gateway["Address"] == "10.9.0.1/29"
    assert len({gateway["Address"], first, second}) == 3
    docker("IpamDriver.ReleaseAddress", PoolID=pool["PoolID"], Address=second.partition("/")[0])
    later = Docker(store=store)
    assert "Error" in later("IpamDriver.RequestAddress", PoolID=pool["PoolID"], Address=first.partition("/")[0])
    assert (
        later("IpamDriver.RequestAddress", PoolID=pool["PoolID"], Address=second.partition("/")[0])["Address"] == second
    )
    assert "Error" in later("IpamDriver.RequestPool", AddressSpace="libnetwork-py-local", Pool="10.9.0.0/28", V6=False)
    assert (
        later("IpamDriver.ReleasePool", PoolID=pool["PoolID"])
        == later("IpamDriver.ReleasePool", PoolID=pool["PoolID"])
        == {}
    )
    assert Docker(store=store)(
        "IpamDriver.RequestPool", AddressSpace="libnetwork-py-local", Pool="10.9.0.0/28", V6=False
    )["PoolID"]


def test_a_socket_that_only_its_owner_may_use(tmp_path: Path) -> None:
    """Directory and socket are the owner's alone; a dead server's socket is replaced, a living one's not; the end removes it."""
    path = tmp_path / "plugins" / "x.sock"
    path.parent.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    docker = Docker()
    http = _Http(docker.application, Listen(path=str(path)))
    http.start()
    try:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        plugin = Plugin("x", Discovery([path.parent], []), 5)
        assert plugin.activate() == {"NetworkDriver", "IpamDriver"}
        with pytest.raises(Conflict, match="in use"):
            _Http(docker.application, Listen(path=str(path))).start()
        answers: list[str] = []
        threads = [threading.Thread(target=lambda: answers.append(_pool(plugin))) for _ in range(8)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        assert len(set(answers)) == 8
    finally:
        http.stop()
    assert not path.exists()


def _pool(plugin: Plugin) -> str:
    body = {"AddressSpace": "", "Pool": "", "SubPool": "", "Options": None, "V6": False}
    return plugin.subsystem("IpamDriver").call("RequestPool", body).text("Pool")


def test_ctrl_c_while_it_answers(tmp_path: Path) -> None:
    """Ctrl-C, and SIGTERM likewise, ends the server when what is being asked is answered, not before."""
    answered: list[str] = []

    def slow(_body: object) -> Mapping[str, Any]:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.3)
        answered.append("slow")
        return {"Scope": "local"}

    path = tmp_path / "x.sock"
    http = _Http(Application({"NetworkDriver": {"GetCapabilities": slow}}), Listen(path=str(path)))
    http.start()
    got: list[str] = []
    plugin = Plugin("x", Discovery([tmp_path], []), 10).subsystem("NetworkDriver")
    asking = threading.Thread(target=lambda: got.append(plugin.call("GetCapabilities").text("Scope")))

    def ask_and_wait() -> None:
        asking.start()
        http.wait(10)

    with pytest.raises(KeyboardInterrupt):
        ask_and_wait()
    http.stop()
    assert answered == ["slow"]
    asking.join(10)
    assert got == ["local"]


@pytest.mark.parametrize("rest", [b"", b"{}"])
def test_half_a_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rest: bytes) -> None:
    """Half a request is given up after a while, and keeps neither others nor the server's end waiting; its call is not made."""
    monkeypatch.setattr("libnetwork_py.serving.app.REQUEST_SECONDS", 0.2)
    called: list[object] = []

    def leave(body: object) -> Mapping[str, Any]:
        called.append(body)
        return {}

    path = tmp_path / "x.sock"
    http = _Http(Application({"NetworkDriver": {"Leave": leave}}), Listen(path=str(path)))
    http.start()
    try:
        with socket.socket(socket.AF_UNIX) as caller:
            caller.connect(str(path))
            caller.sendall(b"POST /NetworkDriver.Leave HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n" + rest)
            assert Plugin("x", Discovery([tmp_path], []), 10).activate() == {"NetworkDriver"}
            assert b" 408 " in caller.recv(100)
    finally:
        http.stop()
    assert called == []


def test_an_empty_request() -> None:
    """A request without a body, as Docker repeats one, is refused with what its user can do."""
    assert "ask again" in Docker()("NetworkDriver.Join")["Err"]


def test_tcp_needs_tls(tmp_path: Path) -> None:
    """A plug-in has the privileges of its server: TCP without a certificate is refused."""
    with pytest.raises(InvalidParameter, match="TLS"):
        _Http(Docker().application, Listen(host="127.0.0.1", port=0))
    assert list(tmp_path.iterdir()) == []
