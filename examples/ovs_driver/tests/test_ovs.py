"""The driver on the real kernel and a real Open vSwitch, in user space."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from libnetwork_ovs.driver import OvsDriver

from libnetwork_py import InvalidParameter, NetworkController, Sandbox
from libnetwork_py.drivers.api import NetworkDriver
from libnetwork_py.kernel.api import Kernel
from libnetwork_py.kernel.linux import LinuxKernel
from libnetwork_py.testing.driver_suite import DriverContract

BAD = [
    ("network", "ovs.vlan", "5000"),
    ("network", "ovs.datapath", "warp"),
    ("endpoint", "ovs.rate", "fast"),
    ("network", "ovs.vlna", "1"),
]


def reaches(one: Sandbox, address: object) -> bool:
    """Whether a ping arrives."""
    return one.run(["ping", "-c", "1", "-W", "1", str(address)], stdout=subprocess.DEVNULL).returncode == 0


def vsctl(*arguments: str) -> list[str]:
    """What `ovs-vsctl` says."""
    return subprocess.run(["ovs-vsctl", *arguments], check=True, capture_output=True, text=True).stdout.split()


def test_it_is_found_by_its_entry_point(controller: NetworkController) -> None:
    """The library knows it by name, with the package that it came with."""
    assert ("ovs", "libnetwork-ovs") in {(each.name, each.distribution) for each in controller.info().drivers}


def test_endpoints_are_ports(controller: NetworkController) -> None:
    """Sandboxes on one VLAN reach each other, those on another do not; every endpoint is a port with its tag."""
    lan = controller.create_network("lan", "ovs", options={"ovs.bridge": "lan0", "ovs.vlan": 10})
    sandboxes = [controller.create_sandbox(f"{lan.id[:6]}-{name}") for name in "abc"]
    endpoints = [each.connect(lan) for each in sandboxes[:2]]
    other = sandboxes[2].connect(lan, options={"ovs.vlan": 20})
    ports = vsctl("list-ports", "lan0")
    assert len(ports) == 3
    assert sorted(vsctl("get", "port", each, "tag")[0] for each in ports) == ["10", "10", "20"]
    assert reaches(sandboxes[0], endpoints[1].addresses[0])
    assert not reaches(sandboxes[0], other.addresses[0])
    assert not controller.reconcile(repair=False)
    other.delete(force=True)
    assert len(vsctl("list-ports", "lan0")) == 2
    lan.delete(force=True)
    assert "lan0" not in vsctl("list-br")
    for each in sandboxes:
        each.delete()


def test_a_rate_limit(controller: NetworkController) -> None:
    """An endpoint with a limit sends a fraction of what one without it sends, and no more than the limit."""
    lan = controller.create_network("lan", "ovs")
    free, slow, sink = (controller.create_sandbox(f"{lan.id[:6]}-{name}") for name in ("free", "slow", "sink"))
    free.connect(lan)
    slow.connect(lan, options={"ovs.rate": 5000})
    target = sink.connect(lan).addresses[0]
    fast, limited = (rate(each, sink, str(target)) for each in (free, slow))
    assert limited < 10_000 < fast / 2


def rate(source: Sandbox, sink: Sandbox, address: str) -> float:
    """What arrives of a second of TCP, in kbit/s."""
    with sink.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.bind((address, 0))
        listener.listen()
        sender = threading.Thread(target=_send, args=(source, listener.getsockname()))
        sender.start()
        taken, received = listener.accept()[0], 0
        with taken:
            start = time.monotonic()
            while time.monotonic() - start < 1 and (data := taken.recv(65536)):
                received += len(data)
        sender.join()
        return received * 8 / 1000


def _send(source: Sandbox, address: tuple[str, int]) -> None:
    with source.socket(socket.AF_INET, socket.SOCK_STREAM) as sending:
        sending.settimeout(2)
        try:
            sending.connect(address)
            while True:
                sending.send(bytes(65536))
        except OSError:
            return


@pytest.mark.parametrize(("where", "key", "value"), BAD)
def test_bad_options(controller: NetworkController, where: str, key: str, value: str) -> None:
    """An unknown option or a bad value is refused before Open vSwitch is asked for anything."""
    before = vsctl("list-br")
    with pytest.raises(InvalidParameter, match=key.partition(".")[0]):
        if where == "network":
            controller.create_network("lan", "ovs", options={key: value})
        else:
            with controller.batch():
                controller.create_sandbox("x").connect(controller.create_network("lan", "ovs"), options={key: value})
    assert vsctl("list-br") == before


def test_what_it_made_goes_when_it_fails(controller: NetworkController, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Open vSwitch fails at a port, bridge and port are removed."""
    monkeypatch.setattr("libnetwork_ovs.ovs.limit", lambda *_: 1 / 0)
    with pytest.raises(Exception, match="libnetwork-ovs"), controller.batch():
        controller.create_sandbox("x").connect(controller.create_network("lan", "ovs"), options={"ovs.rate": 1})
    assert vsctl("list-br") == []
    assert controller.networks() == controller.sandboxes() == []


class TestContract(DriverContract):
    """The library's own contract for drivers, on the real kernel."""

    @pytest.fixture
    def driver(self) -> NetworkDriver:
        return OvsDriver()

    @pytest.fixture
    def kernel(self, host: str, switch: Path) -> Iterator[Kernel]:
        kernel = LinuxKernel(host)
        yield kernel
        kernel.close()
