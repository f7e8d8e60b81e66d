"""Overlay networks: how soon a packet arrives, what the store and each host bear, how fast a tunnel is, how far it goes.

Hosts are namespaces in one machine, linked by an underlay that is made with the library as well; the store is a real etcd. What is
printed are medians, and ratios within one run where there is something to compare with.

    bench_overlay.py first [--hosts 3] [--count 50]     connect on one host → first packet from another; store writes and bytes
    bench_overlay.py throughput [--seconds 2]           against a VXLAN made by hand with ip
    bench_overlay.py state [--peers 10000]              what a host holds for remote endpoints
    bench_overlay.py scale [--hosts 200] [--endpoints 10000] [--networks 50]     fake kernels, one etcd: convergence and load
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import os
import re
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from ipaddress import IPv4Address, IPv4Interface
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from libnetwork_py import NetworkController, Sandbox
from libnetwork_py.desired import HOST, Change, between
from libnetwork_py.drivers.api import Context, Peer
from libnetwork_py.drivers.overlay.driver import OverlayDriver
from libnetwork_py.firewall.table import table
from libnetwork_py.kernel.linux import LinuxKernel
from libnetwork_py.network import NetworkRecord, Subnet
from libnetwork_py.store.memory import MemoryStore
from libnetwork_py.testing import FakeKernel
from libnetwork_py.types import MacAddress

ETCD = shutil.which("etcd", path=f"{Path(__file__).parents[1]}/build/engines/usr/bin:/usr/bin:/usr/local/bin") or ""
PORT = 9999
COUNTERS = (
    "etcd_mvcc_put_total", "etcd_mvcc_delete_total", "etcd_mvcc_txn_total", "etcd_mvcc_range_total",
    "etcd_network_client_grpc_received_bytes_total", "etcd_network_client_grpc_sent_bytes_total",
    "etcd_debugging_mvcc_events_total", "process_cpu_seconds_total",
)  # fmt: skip


@contextmanager
def etcd(address: str, start: Callable[..., Any] = subprocess.Popen) -> Iterator[str]:
    """An etcd that listens on an address."""
    if not ETCD:
        sys.exit("this needs etcd: apt install etcd-server")
    where = f"http://{address}:2379"
    with tempfile.TemporaryDirectory() as directory:
        options = ["--data-dir", directory, "--log-level=error", "--listen-peer-urls=http://127.0.0.1:2380"]
        options += [f"--listen-client-urls={where}", f"--advertise-client-urls={where}"]
        server = start(["setpriv", "--pdeathsig", "KILL", ETCD, *options], stderr=subprocess.DEVNULL)
        try:
            yield where.replace("http", "etcd")
        finally:
            server.kill()
            server.wait()


def read(url: str) -> str:
    """Return what an HTTP server answers."""
    with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310 (etcd's own page)
        return str(answer.read(), "utf-8")


def counters(fetch: Callable[[], str]) -> Mapping[str, float]:
    """What etcd counts."""
    text = fetch()
    return {
        name: float(found[1]) if (found := re.search(rf"^{name} (\S+)$", text, re.MULTILINE)) else 0.0
        for name in COUNTERS
    }


def spread(name: str, seconds: list[float]) -> None:
    """Print a median and the 99th percentile."""
    ordered = sorted(seconds)
    last = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    print(
        f"{name:45} median {statistics.median(ordered) * 1e3:8.2f} ms   99 % {last * 1e3:8.2f} ms   of {len(ordered)}"
    )


# connect → first packet


def host(path: str, state: str, cluster: str, orders: Connection) -> None:
    """What runs on each host."""
    with NetworkController(state, host=path, cluster=cluster) as controller:
        sending = threading.Event()
        for verb, argument in iter(orders.recv, None):
            if verb == "create":
                orders.send(controller.create_network(argument, "overlay", subnets="10.7.0.0/16", internal=True).id)
            elif verb == "connect":
                orders.send(str(controller.create_sandbox(argument).connect(controller.network("net")).addresses[0]))
            elif verb == "send":
                sending.set()
                threading.Thread(target=send, args=(controller.sandbox("base"), argument, sending)).start()
                orders.send(None)
            elif verb == "quiet":
                sending.clear()
                orders.send(None)
            elif verb == "measure":
                orders.send(measure(controller, *argument))
        for sandbox in controller.sandboxes():
            sandbox.delete()
        controller.prune()


def send(sandbox: Sandbox, address: str, going: threading.Event) -> None:
    """Send to an address that may not be there yet: its MAC address follows from it, so that nobody must be asked."""
    mac = str(MacAddress(b"\x02\x42" + IPv4Address(address).packed))
    sandbox.run(["ip", "neigh", "replace", address, "lladdr", mac, "dev", "eth0", "nud", "permanent"], check=True)
    with sandbox.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        while going.is_set():
            with suppress(OSError):
                out.sendto(b"x", (address, PORT))
            time.sleep(0.0002)


def measure(controller: NetworkController, name: str, address: str) -> tuple[float, float]:
    """Seconds from the call of connect to its return, and to the first packet from the other host."""
    sandbox, network = controller.create_sandbox(name), controller.network("net")
    with sandbox.socket(socket.AF_INET, socket.SOCK_DGRAM) as heard:
        heard.bind(("", PORT))
        heard.settimeout(30)
        began = time.perf_counter()
        sandbox.connect(network, addresses=address)
        connected = time.perf_counter() - began
        heard.recv(1)
        first = time.perf_counter() - began
    return connected, first


def first(hosts: int, count: int) -> None:
    """Measure connects on one host while another sends."""
    with NetworkController.temporary() as machine, tempfile.TemporaryDirectory() as directory:
        underlay = machine.create_network("underlay")
        store = machine.create_sandbox("store")
        address = str(store.connect(underlay).addresses[0])
        with etcd(address, store.popen) as cluster:
            ends = [_start(machine, number, directory, cluster) for number in range(hosts)]
            try:
                _measure_first(machine, ends, count, f"http://{address}:2379/metrics")
            finally:
                for process, orders in reversed(ends):
                    orders.send(None)
                    process.join(60)


def _start(machine: NetworkController, number: int, directory: str, cluster: str) -> tuple[Any, Connection]:
    place = machine.create_sandbox(f"host{number}")
    place.connect(machine.network("underlay"))
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=host, args=(place.key, f"{directory}/host{number}", cluster, theirs))
    process.start()
    return process, ours


def _ask(end: tuple[Any, Connection], verb: str, argument: object = None) -> Any:
    end[1].send((verb, argument))
    return end[1].recv()


def _measure_first(machine: NetworkController, ends: list[tuple[Any, Connection]], count: int, metrics: str) -> None:
    def fetch() -> str:
        return machine.sandbox("host0").call(read, metrics)

    _ask(ends[0], "create", "net")
    for end in ends:
        _ask(end, "connect", "base") if end is ends[0] else _ask(end, "connect", f"base{ends.index(end)}")
    before = counters(fetch)
    connects, firsts = [], []
    for number in range(count):
        address = f"10.7.1.{number + 1}"
        _ask(ends[0], "send", address)
        connected, arrived = _ask(ends[1 + number % (len(ends) - 1)], "measure", (f"s{number}", address))
        _ask(ends[0], "quiet")
        connects.append(connected)
        firsts.append(arrived)
    after = counters(fetch)
    print(f"{len(ends)} hosts, one etcd, each host a process")
    spread("connect", connects)
    spread("connect → first packet from another host", firsts)
    for name in COUNTERS[:6]:
        print(f"  {name.removeprefix('etcd_'):45} {(after[name] - before[name]) / count:8.1f} for each endpoint")


# throughput


def throughput(seconds: float, rounds: int = 9) -> None:
    """Send TCP through a tunnel of the library's and through one made by hand, by turns."""
    with NetworkController.temporary() as machine:
        underlay = machine.create_network("underlay", internal=True)
        places = [machine.create_sandbox(f"host{number}") for number in (1, 2)]
        addresses = [str(place.connect(underlay).addresses[0]) for place in places]
        url = f"memory://bench{os.getpid()}"
        hosts = [
            NetworkController.temporary(host=place, cluster=url, config={"advertise": address})
            for place, address in zip(places, addresses, strict=True)
        ]
        try:
            hosts[0].create_network("net", "overlay", subnets="10.7.0.0/24", internal=True)
            ours = [each.create_sandbox(f"ours{number}") for number, each in enumerate(hosts)]
            for sandbox, each, number in zip(ours, hosts, (11, 12), strict=True):
                sandbox.connect(each.network("net"), addresses=f"10.7.0.{number}")
            theirs = [machine.create_sandbox(f"theirs{number}") for number in (1, 2)]
            by_hand([place.name for place in places], addresses, [sandbox.name for sandbox in theirs])
            time.sleep(1)
            rates: dict[str, list[float]] = {"library": [], "by hand": []}
            for _ in range(rounds):
                rates["by hand"].append(stream(theirs[0], theirs[1], "10.8.0.12", seconds))
                rates["library"].append(stream(ours[0], ours[1], "10.7.0.12", seconds))
            library, hand = (statistics.median(rates[name]) for name in ("library", "by hand"))
            print(
                f"TCP, one stream: library {library / 1e9:.2f} Gbit/s, by hand {hand / 1e9:.2f} Gbit/s, ratio {library / hand:.3f}"
            )
        finally:
            for each in hosts:
                each.close()


def by_hand(hosts: list[str], addresses: list[str], sandboxes: list[str]) -> None:
    """The same with ``ip``: a bridge, a VXLAN device with one remote, a veth pair, in the host's own namespace."""
    for number in (0, 1):
        host, there, sandbox = hosts[number], addresses[1 - number], sandboxes[number]
        for line in (
            "link add brh type bridge",
            f"link add vxh type vxlan id 99 local {addresses[number]} remote {there} dstport 4790",
            "link set vxh mtu 1450 master brh up",
            f"link add vh mtu 1450 type veth peer name eth0 mtu 1450 netns {sandbox}",
            "link set vh master brh up",
            "link set brh up",
        ):
            subprocess.run(["ip", "-n", host, *line.split()], check=True)
        subprocess.run(["ip", "-n", sandbox, "addr", "add", f"10.8.0.1{number + 1}/24", "dev", "eth0"], check=True)
        subprocess.run(["ip", "-n", sandbox, "link", "set", "eth0", "up"], check=True)


def stream(client: Sandbox, server: Sandbox, address: str, seconds: float) -> float:
    """Bits a second of one TCP stream."""
    sink = (
        "import socket,time\ns=socket.create_server(('0.0.0.0',5001));print('ready',flush=True)\nc=s.accept()[0];b=bytearray(1<<20);n=0\n"
        f"t=time.monotonic()\nwhile time.monotonic()-t<{seconds}:\n n+=c.recv_into(b)\nprint(n*8/(time.monotonic()-t))"
    )
    source = (
        f"import socket\nc=socket.create_connection(('{address}',5001));b=bytes(1<<20)\n"
        "try:\n while True: c.sendall(b)\nexcept OSError: pass"
    )
    receiving = server.popen([sys.executable, "-c", sink], stdout=subprocess.PIPE, text=True)
    assert receiving.stdout is not None
    receiving.stdout.readline()
    sending = client.popen([sys.executable, "-c", source])
    rate = float(receiving.stdout.readline())
    for each in (receiving, sending):
        each.kill()
        each.wait()
    receiving.stdout.close()
    return rate


# what a host holds


def state(peers: int) -> None:
    """Tell a real kernel of so many peers, then of one that moves."""
    driver, kernel = OverlayDriver(), LinuxKernel(None)
    subnet = Subnet("", IPv4Interface("10.0.0.0/8").network)
    network = NetworkRecord(
        "b" * 64, "net", "overlay", "global", (subnet,), decided={"overlay.mtu": "1450"}, vnis=(4096,)
    )
    here, there, elsewhere = (IPv4Address(f"192.0.2.{number}") for number in (1, 2, 3))

    def peer(number: int, vtep: IPv4Address) -> Peer:
        address = IPv4Address(0x0A000000 + number)
        mac = MacAddress(b"\x02\x42" + address.packed)
        return Peer(f"{number:064x}", (IPv4Interface((address, 8)),), mac, vtep)

    def described(some: list[Peer]) -> tuple[Any, ...]:
        return driver.describe_network(
            network, Context(table(HOST, "lnw"), {}, peers=some, vtep=here, controller="bench000")
        )

    everybody = [peer(number, there) for number in range(2, peers + 2)]
    alone = described([])
    kernel.apply(Change(make=alone))
    slab = _slab()
    began = time.perf_counter()
    words = described(everybody)
    said = time.perf_counter()
    kernel.apply(between(alone, words))
    made = time.perf_counter()
    per_peer = (_slab() - slab) / peers
    moved = [peer(2, elsewhere), *everybody[1:]]
    times = []
    before = words
    for _ in range(7):
        moved = everybody if moved is not everybody else [peer(2, elsewhere), *everybody[1:]]
        start = time.perf_counter()
        after = described(moved)
        change = between(before, after)
        kernel.apply(change)
        times.append(time.perf_counter() - start)
        before = after
    print(
        f"{peers} peers: described in {said - began:.3f} s, made in {made - said:.3f} s ({(made - said) / peers * 1e6:.1f} µs each)"
    )
    print(
        f"kernel memory for each: {per_peer:.0f} bytes (slabs); entries: 1 for each address, 1 in the device, 1 in the bridge"
    )
    spread(f"one of {peers} peers moves: describe, compare, apply", times)
    kernel.apply(Change(remove=before))
    kernel.close()


def _slab() -> int:
    gc.collect()
    text = Path("/proc/meminfo").read_text()
    found = re.search(r"^Slab:\s+(\d+)", text, re.MULTILINE)
    assert found
    return int(found[1]) * 1024


# how far it goes


def scale(hosts: int, endpoints: int, networks: int) -> None:
    """Open controllers over fake kernels on one etcd, let each create its endpoints, and wait until all know all they need."""
    with etcd("127.0.0.1") as cluster:

        def fetch() -> str:
            return read("http://127.0.0.1:2379/metrics")

        time.sleep(2)
        began = time.perf_counter()
        opened = [_simulated(number, cluster) for number in range(hosts)]
        for number in range(networks):
            opened[number % hosts].create_network(f"net{number}", "overlay", internal=True)
        joined = time.perf_counter()
        print(f"{hosts} hosts joined and {networks} networks created in {joined - began:.1f} s")
        before = counters(fetch)
        began, used = time.perf_counter(), time.process_time()
        each = endpoints // hosts
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda number: _populate(opened[number], number, each, networks), range(hosts)))
        created = time.perf_counter()
        print(
            f"{endpoints} endpoints created and joined in {created - began:.1f} s ({endpoints / (created - began):.0f} a second)"
        )
        wanted = endpoints // networks
        while not all(_converged(one, number, networks, wanted) for number, one in enumerate(opened)):
            time.sleep(0.5)
        converged = time.perf_counter()
        after = counters(fetch)
        print(f"every host has its peers {converged - created:.1f} s after the last was joined")
        for name in COUNTERS:
            spent = after[name] - before[name]
            print(f"  {name.removeprefix('etcd_'):45} {spent:14.0f}   {spent / endpoints:10.1f} for each endpoint")
        used = time.process_time() - used
        print(f"CPU of all hosts: {used:.0f} s, {used / endpoints / hosts * 1e6:.0f} µs for each endpoint and host")
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(f"memory: {memory / 1e6:.0f} MB for {hosts} hosts, {memory / hosts / 1e6:.1f} MB a host")
        _latencies(opened, networks)
    os._exit(0)  # what is left is in memory


def _simulated(number: int, cluster: str) -> NetworkController:
    uplink = f"192.168.{number >> 8 & 255}.{number & 255}"
    kernel = FakeKernel(host_links=["ens3"], host_addresses={"ens3": f"{uplink}/16"})
    config = {"advertise": uplink, "lease_ttl": 600}
    return NetworkController.over(MemoryStore(), kernel, cluster=cluster, config=config)


def _populate(controller: NetworkController, number: int, count: int, networks: int) -> None:
    for which in range(count):
        network = controller.network(f"net{_network(number, which, networks)}")
        controller.create_sandbox(f"h{number}s{which}").connect(network)


def _network(number: int, which: int, networks: int) -> int:
    """A host is on few of the networks, as it is in life."""
    return (number + which % 5 * 7) % networks


def _converged(controller: NetworkController, number: int, networks: int, wanted: int) -> bool:
    names = {_network(number, which, networks) for which in range(5)}
    for which in names:
        network = controller.network(f"net{which}")
        local = [each for each in network.endpoints() if each.sandbox_id]
        if local and len(network.endpoints()) < wanted:
            return False
    return True


def _latencies(opened: list[NetworkController], networks: int) -> None:
    """Time from a connect's call to the entry on another host, now that all is there."""
    times = []
    for number in range(20):
        one, other = opened[number % len(opened)], opened[(number + networks) % len(opened)]
        network = one.network(f"net{_network(number % len(opened), 0, networks)}")
        began = time.perf_counter()
        endpoint = one.create_sandbox(f"late{number}").connect(network)
        while not any(each.id == endpoint.id for each in other.network(network.id).endpoints()):
            time.sleep(0.001)
        times.append(time.perf_counter() - began)
    spread("connect → known on another host", times)


def main() -> None:
    """Do what the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["first", "throughput", "state", "scale"])
    parser.add_argument("--hosts", type=int, default=0)
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--peers", type=int, default=10_000)
    parser.add_argument("--endpoints", type=int, default=10_000)
    parser.add_argument("--networks", type=int, default=50)
    given = parser.parse_args()
    if given.what == "first":
        first(given.hosts or 3, given.count)
    elif given.what == "throughput":
        throughput(given.seconds)
    elif given.what == "state":
        state(given.peers)
    else:
        scale(given.hosts or 200, given.endpoints, given.networks)


if __name__ == "__main__":
    main()
