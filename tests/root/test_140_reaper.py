"""A process that stays in a deleted sandbox keeps nothing of it on the network."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator

import pytest

from libnetwork_py import NetworkController, Sandbox
from libnetwork_py.errors import Unavailable
from libnetwork_py.kernel.reaper import STALL
from tests.root import machine
from tests.root.api_lab import failing_disk


@pytest.fixture
def controller(host: str) -> Iterator[NetworkController]:
    """A temporary controller over a host of its own."""
    with NetworkController.temporary(host=host) as opened:
        yield opened


@pytest.fixture
def stayed(controller: NetworkController) -> Iterator[subprocess.Popen[bytes]]:
    """A process inside a sandbox that is deleted while it runs."""
    network = controller.create_network("front")
    sandbox: Sandbox = controller.create_sandbox("stays")
    sandbox.connect(network)
    process = sandbox.popen(["sleep", "60"])
    sandbox.delete()
    yield process
    process.kill()
    process.wait()


def veths(host: str) -> list[str]:
    """The outer ends in the host's namespace."""
    return [name for name in machine.links(host) if name.startswith("veth")]


def test_the_interface_goes_although_a_process_keeps_the_namespace(host: str, stayed: subprocess.Popen[bytes]) -> None:
    """The outer end of the pair is deleted soon after the sandbox, with the process still running."""
    machine.wait_until(lambda: not veths(host), "the outer end to go")
    assert stayed.poll() is None


def test_closing_waits_for_it(host: str) -> None:
    """When a temporary controller has closed, nothing of it is left, whoever is still inside."""
    with NetworkController.temporary(host=host) as controller:
        sandbox = controller.create_sandbox("stays")
        sandbox.connect(controller.create_network("front"))
        process = sandbox.popen(["sleep", "60"])
    try:
        assert list(machine.links(host)) == ["lo"]
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("how", ["moved", "taken back"])
def test_a_link_that_is_made_anew_stays(host: str, controller: NetworkController, how: str) -> None:
    """An endpoint that leaves a sandbox for another while the first is deleted keeps its new interface; so does one whose sandbox stays."""
    network = controller.create_network("front")
    first, second = controller.create_sandbox("stays-first"), controller.create_sandbox("stays-second")
    endpoint = first.connect(network)
    with first.popen(["sleep", "60"]) as process:
        try:
            if how == "moved":
                with controller.batch():
                    endpoint.leave()
                    first.delete()
                    endpoint.join(second)
            else:
                with pytest.raises(Unavailable), failing_disk():
                    first.delete()
            time.sleep(3 * STALL)
            assert not controller.reconcile(repair=False)
            assert len(veths(host)) == 1
        finally:
            process.kill()
