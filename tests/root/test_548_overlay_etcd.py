"""Hosts as processes over a real etcd: one killed, one cut off from the store, one that comes back."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from attrs import frozen

from tests.engines.servers import Server, program
from tests.root import machine, overlay_lab, world
from tests.root.host_process import HostProcess
from tests.root.overlay_lab import Lab, etcd

TTL = 2.0


@frozen
class Cluster:
    """Three hosts and their store."""

    lab: Lab
    store: Server
    hosts: tuple[HostProcess, ...]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Three hosts of a cluster."""
    program("etcd")
    with ExitStack() as stack:
        lab = stack.enter_context(overlay_lab.lab(3))
        (tmp_path / "etcd").mkdir()
        machine.run_in(lab.underlay, ["ip", "addr", "add", "10.99.0.254/24", "dev", "br0"])
        # an ordinary user's hosts reach it from where their processes are
        where = (lab.underlay, "10.99.0.254") if world.ROOT else ("", "127.0.0.1")
        store = stack.enter_context(etcd(*where, tmp_path / "etcd"))
        hosts: list[HostProcess] = []
        for host in lab.hosts:
            url = f"etcd://{store.address}"
            told = {} if world.ROOT else {"advertise": str(host.vtep)}
            made = HostProcess(host.path, tmp_path / f"host{host.number}", url, lease_ttl=TTL, **told)
            stack.callback(made.end)
            hosts.append(made)
        yield Cluster(lab, store, tuple(hosts))


def until(condition: object, what: str, seconds: float = 20) -> None:
    """Wait for it."""
    machine.wait_until(condition, what, seconds)  # type: ignore[arg-type]


def test_three_hosts_one_killed_one_cut_off(cluster: Cluster) -> None:
    """What a cluster lives through: a killed host's packets go on, its address is free after its lease, a lost store stops no packet."""
    one, two, three = cluster.hosts
    one.do("create_network", "net", {"subnets": ["10.7.0.0/24"]})
    web = one.do("connect", "ov-web", "net", {})[0]
    api = two.do("connect", "ov-api", "net", {})[0]
    three.do("connect", "ov-db", "net", {})
    assert one.do("reaches", "ov-web", api)
    assert three.do("reaches", "ov-db", api)
    assert three.do("reaches", "ov-db", web)

    # a host is killed: its sandboxes go on talking until its lease is over
    two.kill()
    assert one.do("reaches", "ov-web", api, 0)
    killed = time.monotonic()
    taken = ""
    with suppress(AssertionError):
        taken = three.do("connect", "ov-early", "net", {"addresses": [api]})[0]
    assert not taken, "the address was given away before the lease was over"
    assert time.monotonic() - killed < 2 * TTL
    until(lambda: not one.do("reaches", "ov-web", api, 0), "the end of the killed host's lease")
    until(lambda: _connected(three, "ov-new", api), "the address to be free")
    assert one.do("reaches", "ov-web", api)

    # the host comes back: what it had is another's
    two.start()
    until(lambda: api not in _addresses(two), "the returned host to learn that it has lost its endpoint")
    assert one.do("reaches", "ov-web", api)
    again = two.do("connect", "ov-again", "net", {})[0]
    assert one.do("reaches", "ov-web", again)
    until(lambda: "as described" in two.do("reconcile"), "nothing left over on the returned host")

    # the store is away: packets go on, and what needs it says so
    cluster.store.signal(signal.SIGSTOP)
    assert one.do("reaches", "ov-web", again, 0)
    with pytest.raises(AssertionError, match="etcd"):
        one.do("connect", "ov-late", "net", {})
    cluster.store.signal(signal.SIGCONT)
    until(lambda: _connected(one, "ov-after", ""), "the store to be back")
    assert two.do("reaches", "ov-again", web)


def _connected(host: HostProcess, name: str, address: str) -> bool:
    try:
        return bool(host.do("connect", name, "net", {"addresses": [address] if address else []}))
    except AssertionError:
        with suppress(AssertionError):
            host.do("delete_sandbox", name)
        return False


def _addresses(host: HostProcess) -> list[str]:
    return [str(each) for each in host.do("addresses")]
