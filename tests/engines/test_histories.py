from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import frozen

from libnetwork_py.errors import Unavailable
from tests.cluster_lab import Host, documents, hosts, install, until
from tests.engines import servers
from tests.engines.allocator import TTL

ROOT = Path(__file__).parents[2]
PROCESSES, SECONDS = 5, 4.0


@frozen
class Owned:
    """That a process had an address: from when its creation returned until it gave it up; a killed one for its lease."""

    process: int
    address: str
    begin: float
    end: float


def test_never_two_owners_and_never_a_lost_release(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that share thirteen addresses, one of which is killed, never have one at once; in the end all addresses are free."""
    install(monkeypatch)
    with servers.etcd() as (server,), hosts(1, url=f"etcd://{server.address}/labs") as (host,):
        host.controller.create_network("front", "mesh", subnets=["10.3.0.0/28"])
        processes = [_start(server, number) for number in range(1, PROCESSES + 1)]
        time.sleep(0.5 * SECONDS)
        processes[0].kill()
        killed = time.monotonic()
        said = [process.communicate()[0] for process in processes]
        assert [process.returncode for process in processes[1:]] == [0] * (PROCESSES - 1)
        history = [owned for number, text in enumerate(said) for owned in _history(number, text, killed + 0.5 * TTL)]
        assert _overlaps(history) == []
        assert len(history) > 50
        _all_come_back(host)


def _all_come_back(host: Host) -> None:
    network = host.controller.network("front")
    until(lambda: not network.endpoints(), 20)
    got = [network.create_endpoint(f"last-{number}") for number in range(13)]
    assert len({str(each.addresses[0]) for each in got}) == 13
    with pytest.raises(Unavailable):
        network.create_endpoint("one-too-many")
    for each in got:
        each.delete()
    assert [key for key in documents(host) if key.startswith("address/10.3.")] == []


def _start(server: servers.Server, number: int) -> subprocess.Popen[str]:
    argv = [sys.executable, "-m", "tests.engines.allocator", f"etcd://{server.address}/labs", str(number), str(SECONDS)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=environment)


def _history(process: int, text: str, end: float) -> Iterator[Owned]:
    """Return what a process had; what it had when it was killed it had until ``end`` at least."""
    begun: dict[str, float] = {}
    for line in text.splitlines():
        when, what, address = json.loads(line)
        if what == "got":
            begun[address] = when
        elif what == "gave":
            yield Owned(process, address, begun.pop(address), when)
    yield from (Owned(process, address, begin, end) for address, begin in begun.items())


def _overlaps(history: list[Owned]) -> list[tuple[Owned, Owned]]:
    ordered = sorted(history, key=lambda each: (each.address, each.begin))
    pairs = itertools.pairwise(ordered)
    return [(one, two) for one, two in pairs if one.address == two.address and two.begin < one.end]
