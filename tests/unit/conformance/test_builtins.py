"""Every built-in is held against the contract that strangers hold theirs against."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import entry_points
from typing import ClassVar

import pytest

from libnetwork_py.drivers.api import NetworkDriver
from libnetwork_py.drivers.bridge.driver import BridgeDriver
from libnetwork_py.drivers.host import HostDriver
from libnetwork_py.drivers.null import NullDriver
from libnetwork_py.ipam.api import IpamDriver
from libnetwork_py.ipam.default import DefaultIpam
from libnetwork_py.ipam.null import NullIpam
from libnetwork_py.kernel.api import Kernel
from libnetwork_py.store.api import Store
from libnetwork_py.store.memory import MemoryStore
from libnetwork_py.testing import FakeKernel
from libnetwork_py.testing.driver_suite import DriverContract
from libnetwork_py.testing.ipam_suite import IpamContract
from libnetwork_py.testing.store_suite import StoreContract
from tests.unit.lifecycle.actor import Actor

ELSEWHERE = {"overlay": "its networks are of global scope, which needs a cluster: it has tests of its own"}
"""Drivers that are held against the contract elsewhere, and why."""


class TestBridge(DriverContract):
    @pytest.fixture
    def driver(self) -> NetworkDriver:
        return BridgeDriver()


class TestHost(DriverContract):
    sandboxes = 1

    @pytest.fixture
    def driver(self) -> NetworkDriver:
        return HostDriver()


class TestNull(DriverContract):
    @pytest.fixture
    def driver(self) -> NetworkDriver:
        return NullDriver()


class TestActing(DriverContract):
    """A driver that acts, on the same kernel."""

    @pytest.fixture
    def driver(self, kernel: Kernel) -> NetworkDriver:
        assert isinstance(kernel, FakeKernel)
        return Actor(kernel)


class TestDefaultIpam(IpamContract):
    @pytest.fixture
    def ipam(self) -> IpamDriver:
        return DefaultIpam()


class TestNullIpam(IpamContract):
    addresses: ClassVar[bool] = False

    @pytest.fixture
    def ipam(self) -> IpamDriver:
        return NullIpam()


class TestMemory(StoreContract):
    @pytest.fixture
    def store(self) -> Iterator[Store]:
        store = MemoryStore()
        yield store
        store.close()


def test_no_builtin_is_forgotten() -> None:
    """Every driver and IPAM driver that the package registers is held against its contract, here or where it says."""
    held = {"bridge", "host", "null"}
    ours = {
        each.name for each in entry_points(group="libnetwork_py.drivers") if each.value.startswith("libnetwork_py.")
    }
    assert ours <= held | set(ELSEWHERE)
