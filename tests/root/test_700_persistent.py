"""A state directory: what survives closing, a reboot of the kernel's part, and several processes at once."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from libnetwork_py import NetworkController
from tests.root import machine
from tests.root.api_lab import asks, at, difference, of, picture, pings, python, records, serving, started


@pytest.fixture
def state(host: str, tmp_path: Path) -> Iterator[Path]:
    """A state directory; what its controller made is removed afterwards."""
    directory = tmp_path / "state"
    yield directory
    with NetworkController(directory, host=host) as controller:
        for box in controller.sandboxes():
            box.delete()
        for network in controller.networks():
            network.delete(force=True)


def test_everything_is_there_again(host: str, state: Path) -> None:
    """Closing leaves networks and sandboxes up; a later controller has them again, changes them, and gives nothing out twice."""
    with NetworkController(state, host=host) as first:
        front = first.create_network(
            "front",
            subnets=["10.7.0.0/24", "fd00:7::/64"],
            labels={"a": "b"},
            options={"com.docker.network.bridge.name": "mybr0"},
        )
        box = first.create_sandbox(
            "lasting", extra_hosts={"printer": "192.0.2.9"}, sysctls={"net.ipv4.ip_forward": "1"}
        )
        box.connect(
            front, ports="8080:80", aliases=["www"], sysctls={"net.ipv4.conf.IFNAME.log_martians": "1"}, priority=3
        )
        front.create_endpoint("unjoined", addresses="10.7.0.77", mac="02:00:00:00:00:01")
        first.create_network("config", config_only=True, subnets="10.9.0.0/24")
        first.create_network("none", "null")
        before = picture(first, host, "lasting")
        key = box.key
    assert Path(key).exists()
    with NetworkController(state, host=host) as second:
        assert not difference(before, picture(second, host, "lasting"))
        assert not second.reconcile(repair=False)
        box, front = second.sandbox("lasting"), second.network("front")
        (endpoint,) = box.endpoints()
        assert (endpoint.aliases, front.labels) == (("www",), {"a": "b"})
        with serving(of(box), 80):
            assert asks(at(host), "10.7.0.1", 8080) is not None
        new = front.create_endpoint("new")
        assert str(new.addresses[0]) == "10.7.0.3"
        with pytest.raises(Exception, match="in use"):
            front.create_endpoint("again", addresses="10.7.0.77")
        with pytest.raises(Exception, match="published"):
            second.create_sandbox("other").connect(front, ports="8080:80")
        assert second.create_network("chosen").subnets != front.subnets


def test_what_the_kernel_lost_is_made_again(host: str, state: Path) -> None:
    """As after a reboot: with every namespace, link and rule gone, the next controller makes them again."""
    with NetworkController(state, host=host) as first:
        front = first.create_network("front")
        box = first.create_sandbox("reboot")
        box.connect(front, ports="8080:80")
        before = picture(first, host, "reboot")
        key = box.key
    machine.drop_namespace(key)
    machine.wait_until(lambda: not [name for name in machine.links(host) if name.startswith("veth")], "the links to go")
    machine.ip("link", "del", f"br-{front.id[:12]}", namespace=host)
    machine.run_in(host, ["nft", "flush", "ruleset"])
    with NetworkController(state, host=host) as second:
        assert pings(second.sandbox("reboot"), second.network("front").gateways[0])
        after = picture(second, host, "reboot")
        assert (after.addresses, after.records, after.namespaces) == (
            before.addresses,
            before.records,
            before.namespaces,
        )
        assert not second.reconcile(repair=False)


def test_two_controllers_of_one_process(host: str, state: Path) -> None:
    """Two controllers on one directory see each other's work at once, and give no name, address or port out twice."""
    with NetworkController(state, host=host) as one, NetworkController(state, host=host) as two:
        front = one.create_network("front")
        box = two.create_sandbox("shared")
        endpoint = box.connect(two.network("front"), ports="8080:80")
        assert one.sandbox("shared").endpoints() == [endpoint]
        assert records(one) == records(two)
        with pytest.raises(Exception, match="already exists"):
            one.create_sandbox("shared")
        with pytest.raises(Exception, match="8080"):
            one.create_sandbox("second").connect(front, ports="8080:80")
        assert front.create_endpoint("next").addresses[0] == endpoint.addresses[0] + 1
        two.network("front").delete(force=True)
        assert one.networks() == []
        assert endpoint.state == "deleted"


WORKER = """
import json, sys
from libnetwork_py import NetworkController
state, host, name, count = sys.argv[1:]
made = []
with NetworkController(state, host=host) as controller:
    front = controller.network("front")
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(int(count)):
        box = controller.create_sandbox(f"proc-{name}-{number}")
        endpoint = box.connect(front, ports="0:80")
        if number % 3 == 2:
            box.delete()
        else:
            made.append([box.name, str(endpoint.addresses[0]), endpoint.ports[0].host_port])
print(json.dumps(made), flush=True)
"""


def test_processes_on_one_directory_at_once(host: str, state: Path) -> None:
    """Three processes create and delete on one directory at once: no record is lost, no address or port is given twice."""
    with NetworkController(state, host=host) as controller:
        controller.create_network("front")
        workers = [started(WORKER, state, host, name, 12) for name in "abc"]
        try:
            for worker in workers:
                assert worker.stdout is not None
                assert worker.stdout.readline() == "ready\n"
            results = _finish(workers)
        finally:
            for worker in workers:
                worker.kill()
        names, addresses, ports = zip(*results, strict=True)
        assert len(results) == 24
        assert sorted(names) == sorted(each.name for each in controller.sandboxes())
        assert len(set(addresses)) == len(set(ports)) == 24
        for box in controller.sandboxes():
            assert [str(each.addresses[0]) for each in box.endpoints()] == [
                dict(zip(names, addresses, strict=True))[box.name]
            ]
        assert not controller.reconcile(repair=False)
        assert pings(controller.sandboxes()[0], addresses[-1])


def _finish(workers: Sequence[subprocess.Popen[str]]) -> list[tuple[str, str, int]]:
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    outputs = [worker.communicate(timeout=120) for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * len(workers), outputs
    return [made for out, _ in outputs for made in json.loads(out)]


def test_a_killed_process_loses_nothing_acknowledged(host: str, state: Path) -> None:
    """A process killed at any moment of its work leaves what it had finished, and nothing half made."""
    program = """
import sys
from libnetwork_py import NetworkController
controller = NetworkController(sys.argv[1], host=sys.argv[2])
front = controller.network("front")
number = 0
while True:
    box = controller.create_sandbox(f"kill-{sys.argv[3]}-{number}")
    box.connect(front)
    print(box.name, flush=True)
    number += 1
"""
    with NetworkController(state, host=host) as controller:
        controller.create_network("front")
        acknowledged: list[str] = []
        for attempt in range(3):
            with started(program, state, host, attempt) as process:
                assert process.stdout is not None
                acknowledged += [process.stdout.readline().strip() for _ in range(3 + attempt)]
                process.kill()
                acknowledged += process.stdout.read().split()
        front = controller.create_network("after")
        assert set(acknowledged) <= {each.name for each in controller.sandboxes()}
        assert not controller.reconcile(repair=False)
        for box in controller.sandboxes():
            assert len(box.interfaces()) == 1 + len(box.endpoints())
        assert front.endpoints() == []


def test_the_default_directory(host: str, tmp_path: Path) -> None:
    """A relative path is a directory below the caller's; the directory is for its owner alone."""
    program = """
import os, sys
from libnetwork_py import NetworkController
os.chdir(sys.argv[1])
NetworkController("here", host=sys.argv[2]).close()
"""
    python(program, tmp_path, host)
    assert (tmp_path / "here").stat().st_mode & 0o777 == 0o700
