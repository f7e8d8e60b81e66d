"""A plug-in named ``x``, a controller that looks for it, and the kernel below."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from libnetwork_py import NetworkController
from libnetwork_py.desired import HOST, Veth
from libnetwork_py.store.memory import MemoryStore
from libnetwork_py.testing import FakeKernel
from libnetwork_py.types import MacAddress
from tests.unit.plugins.stub import Stub, serving

PAIR = Veth(HOST, "vethx", HOST, "vethx-in", MacAddress("02:00:00:00:00:09"))


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where plug-ins' sockets are."""
    (tmp_path / "plugins").mkdir()
    return tmp_path / "plugins"


@pytest.fixture
def kernel() -> FakeKernel:
    """A kernel that has the interface which the plug-in will name."""
    kernel = FakeKernel()
    kernel.disturb(make=[PAIR])
    return kernel


@pytest.fixture
def plugin(directory: Path) -> Iterator[Stub]:
    """A plug-in that does as it is asked."""
    with serving(directory / "x.sock") as stub:
        for method in ("CreateNetwork", "DeleteNetwork", "DeleteEndpoint", "Leave"):
            stub.answers[f"NetworkDriver.{method}"] = {}
        stub.answers["NetworkDriver.GetCapabilities"] = {"Scope": "local"}
        stub.answers["NetworkDriver.CreateEndpoint"] = {"Interface": {"MacAddress": "02:42:00:00:00:07"}}
        stub.answers["NetworkDriver.Join"] = {
            "InterfaceName": {"SrcName": "vethx-in", "DstPrefix": "net"},
            "Gateway": "10.7.0.1",
            "StaticRoutes": [
                {"Destination": "10.8.0.0/16", "RouteType": 0, "NextHop": "10.7.0.9"},
                {"Destination": "10.9.0.0/16", "RouteType": 1, "NextHop": ""},
            ],
        }
        yield stub


@pytest.fixture
def controller(kernel: FakeKernel, directory: Path) -> Iterator[NetworkController]:
    """A controller that gives a plug-in half a second."""
    config = {"plugin_sockets": [directory], "plugin_specs": [directory / "specs"], "plugin_timeout": 0.5}
    with NetworkController.over(MemoryStore(), kernel, config=config) as some:
        some.create_sandbox("web")
        yield some
