"""Three hosts in one machine, each a process with a network stack of its own; one network across them, kept in a real etcd.

One host is killed. Its packets go on until its lease is over; then its address is somebody else's.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

from libnetwork_py import NetworkController
from libnetwork_py.errors import LibnetworkError

LEASE = 2.0
ENGINES = os.environ.get("LIBNETWORK_PY_ENGINES", Path(__file__).parents[1] / "build/engines")
ETCD = shutil.which("etcd", path=f"{ENGINES}/usr/bin:/usr/bin:/usr/local/bin")


def host(path: str, advertise: str, state: Path, cluster: str, orders: Connection) -> None:
    """What runs on each host: a controller that connects sandboxes to the network "shop" as it is told, or pings from one."""
    config = {"lease_ttl": LEASE, "advertise": advertise}
    with NetworkController(state, host=path, cluster=cluster, config=config) as controller:
        for name, *addresses in iter(orders.recv, None):
            if addresses[:1] == ["ping"]:
                ping = ["ping", "-c1", "-W1", addresses[1]]
                orders.send(controller.sandbox(name).run(ping, stdout=subprocess.DEVNULL).returncode == 0)
                continue
            try:
                known = [each.name for each in controller.networks()]
                shop = (
                    controller.network("shop")
                    if name != "web" or "shop" in known
                    else controller.create_network("shop", "overlay")
                )
                orders.send(str(controller.create_sandbox(name).connect(shop, addresses=addresses).addresses[0]))
            except LibnetworkError as error:
                orders.send(f"refused: {error}")
                controller.sandbox(name).delete()
        for sandbox in controller.sandboxes():
            sandbox.delete()
        controller.prune()


class Host:
    """A machine on the underlay and the process on it."""

    def __init__(self, machine: NetworkController, number: int, directory: Path, cluster: str) -> None:
        place = machine.create_sandbox(f"host{number}")
        advertise = place.connect(machine.network("underlay")).addresses[0]
        self.arguments = place.key, str(advertise), directory / f"host{number}", cluster
        self.start()

    def start(self) -> None:
        spawn = multiprocessing.get_context("spawn")
        self.orders, orders = spawn.Pipe()
        self.process = spawn.Process(target=host, args=(*self.arguments, orders))
        self.process.start()

    def connect(self, name: str, *addresses: str) -> str:
        self.orders.send((name, *addresses))
        return str(self.orders.recv())

    def ping(self, name: str, target: str) -> bool:
        self.orders.send((name, "ping", target))
        return bool(self.orders.recv())

    def stop(self) -> None:
        self.orders.send(None)
        self.process.join()


def show(machine: NetworkController, directory: Path, cluster: str) -> None:
    """Do what the first lines of this file say."""
    one, two, three = (Host(machine, number, directory, cluster) for number in (1, 2, 3))
    print("web is on host 1 at", one.connect("web"))
    print("api is on host 2 at", api := two.connect("api"))
    print("db is on host 3 at", three.connect("db"))
    print("web reaches api:", one.ping("web", api), "and by name:", one.ping("web", "api"))
    print("killing host 2")
    two.process.kill()
    killed = time.monotonic()
    print("its packets go on:", one.ping("web", api))
    print("host 3 asks for its address:", three.connect("api2", api)[:60])
    while (got := three.connect("api2", api)).startswith("refused"):
        time.sleep(0.1)
    print(
        f"after {time.monotonic() - killed:.1f} s host 3 has it: {got == api}; web reaches it there: {one.ping('web', api)}"
    )
    two.start()
    print("host 2 is back, and connects at", back := two.connect("api3"), "- reached:", one.ping("web", back))
    for each in (three, two, one):
        each.stop()


def main() -> None:
    """Build the underlay and the store on it."""
    if ETCD is None:
        sys.exit("this needs etcd: apt install etcd-server")
    with tempfile.TemporaryDirectory() as directory, NetworkController.temporary() as machine:
        store = machine.create_sandbox("store")
        address = str(store.connect(machine.create_network("underlay")).addresses[0])
        # a host reaches the store over the underlay; without root, from where the caller is
        start, address = (
            (store.popen, address) if machine.info().privilege == "root" else (subprocess.Popen, "127.0.0.1")
        )
        where, peer = f"http://{address}:2379", "http://127.0.0.1:2380"
        options = ["--data-dir", f"{directory}/etcd", "--log-level=error", f"--listen-peer-urls={peer}"]
        options += [f"--listen-client-urls={where}", f"--advertise-client-urls={where}"]
        server = start([ETCD, *options], stderr=subprocess.DEVNULL)
        try:
            show(machine, Path(directory), where.replace("http", "etcd"))
        finally:
            server.kill()
            server.wait()


if __name__ == "__main__":
    main()
