"""Both ways at once: a controller uses, as a plug-in, a driver that another process's server offers, on the real kernel."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from libnetwork_py import NetworkController
from tests.plugin_process import Server
from tests.root import machine


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where plug-ins' sockets are."""
    (tmp_path / "plugins").mkdir(mode=0o700)
    return tmp_path / "plugins"


@pytest.fixture
def server(directory: Path, host: str) -> Iterator[Server]:
    """A server that offers the bridge driver and the default IPAM as the plug-in ``x``."""
    server = Server(directory / "x.sock", directory.parent / "server", host)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def controller(directory: Path, host: str) -> Iterator[NetworkController]:
    """A controller on the same host that looks for plug-ins there."""
    config = {"plugin_sockets": [directory], "plugin_timeout": 10}
    with NetworkController.temporary(host=host, config=config) as some:
        yield some


def reaches(controller: NetworkController, one: str, other: str) -> bool:
    """Whether a ping arrives."""
    (endpoint,) = controller.sandbox(other).endpoints()
    argv = ["ping", "-c", "1", "-W", "2", str(endpoint.addresses[0])]
    return controller.sandbox(one).run(argv, stdout=subprocess.DEVNULL).returncode == 0


def test_a_plugin_all_the_way(controller: NetworkController, server: Server, host: str) -> None:
    """Sandboxes on a plug-in's network reach each other, also across a restart and a crash of its server; nothing is left at the end."""
    before = set(machine.links(host))
    network = controller.create_network("front", "x", ipam="x", options={"com.docker.network.bridge.name": "br-plug"})
    names = [f"{network.id[:6]}-{name}" for name in "abc"]
    for name in names[:2]:
        controller.create_sandbox(name).connect(network, ports=["0:80"])
    assert reaches(controller, names[0], names[1])
    server.stop()
    assert reaches(controller, names[0], names[1])
    server.start()
    server.stop(hard=True)
    server.start()
    controller.create_sandbox(names[2]).connect(network)
    assert reaches(controller, names[2], names[0])
    assert not controller.reconcile(repair=False)
    for name in names:
        controller.sandbox(name).delete()
    network.delete()
    machine.wait_until(lambda: set(machine.links(host)) == before, "the end of the network's interfaces")


def test_a_server_that_dies_in_the_middle(controller: NetworkController, server: Server, host: str) -> None:
    """Where the plug-in is gone, the next connection fails by name and leaves nothing; when it is back, it succeeds."""
    network = controller.create_network("front", "x", ipam="x")
    before = set(machine.links(host))
    server.stop(hard=True)
    start = time.monotonic()
    with pytest.raises(Exception, match="'x'"):
        controller.create_sandbox("lost").connect(network)
    assert time.monotonic() - start < 60
    assert set(machine.links(host)) == before
    server.start()
    controller.sandbox("lost").connect(network)
    controller.sandbox("lost").delete()
    network.delete()
