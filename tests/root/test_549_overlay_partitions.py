"""Partitions of the underlay, which is made with this library and cut by its own `partition`: hosts as processes over a real etcd."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from attrs import frozen

from libnetwork_py import NetworkController, Sandbox, experiments
from tests.engines.servers import program
from tests.root import machine
from tests.root.host_process import HostProcess
from tests.root.overlay_lab import etcd

TTL = 2.0


@frozen
class Lab:
    """Three machines on one underlay, the process on each, and the machine of the store."""

    machines: tuple[Sandbox, ...]
    hosts: tuple[HostProcess, ...]
    store: Sandbox


@pytest.fixture
def lab(host: str, tmp_path: Path) -> Iterator[Lab]:
    """All of it, with a network and a sandbox on each host."""
    program("etcd")
    with ExitStack() as stack:
        outer = stack.enter_context(NetworkController.temporary(host=host))
        underlay = outer.create_network("underlay", subnets=["10.99.0.0/24"])
        places = [outer.create_sandbox(f"cut-{name}") for name in ("store", "one", "two", "three")]
        store, *machines = places
        with outer.batch():
            addresses = [place.connect(underlay) for place in places]
        address = str(addresses[0].addresses[0])
        (tmp_path / "etcd").mkdir()
        stack.enter_context(etcd(store.key, address, tmp_path / "etcd"))
        hosts: list[HostProcess] = []
        for each in machines:
            made = HostProcess(each.key, tmp_path / each.name, f"etcd://{address}:2379?timeout=2", lease_ttl=TTL)
            stack.callback(made.end)
            hosts.append(made)
        yield Lab(tuple(machines), tuple(hosts), store)


def until(condition: Callable[[], object], what: str) -> None:
    """Wait for it."""
    machine.wait_until(condition, what, 30)


def once(host: HostProcess, sandbox: str, address: str) -> bool:
    """Whether one single ping is answered."""
    return bool(host.do("run", sandbox, ["ping", "-c1", "-W5", address])[0] == 0)


def owned(lab: Lab) -> list[str]:
    """Every address that a host has a joined endpoint with."""
    return sorted(address for host in lab.hosts for address in host.do("addresses"))


def nothing_left_over(lab: Lab) -> None:
    """Every host has what it should have and no more, and no address has two owners."""
    for host in lab.hosts:
        until(lambda host=host: "as described" in host.do("reconcile"), "a host as described")  # type: ignore[misc]
    assert len(owned(lab)) == len(set(owned(lab)))


def test_hosts_that_do_not_reach_each_other_but_the_store(lab: Lab) -> None:
    """Packets between the two are lost and all else goes on, connects included; healed, the first packet arrives and nothing is lost."""
    one, two, three = lab.hosts
    one.do("create_network", "net", {"subnets": ["10.7.0.0/24"], "internal": True})
    web = one.do("connect", "cut-web", "net", {})[0]
    near = one.do("connect", "cut-near", "net", {})[0]
    api = two.do("connect", "cut-api", "net", {})[0]
    third = three.do("connect", "cut-db", "net", {})[0]
    assert one.do("reaches", "cut-web", api)
    experiments.partition([lab.machines[0]], [lab.machines[1]])
    assert not one.do("reaches", "cut-web", api, 0)
    assert once(one, "cut-web", near)
    assert three.do("reaches", "cut-db", web)
    assert three.do("reaches", "cut-db", api)
    late = [each.do("connect", f"cut-late{number}", "net", {})[0] for number, each in enumerate((one, two))]
    two.do("delete_sandbox", "cut-api")
    assert three.do("reaches", "cut-db", late[0])
    assert three.do("reaches", "cut-db", late[1])
    experiments.heal(*lab.machines[:2])
    assert once(one, "cut-web", late[1])
    assert once(two, "cut-late1", late[0])
    assert not one.do("reaches", "cut-web", api, 0)
    assert owned(lab) == sorted([web, near, third, *late])
    nothing_left_over(lab)


def test_a_host_cut_off_from_store_and_peers(lab: Lab) -> None:
    """It goes on by itself; after its lease, not before, its address is another's; healed, it keeps the rest, which is reached again."""
    one, two, three = lab.hosts
    one.do("create_network", "net", {"subnets": ["10.7.0.0/24"], "internal": True})
    web, near = (one.do("connect", f"cut-{name}", "net", {})[0] for name in ("web", "near"))
    one.do("connect", "cut-gone", "net", {})
    api = two.do("connect", "cut-api", "net", {})[0]
    third = three.do("connect", "cut-db", "net", {})[0]
    assert two.do("reaches", "cut-api", near)
    experiments.partition([lab.machines[0]], [*lab.machines[1:], lab.store])
    assert not two.do("reaches", "cut-api", web, 0)
    with pytest.raises(AssertionError, match=r"in use|another host"):
        two.do("connect", "cut-early", "net", {"addresses": [web]})
    two.do("delete_sandbox", "cut-early")
    assert once(one, "cut-web", near)
    with pytest.raises(AssertionError, match="etcd"):
        one.do("connect", "cut-never", "net", {})
    one.do("delete_sandbox", "cut-never")
    one.do("delete_sandbox", "cut-gone")
    assert once(three, "cut-db", api)
    until(lambda: _takes(two, web), "the end of the cut-off host's lease")
    assert three.do("reaches", "cut-db", web)
    assert once(one, "cut-near", web), "on its own side the old owner still answers"
    experiments.heal(*lab.machines, lab.store)
    until(lambda: web not in one.do("addresses"), "the returned host to give up what another has got")
    assert one.do("reaches", "cut-near", web), "the new owner"
    assert one.do("reaches", "cut-near", api)
    assert two.do("reaches", "cut-api", near)
    assert owned(lab) == sorted([near, api, third, web])
    nothing_left_over(lab)


def _takes(host: HostProcess, address: str) -> bool:
    try:
        return bool(host.do("connect", "cut-heir", "net", {"addresses": [address]}))
    except AssertionError:
        host.do("delete_sandbox", "cut-heir")
        return False
