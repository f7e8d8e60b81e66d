"""Docker's plug-ins as drivers: what they are asked, what becomes of their answers, and that a bad one leaves nothing behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from libnetwork_py import Forbidden, Internal, LibnetworkError, NetworkController, NotFound, NotSupported, Unavailable
from libnetwork_py.drivers.api import Driver
from libnetwork_py.store.memory import MemoryStore
from libnetwork_py.testing import FakeKernel
from tests.unit.lifecycle.fake import everything
from tests.unit.plugins.stub import Stub, serving

SUBNET = "10.7.0.0/24"
PREFIX = "com.docker.network"


def connect(some: NetworkController) -> None:
    """A network of the plug-in's and a sandbox on it, in one batch."""
    with some.batch():
        some.sandbox("web").connect(some.create_network("front", "x", subnets=SUBNET), ports="8080:80")


def test_what_it_is_asked(controller: NetworkController, plugin: Stub) -> None:
    """Requests have the fields, the empty bodies and the headers that a real dockerd's have, in its order."""
    network = controller.create_network(
        "front", "x", subnets=SUBNET, aux_addresses={"a": "10.7.0.5"}, options={"k": "v"}
    )
    endpoint = controller.sandbox("web").connect(network, ports="8080:80", expose=["53/udp"])
    assert plugin.calls() == ["CreateNetwork", "CreateEndpoint", "Join", "ProgramExternalConnectivity"]
    created, asked, joined, way = (plugin.asked(f"NetworkDriver.{method}")[0] for method in plugin.calls())
    assert created == {
        "NetworkID": network.id,
        "Options": {f"{PREFIX}.enable_ipv4": True, f"{PREFIX}.enable_ipv6": False, f"{PREFIX}.generic": {"k": "v"}},
        "IPv4Data": [
            {"AddressSpace": "LocalDefault", "Gateway": "10.7.0.1/24", "Pool": SUBNET, "AuxAddresses": {"a": "10.7.0.5/24"}}
        ],
        "IPv6Data": [],
    }  # fmt: skip
    portmap = [{"Proto": 6, "IP": "", "Port": 80, "HostIP": "", "HostPort": 8080, "HostPortEnd": 8080}]
    exposed = [{"Proto": 17, "Port": 53}, {"Proto": 6, "Port": 80}]
    options = {"com.docker.network.portmap": portmap, "com.docker.network.endpoint.exposedports": exposed}
    ids = {"NetworkID": network.id, "EndpointID": endpoint.id}
    assert asked == {
        **ids,
        "Interface": {"Address": "10.7.0.2/24", "AddressIPv6": "", "MacAddress": ""},
        "Options": options,
    }
    assert joined == {**ids, "SandboxKey": controller.sandbox("web").key, "Options": options}
    assert way == {**ids, "Options": {**options, "com.docker.network.driver.private.no_proxy_6to4": False}}
    first = plugin.headers[0]
    assert (first["Host"], first["Accept"], first["Content-Length"]) == (
        "plugin.moby.localhost", "application/vnd.docker.plugins.v1.2+json", "0",
    )  # fmt: skip
    plugin.requests.clear()
    endpoint.delete(force=True)
    network.delete()
    assert plugin.calls() == ["RevokeExternalConnectivity", "Leave", "DeleteEndpoint", "DeleteNetwork"]
    assert plugin.requests[1][1] == ids


def test_what_becomes_of_its_answers(controller: NetworkController, plugin: Stub) -> None:
    """Its interface is in the sandbox under its prefix, with its MAC address, gateway and static routes; it goes back when it leaves."""
    network = controller.create_network("front", "x", subnets=SUBNET)
    sandbox = controller.sandbox("web")
    endpoint = sandbox.connect(network)
    assert (endpoint.interface, endpoint.mac) == ("net0", "02:42:00:00:00:07")
    assert {(str(each.destination), str(each.gateway or "")) for each in sandbox.routes() if not each.connected} == {
        ("0.0.0.0/0", "10.7.0.1"),
        ("10.8.0.0/16", "10.7.0.9"),
        ("10.9.0.0/16", ""),
    }
    assert not controller.reconcile()
    endpoint.leave()
    assert [each.name for each in sandbox.interfaces()] == ["lo"]
    assert not controller.reconcile()


def test_a_plan_calls_nothing_that_changes(controller: NetworkController, plugin: Stub) -> None:
    """A plan asks a plug-in what it is and nothing else."""
    with controller.plan():
        controller.sandbox("web").connect(controller.create_network("front", "x", subnets=SUBNET))
    assert plugin.calls() == []


def test_addresses_of_its_own(controller: NetworkController, plugin: Stub) -> None:
    """Without IPAM the plug-in's addresses are the endpoint's, also after a restart."""
    plugin.answers["NetworkDriver.CreateEndpoint"] = {
        "Interface": {"Address": "192.168.5.7/16", "AddressIPv6": "2001:DB8::5:7/48"}
    }
    plugin.answers["NetworkDriver.Join"] = {"InterfaceName": {"SrcName": "vethx-in", "DstPrefix": "eth"}}
    network = controller.create_network("front", "x", ipam="null", ipv6=True)
    (pool,) = plugin.asked("NetworkDriver.CreateNetwork")[0]["IPv4Data"]
    assert pool == {"AddressSpace": "LocalDefault", "Pool": "0.0.0.0/0"}
    endpoint = controller.sandbox("web").connect(network)
    assert [str(each) for each in endpoint.addresses] == ["192.168.5.7", "2001:db8::5:7"]
    assert not controller.reconcile()
    network.delete(force=True)


@pytest.mark.parametrize(
    "answer",
    [{"Address": "10.7.0.9/24"}, {"MacAddress": "02:42:00:00:00:07"}, {"Address": "seven"}, {"AddressIPv6": "fd00::1"}],
)
def test_an_interface_that_was_given(controller: NetworkController, plugin: Stub, answer: dict[str, str]) -> None:
    """An address in place of a given one, or a malformed one, is refused, and the plug-in is told to delete the endpoint."""
    before = everything(controller, controller._kernel)  # type: ignore[arg-type]  # it is a fake one
    plugin.answers["NetworkDriver.CreateEndpoint"] = {"Interface": answer}
    with (
        pytest.raises(Internal, match="plug-in 'x' answered nonsense") as caught,
        controller.batch(),
    ):
        controller.sandbox("web").connect(
            controller.create_network("front", "x", subnets=SUBNET), mac="02:00:00:00:00:01"
        )
    assert caught.value.__notes__ == ["rolled back"]
    assert plugin.calls() == ["CreateNetwork", "CreateEndpoint", "DeleteEndpoint", "DeleteNetwork"]
    assert everything(controller, controller._kernel) == before  # type: ignore[arg-type]


NONSENSE: dict[str, Any] = {
    "no JSON": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    "a list": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]",
    "nothing": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "no HTTP": b"hello\r\n\r\n",
    "half an answer": b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{",
    "half an answer that would do": b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{}",
    "half a character": b'HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\n{"a":"\\ud800"}',
    "an abyss": b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + 100000 * b"[",
    "an end": b"",
    "two documents": b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n{}{}",
    "two answers": 2 * b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    "another version": b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.plugins.v2+json\r\nContent-Length: 2\r\n\r\n{}",
}


@pytest.mark.parametrize("name", NONSENSE)
@pytest.mark.parametrize("method", ["CreateNetwork", "CreateEndpoint", "Join"])
def test_nonsense(controller: NetworkController, plugin: Stub, kernel: FakeKernel, name: str, method: str) -> None:
    """A plug-in that answers nonsense, half an answer, two or none is named in a typed error, and nothing is left half-made."""
    before = everything(controller, kernel)
    plugin.raw[f"NetworkDriver.{method}"] = NONSENSE[name]
    with pytest.raises((Internal, Unavailable, NotSupported), match="plug-in 'x'") as caught:
        connect(controller)
    assert caught.value.data["name"] == "x"
    assert everything(controller, kernel) == before
    del plugin.raw[f"NetworkDriver.{method}"]
    connect(controller)
    assert not controller.reconcile()


@pytest.mark.parametrize(
    "answer",
    [
        {"InterfaceName": {"SrcName": "vethx-in", "DstPrefix": "\ud800"}},
        {"InterfaceName": {"SrcName": "vethx-in", "DstPrefix": "a/b"}},
        {"InterfaceName": {"SrcName": "vethx-in", "DstPrefix": 20 * "a"}},
        {"InterfaceName": {"SrcName": "../x", "DstPrefix": "net"}},
        {"Gateway": "fe80::1%eth0"},
        {"Gateway": "fd00::1"},
        {"GatewayIPv6": "10.7.0.1"},
        {"StaticRoutes": [{"Destination": "10.8.0.0/16", "RouteType": 0}]},
        {"StaticRoutes": [{"Destination": "10.8.0.0/16", "RouteType": 10**30}]},
        {"Err": 200_000 * "x"},
    ],
)
def test_an_odd_answer_to_join(controller: NetworkController, plugin: Stub, kernel: FakeKernel, answer: Any) -> None:
    """An answer that no sandbox can be made of is a typed error of readable length, and nothing is left half-made."""
    before = everything(controller, kernel)
    plugin.answers["NetworkDriver.Join"] = answer
    with pytest.raises(LibnetworkError) as caught:
        connect(controller)
    assert len(str(caught.value).encode()) < 2000
    assert everything(controller, kernel) == before


def test_an_absurd_version(controller: NetworkController, plugin: Stub) -> None:
    """A content type with a version of 6,000 digits is none of the protocol's, and the answer is read as any other."""
    plugin.content_type = f"application/vnd.docker.plugins.v{6000 * '9'}+json"
    assert controller.create_network("front", "x", subnets=SUBNET).driver == "x"


@pytest.mark.parametrize("method", ["CreateNetwork", "Join"])
def test_a_plugin_that_hangs(controller: NetworkController, plugin: Stub, kernel: FakeKernel, method: str) -> None:
    """A plug-in that does not answer within the limit is given up, and told to take back what it may have done."""
    before = everything(controller, kernel)
    plugin.hang.add(f"NetworkDriver.{method}")
    with pytest.raises(Unavailable, match=r"did not answer within 0\.5 s") as caught:
        connect(controller)
    assert caught.value.code == "plugin_silent"
    assert plugin.calls()[-1] == "DeleteNetwork"
    assert everything(controller, kernel) == before


def test_a_plugin_that_refuses(controller: NetworkController, plugin: Stub, kernel: FakeKernel) -> None:
    """A refusal carries the plug-in's words; where Join is refused, the endpoint is deleted and Leave is not called."""
    before = everything(controller, kernel)
    plugin.answers["NetworkDriver.Join"] = {"Err": "no room"}
    with pytest.raises(Forbidden, match="remote: no room") as caught:
        connect(controller)
    assert (caught.value.code, caught.value.data["remote"]) == ("plugin_refused", "no room")
    assert plugin.calls() == ["CreateNetwork", "CreateEndpoint", "Join", "DeleteEndpoint", "DeleteNetwork"]
    assert everything(controller, kernel) == before


@pytest.mark.parametrize(("answer", "text"), [({"Err": "broken"}, "remote: broken"), ({}, "remote: {}")])
def test_a_status_that_is_none_of_success(controller: NetworkController, plugin: Stub, answer: Any, text: str) -> None:
    """Any other status than 200 is a refusal with the words under ``Err``, else with the body."""
    plugin.answers["NetworkDriver.CreateNetwork"] = answer
    plugin.status["NetworkDriver.CreateNetwork"] = 500
    with pytest.raises(Forbidden, match=text):
        controller.create_network("front", "x", subnets=SUBNET)


def test_an_interface_that_is_not_there(controller: NetworkController, plugin: Stub, kernel: FakeKernel) -> None:
    """Where the interface that it names is not on the host, it is told to leave and to delete."""
    before = everything(controller, kernel)
    plugin.answers["NetworkDriver.Join"] = {"InterfaceName": {"SrcName": "gone", "DstPrefix": "eth"}}
    with pytest.raises(NotFound, match="gone"):
        connect(controller)
    assert plugin.calls()[-3:] == ["Leave", "DeleteEndpoint", "DeleteNetwork"]
    assert everything(controller, kernel) == before


@pytest.mark.parametrize(
    ("answer", "fine"),
    [({}, False), ({"Scope": "fake"}, False), ({"Scope": "local", "ConnectivityScope": "global", "foo": 1}, True)],
)
def test_capabilities(controller: NetworkController, plugin: Stub, answer: dict[str, Any], fine: bool) -> None:
    """A scope must be local or global; what is unknown is ignored."""
    plugin.answers["NetworkDriver.GetCapabilities"] = answer
    if fine:
        assert controller.create_network("front", "x").scope == "local"
    else:
        with pytest.raises(Internal, match="Scope is"):
            controller.create_network("front", "x")
        assert plugin.calls() == []


def test_a_gateway_that_it_does_not_need(controller: NetworkController, plugin: Stub) -> None:
    """A plug-in that checks gateways is asked, and no gateway is taken where it wants none."""
    plugin.answers["NetworkDriver.GetCapabilities"] = {"Scope": "local", "GwAllocChecker": True}
    plugin.answers["NetworkDriver.GwAllocCheck"] = {"SkipIPv4": True}
    assert controller.create_network("front", "x", subnets=SUBNET).gateways == ()


def test_a_plugin_of_another_kind(controller: NetworkController, directory: Path) -> None:
    """A plug-in that is no network driver says so, by name, and is not called further."""
    with serving(directory / "y.sock", "VolumeDriver") as stub:
        with pytest.raises(NotSupported, match="plug-in 'y' is no NetworkDriver: it implements VolumeDriver"):
            controller.create_network("front", "y")
        assert stub.calls() == []


def test_it_hurts_nobody_else(controller: NetworkController, directory: Path, plugin: Stub) -> None:
    """A plug-in that is dead or hangs is listed by name, not asked, and other drivers work."""
    plugin.hang.add("Plugin.Activate")
    (directory / "dead.sock").write_text("")
    names = {each.name for each in controller.info().drivers}
    assert {"x", "bridge"} <= names
    assert controller.create_network("other").driver == "bridge"
    assert plugin.requests == []
    with pytest.raises(NotFound, match="no driver 'typo'"):
        controller.create_network("front", "typo")


def test_a_newer_contract(kernel: FakeKernel) -> None:
    """A driver that was written for a newer version of the contract is refused, by name and before anything is done."""

    class Newer(Driver):
        api_version = 99

    with pytest.raises(NotSupported, match="'newer'"):
        NetworkController.over(MemoryStore(), kernel, config={"drivers": {"newer": Newer()}})


def test_blocked(kernel: FakeKernel, directory: Path, plugin: Stub) -> None:
    """A plug-in that is blocked by configuration is not asked for anything."""
    config = {"plugin_sockets": [directory], "blocked_plugins": {"x"}}
    with (
        NetworkController.over(MemoryStore(), kernel, config=config) as some,
        pytest.raises(Forbidden, match="blocked"),
    ):
        some.create_network("front", "x")
    assert plugin.requests == []


def test_it_is_waited_for(directory: Path, kernel: FakeKernel) -> None:
    """A plug-in whose socket nobody listens to yet is tried again until it does."""
    import socket
    import threading

    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(directory / "x.sock"))
    ready = threading.Event()

    def later() -> None:
        ready.wait(0.2)
        (directory / "x.sock").unlink()
        with serving(directory / "x.sock") as stub:
            stub.answers |= {"NetworkDriver.GetCapabilities": {"Scope": "local"}, "NetworkDriver.CreateNetwork": {}}
            ready.wait(20)

    thread = threading.Thread(target=later)
    thread.start()
    try:
        with NetworkController.over(MemoryStore(), kernel, config={"plugin_sockets": [directory]}) as some:
            assert some.create_network("front", "x").driver == "x"
    finally:
        ready.set()
        thread.join()


def test_after_a_restart(kernel: FakeKernel, directory: Path, plugin: Stub) -> None:
    """Another controller on the same store describes the same, without asking the plug-in, even when that is gone."""
    store = MemoryStore()
    config = {"plugin_sockets": [directory], "plugin_timeout": 0.3}
    first = NetworkController.over(store, kernel, config=config)
    first.create_sandbox("web")
    connect(first)
    plugin.requests.clear()
    (directory / "x.sock").rename(directory / "gone")
    later = NetworkController.over(store, kernel, config=config)
    assert not later.reconcile()
    assert plugin.requests == []
    with pytest.raises(NotFound):
        later.network("front").delete()
    later.network("front").delete(force=True)
    assert later.info().warnings
    (directory / "gone").rename(directory / "x.sock")
