"""The reference's own exchanges with a plug-in, where they are at hand: what it asks is what we ask."""

from __future__ import annotations

import json
from ipaddress import ip_interface
from pathlib import Path
from typing import Any

import pytest

from libnetwork_py.drivers.remote.driver import RemoteDriver
from libnetwork_py.endpoint import EndpointRecord
from libnetwork_py.ipam.api import PoolRequest
from libnetwork_py.ipam.remote import RemoteIpam
from libnetwork_py.network import NetworkRecord
from libnetwork_py.plugins.client import Plugin
from libnetwork_py.plugins.discovery import Discovery
from libnetwork_py.sandbox import SandboxRecord
from libnetwork_py.types import parse_address, parse_network
from tests.unit.plugins.stub import Stub

UNICAST = "aa:cd:ef:ee:ee:ee"
"""In place of a group address, which no interface takes: the kernel refuses it, so we do before."""
VECTORS = Path(__file__).parents[4] / "shared/vectors"


def vectors(name: str) -> Any:
    """The exchanges of a subsystem."""
    path = VECTORS / name / "exchanges.json"
    if not path.exists():
        pytest.skip("the reference's exchanges are absent")
    return json.loads(path.read_text())


@pytest.fixture
def asked(plugin: Stub, directory: Path) -> Plugin:
    """The stub as a plug-in."""
    plugin.answers = {"Plugin.Activate": plugin.answers["Plugin.Activate"]}
    return Plugin("x", Discovery([directory], []), 2)


def test_a_session_of_the_network_driver(plugin: Stub, asked: Plugin) -> None:
    """Every request of the session is the reference's, but for options that we do not leave out; every answer is understood."""
    steps = {each["method"]: each for each in vectors("remote-driver")["full_session"]}
    steps["CreateEndpoint"]["response"]["Interface"]["MacAddress"] = steps["CreateEndpoint"]["expect_interface"][
        "mac"
    ] = UNICAST
    plugin.answers |= {f"NetworkDriver.{method}": each["response"] for method, each in steps.items()}
    driver = RemoteDriver(asked.subsystem("NetworkDriver"))
    network = NetworkRecord("dummy-network", "n", "x")
    bare = EndpointRecord("dummy-endpoint", "e", "dummy-network")
    assert (driver.capability.scope, driver.gateway_families(network)) == (
        "global",
        (4,) if steps["GwAllocCheck"]["response"]["SkipIPv6"] else (6,),
    )
    driver.create_network(network)
    endpoint = driver.create_endpoint(network, bare)
    expected = steps["CreateEndpoint"]["expect_interface"]
    assert (endpoint.mac, endpoint.addresses) == (
        expected["mac"],
        (ip_interface(expected["address"]), ip_interface(expected["address_ipv6"])),
    )
    joined = driver.join(network, endpoint, SandboxRecord("s", "s", "sandbox-key"))
    assert (joined.prefix, joined.decided["source"]) == tuple(reversed(steps["Join"]["expect"]["names"]))
    assert joined.decided["gateways"].split() == [steps["Join"]["expect"][key] for key in ("gateway", "gateway_ipv6")]
    assert driver.operational(network, endpoint) == steps["EndpointOperInfo"]["response"]["Value"]
    driver.leave(network, endpoint)
    driver.delete_endpoint(network, endpoint)
    driver.delete_network(network)
    for gone in (False, True):
        driver.discover("192.168.1.1", gone=gone)
    for method, body in plugin.requests:
        wanted = steps.get(method.partition(".")[2], {}).get("request")
        for key in set(wanted or {}) - {"Options", "IPv4Data", "IPv6Data"}:
            assert body[key] == wanted[key], (method, key)


@pytest.mark.parametrize("index", range(4))
def test_capabilities(plugin: Stub, asked: Plugin, index: int) -> None:
    """What the reference takes for capabilities is taken, and what it refuses is refused."""
    case = vectors("remote-driver")["capabilities"][index]
    plugin.answers["NetworkDriver.GetCapabilities"] = case["response"]
    driver = RemoteDriver(asked.subsystem("NetworkDriver"))
    if case["ok"]:
        assert (driver.capabilities.scope, driver.capabilities.connectivity) == (
            case["data_scope"],
            case["connectivity_scope"],
        )
    else:
        with pytest.raises(Exception, match="Scope"):
            _ = driver.capabilities


def test_a_session_of_the_ipam_driver(plugin: Stub, asked: Plugin) -> None:
    """Every request of the session is the reference's, and every answer is understood."""
    ipam = RemoteIpam(asked.subsystem("IpamDriver"))
    for step in vectors("ipam-remote")["session"]:
        method, request = step["method"], step.get("request")
        plugin.answers[f"IpamDriver.{method}"] = step["response"]
        plugin.requests.clear()
        if method == "GetDefaultAddressSpaces":
            assert list(ipam.spaces()) == step["expect"]
        elif method == "RequestPool":
            pool, sub = (parse_network(request[key]) if request[key] else None for key in ("Pool", "SubPool"))
            got = ipam.request_pool(PoolRequest(4, subnet=pool, ip_range=sub, options=request["Options"] or {}))
            assert (got.id, str(got.subnet)) == (step["expect"]["pool_id"], step["expect"]["pool"])
        elif method == "RequestAddress":
            wanted = parse_address(request["Address"]) if request["Address"] else None
            assert str(ipam.request_address(request["PoolID"], wanted)) == step["expect"]
        else:
            ipam.release_address(request["PoolID"], parse_address(request["Address"]))
        if request is not None:
            assert plugin.requests[-1][1] == request
