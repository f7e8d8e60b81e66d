"""Whoever calls: a coroutine, many threads, a forked child; nobody's event loop, signal handling or import is disturbed."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from libnetwork_py import Conflict, NetworkController
from tests.root import machine
from tests.root.api_lab import pings, python


def test_in_a_running_event_loop(host: str) -> None:
    """Every call works directly in a coroutine, whose other tasks run on, and through `asyncio.to_thread`."""
    ticks: list[int] = []

    async def tick() -> None:
        while True:
            ticks.append(1)
            await asyncio.sleep(0.001)

    async def main() -> None:
        ticker = asyncio.create_task(tick())
        with NetworkController.temporary(host=host) as controller:
            front = controller.create_network("front")
            boxes = [controller.create_sandbox(f"loop{number}") for number in range(2)]
            with controller.batch():
                endpoints = [box.connect(front) for box in boxes]
            assert (
                boxes[0]
                .run(["ping", "-c1", "-W5", str(endpoints[1].addresses[0])], capture_output=True, timeout=120)
                .returncode
                == 0
            )
            made = await asyncio.gather(
                *(asyncio.to_thread(controller.create_network, f"net{number}") for number in range(4))
            )
            assert len({each.subnets for each in made}) == 4
            assert not controller.reconcile()
            await asyncio.sleep(0.01)
        ticker.cancel()

    asyncio.run(main())
    assert len(ticks) > 3


def test_many_threads(controller: NetworkController) -> None:
    """Threads that create, join, publish, leave and delete at once lose nothing and get nothing twice."""
    front, back = controller.create_network("front"), controller.create_network("back")

    def work(number: int) -> tuple[str, ...]:
        box = controller.create_sandbox(f"thread{number}")
        endpoint = box.connect(front, ports="0:80")
        box.connect(back)
        endpoint.publish("0:81")
        box.disconnect(back)
        if number % 4 == 0:
            box.delete()
            return ()
        return (str(endpoint.addresses[0]), *(str(each.host_port) for each in endpoint.ports))

    with ThreadPoolExecutor(8) as pool:
        results = [each for each in pool.map(work, range(24)) if each]
    addresses, ports = [each[0] for each in results], [port for each in results for port in each[1:]]
    assert (len(set(addresses)), len(set(ports)), len(controller.sandboxes())) == (18, 36, 18)
    assert back.endpoints() == []
    assert not controller.reconcile(repair=False)
    assert pings(controller.sandboxes()[0], addresses[-1])


def test_threads_race_for_one_name(controller: NetworkController) -> None:
    """Of many threads that create one name exactly one succeeds; the others are told that it is taken."""
    outcomes: list[str] = []

    def work() -> None:
        try:
            controller.create_sandbox("one-name")
            outcomes.append("made")
        except Conflict as error:
            outcomes.append(error.code)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert sorted(outcomes) == ["made"] + ["name_taken"] * 7


def in_child(work: Callable[[], object]) -> None:
    """Run a function in a forked child; its error fails the test."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os.write(writer, b"done")
        except BaseException as error:  # noqa: BLE001 (the child must not go on with the test)
            os.write(writer, f"{type(error).__name__}: {error}".encode()[:4000])
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        said = pipe.read()
    os.waitpid(pid, 0)
    assert said == b"done", said.decode()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_after_fork(controller: NetworkController, host: str) -> None:
    """A forked child can use its parent's controller; the parent sees what it made; its end takes nothing away."""
    front = controller.create_network("front")
    box = controller.create_sandbox("parents")
    address = box.connect(front, ports="8080:80").addresses[0]

    def child() -> None:
        other = controller.create_sandbox("childs")
        assert other.connect(front, ports="8081:80").addresses[0] == address + 1
        assert other.run(["ping", "-c1", "-W5", str(address)], capture_output=True, timeout=120).returncode == 0
        assert sorted(each.name for each in other.interfaces()) == ["eth0", "lo"]
        with pytest.raises(Conflict):
            other.endpoints()[0].publish("8080:81")
        controller.close()

    in_child(child)
    assert [each.name for each in controller.sandboxes()] == ["childs", "parents"]
    assert controller.create_sandbox("after").connect(front).addresses[0] == address + 2
    assert pings(box, address + 1)
    assert not controller.reconcile(repair=False)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_fork_in_a_batch(controller: NetworkController) -> None:
    """A child forked inside a batch is in no batch and sees nothing of it; the parent's goes on and is made once."""

    def child() -> None:
        assert [each.name for each in controller.networks()] == ["before"]

    controller.create_network("before")
    with controller.batch():
        front = controller.create_network("front")
        in_child(child)
        box = controller.create_sandbox("batch-fork")
        box.connect(front)
    assert pings(box, front.gateways[0])
    assert not controller.reconcile(repair=False)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_fork_while_other_threads_work(controller: NetworkController) -> None:
    """A child forked while another thread is in the middle of an operation can use the controller all the same."""
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            controller.create_sandbox("churn").delete()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        for number in range(4):
            in_child(lambda number=number: controller.create_network(f"forked{number}"))  # type: ignore[misc]
    finally:
        stop.set()
        thread.join(120)
    assert [each.name for each in controller.networks()] == [f"forked{number}" for number in range(4)]
    assert not controller.reconcile(repair=False)


def test_the_interpreter_ends_by_itself(host: str) -> None:
    """A program that does not close its controller ends all the same, without a word; what it made goes with the next start."""
    program = """
import sys
from libnetwork_py import NetworkController
controller = NetworkController.temporary(host=sys.argv[1])
box = controller.create_sandbox("unclosed")
box.connect(controller.create_network("front"))
"""
    done = python(program, host)
    assert (done.stdout, done.stderr) == ("", "")
    NetworkController.temporary(host=host).close()
    machine.wait_until(lambda: set(machine.links(host)) == {"lo"}, "its links to go")
