"""Kills a host's process at every point of what it does with overlay networks, on the real kernel; the next start puts it right.

``python -m tests.root.overlay_sweep HOST URL DIRECTORY TAG`` prints a JSON line for each start after a kill and waits for a line in return.
A point is a checkpoint of the kernel layer, or the instant before and after a commit to the host's records or to the cluster's store.
Every controller is a forked child's; this process has no threads, and nothing of its own in the cluster.
"""

from __future__ import annotations

import json
import os
import re
import sys
import threading
import time
import traceback
from collections.abc import Callable
from importlib import import_module
from typing import Any, TypeAlias

from attrs import frozen

from libnetwork_py import NetworkController
from libnetwork_py.lifecycle.mirror import address_key, endpoint_key
from tests.root.crash_lab import Points, die, seen, told
from tests.root.machine import NAMESPACES, run_in, wait_until

LAST = 1000
Doing: TypeAlias = "Callable[[Lab], object]"


class Lab:
    """A controller, with names of sandboxes that nobody else on this machine has."""

    def __init__(self, controller: NetworkController, tag: str) -> None:
        self.controller, self.tag = controller, tag

    def network(self, name: str, **options: Any) -> Any:
        """Create an overlay network."""
        options.setdefault("internal", True)
        return self.controller.create_network(name, "overlay", **options)

    def connect(self, sandbox: str, network: str, **options: Any) -> Any:
        """Connect a sandbox of its own to a network."""
        made = self.controller.create_sandbox(f"{self.tag}-{sandbox}")
        return made.connect(self.controller.network(network), name=sandbox, **options)

    def endpoint(self) -> Any:
        """The endpoint that is never deleted."""
        return self.controller.network("net").endpoint("idle")

    def sandbox(self, name: str) -> Any:
        """A sandbox."""
        return self.controller.sandbox(f"{self.tag}-{name}")


def _wide(lab: Lab) -> None:
    lab.network("wide", internal=False, subnets=["10.80.0.0/24"])
    lab.controller.create_sandbox(f"{lab.tag}-out")


def _inwards(lab: Lab) -> None:
    lab.sandbox("out").disconnect(lab.controller.network("wide"))
    lab.controller.network("docker_gwbridge").delete()


def _doomed(lab: Lab) -> None:
    lab.network("doomed", subnets=["10.78.0.0/24"])
    lab.connect("victim", "doomed")


def _doomed_again(lab: Lab) -> None:
    lab.sandbox("victim").delete()
    _doomed(lab)


@frozen
class Operation:
    """What is done, and what makes it undone; ``prepare`` comes once before."""

    operate: Doing
    back: Doing
    prepare: Doing = lambda _: None


OPERATIONS: dict[str, Operation] = {
    "create network": Operation(
        lambda lab: lab.network("more", subnets=["10.79.0.0/24"]), lambda lab: lab.controller.network("more").delete()
    ),
    "join": Operation(lambda lab: lab.endpoint().join(lab.sandbox("idle")), lambda lab: lab.endpoint().leave()),
    "connect with a way out and a port": Operation(
        lambda lab: lab.sandbox("out").connect(lab.controller.network("wide"), name="out", ports=["18080:80"]),
        _inwards,
        _wide,
    ),
    "leave": Operation(
        lambda lab: lab.endpoint().leave(),
        lambda lab: lab.endpoint().join(lab.sandbox("idle")),
        lambda lab: lab.endpoint().join(lab.sandbox("idle")),
    ),
    "delete network by force": Operation(
        lambda lab: lab.controller.network("doomed").delete(force=True),
        _doomed_again,
        _doomed,
    ),
}


THOROUGH = "SWEEP_ALL" in os.environ
if not THOROUGH:
    del OPERATIONS["connect with a way out and a port"]  # half of all points; its parts are another sweep's too


class Sweep:
    """The host that dies."""

    def __init__(self, host: str, url: str, directory: str, tag: str) -> None:
        self.host, self.url, self.directory, self.tag = host, url, directory, tag

    def opened(self) -> Lab:
        """Open a controller over the host's records: it recovers, and mends nothing beyond."""
        config = {"lease_ttl": 60.0, "repair_on_open": False}
        controller = NetworkController(self.directory, host=self.host, cluster=self.url, config=config)
        return Lab(controller, self.tag)

    def child(self, body: Callable[[Lab], object], point: int = 0) -> tuple[int, str]:
        """Run a body in a process of its own, which dies at a point, from 1, or when it is done; return its status and what it said."""
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reader)
            self._run(body, point, writer)
        os.close(writer)
        with open(reader, encoding="utf-8") as pipe:  # noqa: PTH123 (a descriptor)
            said = pipe.read()
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), said

    def _run(self, body: Callable[[Lab], object], point: int, pipe: int) -> None:
        status = 1
        try:
            lab = self.opened()
            if point:
                points = _Own(point, die, lambda label: os.write(pipe, f"{label}\n".encode()))
                _commits(lab.controller, points)
                with points.armed():
                    body(lab)
            else:
                os.write(pipe, json.dumps(body(lab)).encode())
            status = 0
        except BaseException:  # noqa: BLE001 (nobody else would see it)
            traceback.print_exc()
        finally:
            os._exit(status)

    def look(self, lab: Lab) -> dict[str, Any]:
        """Return what is told, seen and in the cluster, when everything has had its time, and whether records, cluster and kernel agree."""
        wrong: list[str] = []

        def agree() -> bool:
            wrong[:] = [*_differences(lab.controller), *map(str, lab.controller.reconcile(repair=False).findings)]
            return not wrong

        try:
            wait_until(agree, "records, cluster and kernel to agree", 10)
        except AssertionError as error:
            wrong.append(str(error))
        return {"told": told(lab.controller, self.tag), "seen": self.seen(lab.controller), "wrong": wrong}

    def seen(self, controller: NetworkController) -> dict[str, Any]:
        """What witnesses see, the namespaces of networks included."""
        names = {each.id[:12]: each.name for each in controller.networks()}
        mark = controller.info().id[:8]
        inside = {}
        for path in NAMESPACES.glob(f"ov-*-{mark}"):
            name = names.get(path.name.split("-")[1], path.name)
            inside[f"network {name}"] = _inside(str(path))
        return seen(self.host, self.tag) | inside


class _Own(Points):
    """The points of the operation, not of the thread that follows the cluster meanwhile."""

    def __call__(self, label: str) -> None:
        if threading.current_thread().name != "libnetwork_py cluster":
            super().__call__(label)


def _inside(path: str) -> dict[str, Any]:
    try:
        said = run_in(path, ["sh", "-c", "bridge fdb; ip neigh; ip -o link"]).stdout
    except AssertionError as error:  # a name without a namespace
        return {"broken": str(error)}
    told = [line for line in said.splitlines() if " dst " in line or "lladdr" in line]
    links = [
        re.sub(r"veth[0-9a-f]{11}", "veth", line.split()[1].partition("@")[0])
        for line in said.splitlines()
        if "mtu" in line
    ]
    return {"peers": sorted(told), "links": sorted(links)}


def _commits(controller: NetworkController, points: Points) -> None:
    """Make the instants before and after a commit to the cluster points too."""
    assert controller._cluster is not None
    store: Any = controller._cluster._membership._store
    commit = store.commit

    def committing(*arguments: object, **options: object) -> int:
        points("before cluster commit")
        revision = commit(*arguments, **options)
        points("after cluster commit")
        return int(revision)

    store.commit = committing


def _differences(controller: NetworkController) -> list[str]:
    """Return the cluster's keys of this host that the records do not stand for, and those that are lacking."""
    cluster, state = controller._cluster, controller._engine.state
    assert cluster is not None
    items = cluster._membership.call(lambda store: store.items()).items
    ours = {
        item.key for item in items if cluster.mirror.owner(item.key) == cluster.host or item.key.startswith("fence/")
    }
    wanted: set[str] = set()
    for endpoint, network in cluster._following.own():
        wanted.add(endpoint_key(network.id, endpoint.name))
        wanted |= {address_key(network.ipam, each.ip) for each in endpoint.addresses}
    shared = {item.key for item in items if item.key.startswith(("network/", "vni/"))}
    for each in state.networks.values():
        if each.host:
            wanted |= {f"network/{each.name}", *(f"vni/{number}" for number in each.vnis)}
    return sorted((ours | shared) ^ wanted)


def main(host: str, url: str, directory: str, tag: str) -> None:
    """Kill at every point of every operation, and begin each time as before."""
    sweep = Sweep(host, url, directory, tag)
    for late in (
        "drivers.bridge.driver",
        "drivers.overlay.driver",
        "ipam.default",
        "kernel.linux",
        "kernel.nft",
        "store.etcd",
    ):
        import_module(f"libnetwork_py.{late}")  # once, rather than by every child

    def prepared(lab: Lab) -> None:
        lab.controller.network("net").create_endpoint("idle", addresses=["10.77.0.10"])
        lab.controller.create_sandbox(f"{tag}-idle")

    assert sweep.child(prepared)[0] == 0
    for name, operation in OPERATIONS.items():
        assert sweep.child(lambda lab, operation=operation: operation.prepare(lab) and None)[0] == 0  # type: ignore[misc]
        status, passed = sweep.child(operation.operate, LAST)  # not reached: it is done, and says what its points are
        assert status == 0
        whole = json.loads(sweep.child(sweep.look)[1])
        assert sweep.child(lambda lab, operation=operation: operation.back(lab) and None)[0] == 0  # type: ignore[misc]
        before = json.loads(sweep.child(sweep.look)[1])
        for point in chosen(passed.splitlines()):
            began = time.monotonic()
            status, passed = sweep.child(operation.operate, point)
            after = json.loads(sweep.child(sweep.look)[1])
            say(name, point, status, passed.splitlines()[-1:], before, whole, after, time.monotonic() - began)
            if after["told"] != before["told"]:
                assert sweep.child(lambda lab, operation=operation: operation.back(lab) and None)[0] == 0  # type: ignore[misc]


def chosen(labels: list[str]) -> list[int]:
    """Return the points at which the process is killed: each of them if ``SWEEP_ALL`` is set, else the first and last of each kind."""
    last = len(labels)
    if THOROUGH:
        return list(range(1, last + 1))
    return sorted({at for label in labels for at in (labels.index(label) + 1, last - labels[::-1].index(label))})


def say(*what: object) -> None:
    """Print a line and wait until it was read."""
    print(json.dumps(what), flush=True)
    sys.stdin.readline()


if __name__ == "__main__":
    main(*sys.argv[1:])
