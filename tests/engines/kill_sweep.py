"""Kills a host's process at every commit, of its own records or of the cluster's, and has the next start put things right.

``python -m tests.engines.kill_sweep URL DIRECTORY`` prints a JSON line for each point: operation, number, what was found wrong.
Every process is forked from this one, which has no threads; the fake kernel dies with its process, so what is compared is the records
with the cluster, and the kernel that the next start makes with both.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from libnetwork_py import NetworkController
from libnetwork_py.errors import LibnetworkError
from libnetwork_py.lifecycle.following import Following
from libnetwork_py.lifecycle.mirror import address_key, endpoint_key
from libnetwork_py.store import sqlite
from libnetwork_py.store.sqlite import SqliteStore
from libnetwork_py.testing import FakeKernel
from tests.cluster_lab import install, until

NOT_REACHED = 0
KILLED = 9


def prepare(controller: NetworkController) -> None:
    """Make what the operations work on."""
    controller.create_sandbox("a")
    controller.create_sandbox("b").connect(controller.create_network("front", "mesh"))


OPERATIONS: Mapping[str, Callable[[NetworkController], object]] = {
    "create network": lambda each: each.create_network("more", "mesh"),
    "connect": lambda each: each.sandbox("a").connect(each.network("front")),
    "disconnect": lambda each: each.sandbox("b").disconnect(each.network("front")),
    "delete network": lambda each: each.network("front").delete(force=True),
}


def opened(url: str, directory: Path) -> NetworkController:
    """Open the host's controller."""
    config = {"advertise": "192.0.2.1", "lease_ttl": 60.0}
    return NetworkController.over(SqliteStore(directory), FakeKernel(), cluster=url, config=config)


def die_at(number: int, controller: NetworkController) -> None:
    """End the process at the so manieth commit, before or after it."""
    left = [number]

    def point(_: str) -> None:
        left[0] -= 1
        if not left[0]:
            os._exit(KILLED)

    assert controller._cluster is not None
    store: Any = controller._cluster._membership._store
    commit = store.commit

    def committing(*arguments: object, **options: object) -> int:
        point("before")
        revision = commit(*arguments, **options)
        point("after")
        return int(revision)

    store.commit = committing
    sqlite.checkpoint = point


def faults(controller: NetworkController) -> list[str]:
    """Return where records, cluster and kernel disagree, when everything has had its time."""
    state = controller._engine.state
    cluster = controller._cluster
    assert cluster is not None

    def wrong() -> list[str]:
        found = {item.key for item in cluster._membership.call(lambda store: store.items()).items}
        wanted = {f"host/{cluster.host}", "pools"}
        for network in state.networks.values():
            wanted |= {f"network/{network.name}", *(f"vni/{number}" for number in network.vnis)}
        following: Following = cluster._following
        for endpoint, network in following.own():
            wanted.add(endpoint_key(network.id, endpoint.name))
            wanted |= {address_key(network.ipam, each.ip) for each in endpoint.addresses}
        return sorted(found ^ wanted)

    with suppress(AssertionError):
        until(lambda: not wrong(), 5)
    report = controller.reconcile(repair=False)
    # what a dead process had begun in its kernel cannot be undone in the new one: the fake kernel died with it
    warnings = [each for each in controller.info().warnings if not each.startswith("recover:")]
    return [*wrong(), *(str(each) for each in report.findings), *warnings]


def child(body: Callable[[], int]) -> int:
    """Run a body in a process of its own; return its exit status."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            status = body()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def sweep(url: str, directory: Path) -> None:
    """Kill at every point of every operation."""
    for name, operate in OPERATIONS.items():
        for number in range(1, 60):
            place = directory / f"{name.replace(' ', '-')}-{number}"
            place.mkdir(mode=0o700)
            where = f"{url}/{place.name}"

            def die(operate: Any = operate, number: int = number, where: str = where, place: Path = place) -> int:
                controller = opened(where, place)
                prepare(controller)
                die_at(number, controller)
                operate(controller)
                return NOT_REACHED

            def look(where: str = where, place: Path = place, name: str = name, number: int = number) -> int:
                controller = opened(where, place)
                found = faults(controller)
                with suppress(LibnetworkError):
                    controller.create_sandbox("after").connect(controller.network("front"))
                print(json.dumps([name, number, found]), flush=True)
                return 0

            status = child(die)
            if status == NOT_REACHED:
                break
            if status != KILLED or child(look) != 0:
                print(json.dumps([name, number, [f"the process ended with {status}"]]), flush=True)


if __name__ == "__main__":
    with pytest.MonkeyPatch.context() as patch:
        install(patch)
        sweep(sys.argv[1], Path(sys.argv[2]))
