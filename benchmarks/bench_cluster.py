"""What a cluster costs: the store's load for each endpoint, how soon other hosts know, and what each host pays for every remote endpoint.

One real etcd on loopback; hosts are controllers over fake kernels, in a few processes, so that what is measured is the library and the
store, not the kernel. Needs no root; `scripts/fetch-engines` fetches etcd.

    bench_cluster.py [--hosts 20] [--endpoints 1000] [--processes 2] [--networks 1]
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the tests' servers and driver

import pytest

from libnetwork_py.store.api import Write
from libnetwork_py.store.cluster import Check
from tests.cluster_lab import Host, hosts, install
from tests.engines import servers


class Counted:
    """Counts what a host commits: transactions, writes, bytes of keys and documents."""

    def __init__(self, host: Host) -> None:
        self.transactions = self.writes = self.checks = self.bytes = 0
        store: Any = host.cluster._membership._store  # noqa: SLF001 (it is counted under the library's hands)
        commit = store.commit

        def counting(writes: Sequence[Write], checks: Sequence[Check] = (), **more: str) -> int:
            self.transactions += 1
            self.writes += len(writes)
            self.checks += len(checks)
            self.bytes += sum(len(each.key) + len(each.document or b"") for each in writes)
            return int(commit(writes, checks, **more))

        store.commit = counting


def measure(host: Host, other: Host, count: int) -> Iterator[str]:
    """Connect and disconnect one by one, and tell what it cost."""
    network = host.controller.create_network("front", "mesh", subnets=["10.64.0.0/12"])
    other.controller.create_sandbox("other").connect(other.controller.network("front"))
    sandboxes = [host.controller.create_sandbox(f"s{number}") for number in range(count)]
    counted, took, heard = Counted(host), [], []
    for sandbox in sandboxes:
        began = time.perf_counter()
        endpoint = sandbox.connect(network)
        took.append(time.perf_counter() - began)
        while endpoint.id not in other.controller._engine.state.endpoints:  # noqa: SLF001 (a look without a lock)
            time.sleep(0.0002)
        heard.append(time.perf_counter() - began)
    yield (
        f"connect: {counted.transactions / count:.2f} transactions, {counted.writes / count:.2f} writes, "
        f"{counted.checks / count:.2f} conditions, {counted.bytes / count:.0f} bytes of keys and documents each"
    )
    yield f"connect returns after {_ms(took)}, and its peer is in another host's records and kernel after {_ms(heard)}"
    before = counted.transactions, counted.writes
    for sandbox in sandboxes:
        sandbox.disconnect(network)
    yield f"disconnect: {(counted.transactions - before[0]) / count:.2f} transactions, {(counted.writes - before[1]) / count:.2f} writes"


def local(host: Host, count: int) -> str:
    """Connect on a network of local scope, on the same controller, for the ratio."""
    network = host.controller.create_network("local")
    sandboxes = [host.controller.create_sandbox(f"l{number}") for number in range(count)]
    took = []
    for sandbox in sandboxes:
        began = time.perf_counter()
        sandbox.connect(network)
        took.append(time.perf_counter() - began)
    return f"connect to a local network of the same controller: {_ms(took)}"


def bulk(host: Host, other: Host, count: int) -> Iterator[str]:
    """Make many in batches; tell when another host has all, and what it holds of them."""
    network = host.controller.create_network("bulk", "mesh", subnets=["10.96.0.0/12"])
    other.controller.create_sandbox("bulky").connect(other.controller.network("bulk"))
    state = other.controller._engine.state  # noqa: SLF001
    began = time.perf_counter()
    for start in range(0, count, 250):
        with host.controller.batch():
            for number in range(start, min(start + 250, count)):
                host.controller.create_sandbox(f"b{number}").connect(network)
    made = time.perf_counter() - began
    while len(state.in_network(network.id)) <= count:
        time.sleep(0.01)
    known = time.perf_counter() - began
    yield f"{count} endpoints in batches: made after {made:.1f} s, known to the other host after {known:.1f} s"


def fleet(address: str, number: int, processes: int, arguments: argparse.Namespace) -> None:
    """One process of the fleet: its hosts connect their share, and say when they know everybody."""
    count, share = arguments.hosts // processes, arguments.endpoints // arguments.hosts
    with pytest.MonkeyPatch.context() as patch:
        install(patch)
        with hosts(0) as none:
            none += [
                Host(number * count + each + 1, f"etcd://{address}/fleet?timeout=30", 60.0) for each in range(count)
            ]
            print(json.dumps("ready"), flush=True)
            sys.stdin.readline()
            began, cpu, rss = time.time(), time.process_time(), _rss()
            for host in none:
                for each in range(share):
                    at = (host.number * share + each) % arguments.networks
                    host.controller.create_sandbox(f"s{each}").connect(
                        host.controller.network(f"n{at}"), name=f"h{host.number}-{each}"
                    )
            print(json.dumps(["made", time.time() - began]), flush=True)
            total = count * processes * share
            for host in none:
                while len(host.controller._engine.state.endpoints) < total:  # noqa: SLF001
                    time.sleep(0.05)
            print(json.dumps(["known", time.time(), time.process_time() - cpu, _rss() - rss]), flush=True)
            sys.stdin.readline()


def converge(server: servers.Server, arguments: argparse.Namespace) -> Iterator[str]:
    """Let the fleet run; tell when the last host knew the last endpoint, and what etcd did for it."""
    processes = arguments.processes
    before, used = _revision(server), _cpu(server)
    with hosts(1, url=f"etcd://{server.address}/fleet?timeout=30") as (first,):
        for number in range(arguments.networks):
            subnet = f"10.{128 + number // 4}.{64 * (number % 4)}.0/18"
            first.controller.create_network(f"n{number}", "mesh", subnets=[subnet])
        argv = [sys.executable, __file__, *sys.argv[1:], "--fleet", server.address]
        started = [
            subprocess.Popen([*argv, str(number)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for number in range(processes)
        ]
        for each in started:
            assert each.stdout
            each.stdout.readline()
        began = time.time()
        for each in started:
            each.stdin.write("\n")  # type: ignore[union-attr]
            each.stdin.flush()  # type: ignore[union-attr]
        made = [json.loads(each.stdout.readline())[1] for each in started]  # type: ignore[union-attr]
        known = [json.loads(each.stdout.readline()) for each in started]  # type: ignore[union-attr]
        total = arguments.endpoints // arguments.hosts * arguments.hosts
        yield (
            f"{total} endpoints by {arguments.hosts} hosts in {processes} processes: the last is made after {max(made):.1f} s, "
            f"and every host knows all after {max(each[1] for each in known) - began:.1f} s"
        )
        load = _revision(server) - before
        yield (
            f"etcd: {load} transactions ({load / total:.2f} for each endpoint), {_cpu(server) - used:.1f} s of CPU, "
            f"{_size(server) / total:.0f} bytes of database each"
        )
        cpu, rss = sum(each[2] for each in known), sum(each[3] for each in known)
        yield (
            f"hosts: {cpu / arguments.hosts / total * 1e6:.0f} µs of CPU and {rss / arguments.hosts / total:.0f} bytes "
            "for each endpoint that each of them knows, fake kernels and all"
        )
        for each in started:
            each.communicate("\n")


def _ms(seconds: Sequence[float]) -> str:
    ordered = sorted(seconds)
    return f"{statistics.median(ordered) * 1e3:.1f} ms (99 %: {ordered[int(len(ordered) * 0.99)] * 1e3:.1f} ms)"


def _rss() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _revision(server: servers.Server) -> int:
    return int(server.ask("/v3/kv/range", {"key": "eA=="})["header"]["revision"])


def _size(server: servers.Server) -> int:
    return int(server.ask("/v3/maintenance/status", {})["dbSizeInUse"])


def _cpu(server: servers.Server) -> float:
    assert server.process is not None
    fields = Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", type=int, default=20)
    parser.add_argument("--endpoints", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--networks", type=int, default=1)
    parser.add_argument("--fleet", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.fleet:
        fleet(arguments.fleet[0], int(arguments.fleet[1]), arguments.processes, arguments)
        return
    with servers.etcd(1, "--quota-backend-bytes=4294967296") as (server,), pytest.MonkeyPatch.context() as patch:
        install(patch)
        with hosts(2, url=f"etcd://{server.address}/{secrets.token_hex(4)}") as (first, second):
            for line in measure(first, second, 200):
                print(line, flush=True)
            print(local(first, 200), flush=True)
            for line in bulk(first, second, 900):
                print(line, flush=True)
        for line in converge(server, arguments):
            print(line, flush=True)


if __name__ == "__main__":
    main()
