"""Published ports: how long a thousand take, what the first packet of a flow costs among ten thousand, and operations on a busy host.

Everything runs in namespaces of its own; compared figures are taken in turn in one run, and what is printed are medians and ratios.

    bench_ports.py [--ports 1000] [--flows 100000] [--rounds 9]
"""

from __future__ import annotations

import argparse
import gc
import socket
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from libnetwork_py import Endpoint, NetworkController, Sandbox
from tests.root import machine
from tests.root.conntrack import fill
from tests.root.firewall_lab import inside


@contextmanager
def scene() -> Iterator[tuple[NetworkController, str, Sandbox, Endpoint]]:
    host = machine.new_namespace("host")
    try:
        with NetworkController.temporary(host=host) as controller:
            network = controller.create_network("front", subnets="10.7.0.0/16")
            web = controller.create_sandbox("bench-web")
            yield controller, host, web, web.connect(network, name="web")
    finally:
        machine.drop_namespace(host)


def timed(function: Callable[[], object]) -> float:
    gc.collect()
    start = time.perf_counter()
    function()
    return (time.perf_counter() - start) * 1e3


def report(what: str, figures: list[float]) -> None:
    print(f"{what:58} {statistics.median(figures):9.2f} ms   (best {min(figures):.2f})")


def publishing(count: int, rounds: int) -> None:
    with scene() as (controller, _, _, endpoint):
        last = 20000 + count - 1
        names = ("one range", "one range, unpublished", "in a batch", "in a batch, unpublished")
        found: dict[str, list[float]] = {name: [] for name in names}

        def publish() -> None:
            with controller.batch():
                for port in range(20000, last + 1):
                    endpoint.publish(f"{port}:{port}")

        def unpublish() -> None:
            with controller.batch():
                for binding in endpoint.ports:
                    endpoint.unpublish(binding)

        text = f"20000-{last}:20000-{last}"
        for _ in range(rounds):
            steps = (lambda: endpoint.publish(text), lambda: endpoint.unpublish(text), publish, unpublish)
            for name, step in zip(names, steps, strict=True):
                found[name].append(timed(step))
        for name in names:
            report(f"{count} ports, {name}", found[name])


def first_packets(count: int, rounds: int) -> None:
    """The first datagram of a flow, host to sandbox, through the first of one and of many published ports."""
    with scene() as (_, host, web, endpoint):
        endpoint.publish("9999:9999/udp")
        server = web.socket(socket.AF_INET, socket.SOCK_DGRAM)
        server.bind(("", 9999))
        server.settimeout(2)

        def packets() -> float:
            def work() -> float:
                spent = []
                for _ in range(300):
                    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                        client.connect(("10.7.0.1", 9999))
                        start = time.perf_counter()
                        client.send(b"x")
                        server.recv(10)
                        spent.append(time.perf_counter() - start)
                return statistics.median(spent) * 1e6

            return inside(host, work)

        few, many = [], []
        text = f"20000-{20000 + count - 1}:20000-{20000 + count - 1}"
        for _ in range(rounds):
            few.append(packets())
            got = endpoint.publish(text)
            many.append(packets())
            endpoint.unpublish(got)
        one, ten = statistics.median(few), statistics.median(many)
        print(
            f"first packet of a flow, 1 port published {one:.1f} us, {count + 1}: {ten:.1f} us, ratio {ten / one:.3f}"
        )


def busy_host(flows: int, rounds: int) -> None:
    """Join, leave, publish, unpublish without and with many remembered connections, in turn."""
    with scene() as (quiet, _, _, _), scene() as (busy, host, _, _):
        fill(host, flows)
        found: dict[tuple[str, bool], list[float]] = {}
        sandboxes = {}
        for full, controller in ((False, quiet), (True, busy)):
            sandboxes[full] = controller.create_sandbox(f"bench-{full}")
        endpoints = {
            full: controller.network("front").create_endpoint("moving")
            for full, controller in ((False, quiet), (True, busy))
        }
        for _ in range(rounds * 4):
            for full, endpoint in endpoints.items():
                steps: dict[str, Callable[[], object]] = {
                    "join": partial(endpoint.join, sandboxes[full]),
                    "publish": partial(endpoint.publish, "8080:80"),
                    "unpublish": partial(endpoint.unpublish, "8080:80"),
                    "publish UDP": partial(endpoint.publish, "8081:80/udp"),
                    "unpublish UDP": partial(endpoint.unpublish, "8081:80/udp"),
                    "leave": endpoint.leave,
                }
                for name, step in steps.items():
                    found.setdefault((name, full), []).append(timed(step))
        for name, full in found:
            if not full:
                without, with_ = (statistics.median(found[name, each]) for each in (False, True))
                print(
                    f"{name:20} {without:7.2f} ms; with {flows} connections {with_:7.2f} ms, ratio {with_ / without:.2f}"
                )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ports", type=int, default=1000)
    parser.add_argument("--flows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    publishing(options.ports, options.rounds)
    first_packets(10_000, 3)
    busy_host(options.flows, options.rounds)


if __name__ == "__main__":
    main()
