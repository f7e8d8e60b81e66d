"""What the tests of the public API on the real kernel share: a picture of all that an operation could touch, servers that say who asked.

Division of labour: `machine` runs the programs that are not ours; here their output becomes values that compare.
"""

from __future__ import annotations

import os
import re
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Self

import pytest
from attrs import asdict, frozen

from libnetwork_py import Endpoint, NetworkController, Sandbox
from libnetwork_py.store import sqlite
from tests.root import machine, world
from tests.root.firewall_lab import inside

FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
PATIENCE = 20.0
"""Seconds within which what must come comes."""
GRACE = 0.4
"""Seconds after which what must not come is taken not to."""


@frozen
class Picture:
    """Everything that an operation could touch, as programs that are not ours show it, and the controller's records."""

    links: Mapping[str, Any]
    addresses: frozenset[str]
    routes: frozenset[str]
    filter: str
    forwarding: tuple[str, ...]
    namespaces: frozenset[str]
    records: str


def picture(controller: NetworkController, host: str, *names: str) -> Picture:
    """Look at a host, at the named namespaces whose name begins with one of ``names``, and at the records."""
    shown = machine.ip("addr", namespace=host)
    links = {each["ifname"]: _link(each) for each in shown if each}
    addresses = {
        f"{each['ifname']} {it['local']}/{it['prefixlen']}"
        for each in shown if each for it in each["addr_info"]
        if it["scope"] != "link"
    }  # fmt: skip
    routes = {f"{_route(each)}" for family in ("-4", "-6") for each in machine.ip(family, "route", namespace=host)}
    forwarding = tuple(machine.sysctl(each, host) for each in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"))
    found = frozenset(
        each.name for each in machine.NAMESPACES.iterdir() if each.name.startswith(tuple(names) or ("\0",))
    )
    return Picture(
        links,
        frozenset(addresses),
        frozenset(routes),
        machine.run_in(host, ["nft", "list", "ruleset"]).stdout,
        forwarding,
        found,
        records(controller),
    )


def records(controller: NetworkController) -> str:
    """Everything that a controller's records say, as text."""
    networks = controller.networks()
    # without root a key begins with the helper's number, which another one has after a restart
    keys = {each: re.sub("^/proc/[0-9]+/root", "", each.key) for each in controller.sandboxes()}
    sandboxes = [(each.name, each.id, key, [it.id for it in each.endpoints()]) for each, key in keys.items()]
    endpoints = [_endpoint(endpoint) for network in networks for endpoint in network.endpoints()]
    return "\n".join(map(str, [*(each.inspect() for each in networks), *sandboxes, *endpoints]))


def _endpoint(endpoint: Endpoint) -> tuple[object, ...]:
    shown = (endpoint.addresses, endpoint.mac, endpoint.ports, endpoint.interface)
    return (endpoint.name, endpoint.id, endpoint.state, endpoint.sandbox_id, *shown)


def _link(shown: Mapping[str, Any]) -> tuple[object, ...]:
    flags = [each for each in shown["flags"] if each == "UP"]
    kind = shown.get("linkinfo", {}).get("info_kind", "")
    return (kind, shown["mtu"], shown.get("master", ""), shown.get("group", ""), shown.get("address", ""), *flags)


def _route(shown: Mapping[str, Any]) -> str:
    keys = ("dst", "gateway", "dev", "metric", "prefsrc", "type")
    return " ".join(f"{key} {shown[key]}" for key in keys if key in shown)


def difference(before: Picture, after: Picture) -> dict[str, tuple[object, object]]:
    """What changed, by kind; empty where nothing was touched."""
    one, two = asdict(before, recurse=False), asdict(after, recurse=False)
    return {kind: (one[kind], two[kind]) for kind in one if one[kind] != two[kind]}


# Traffic


def pings(sandbox: Sandbox, address: object, *, within: float = PATIENCE) -> bool:
    """Whether an address answers a sandbox."""
    done = sandbox.run(
        ["ping", "-n", "-c", "1", "-W", str(within), str(address)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=within + 5,
    )
    return done.returncode == 0


def socket_in(namespace: str, family: int = 4, protocol: str = "tcp") -> socket.socket:
    """A socket in the namespace at a path (empty: the caller's), opened without the library."""

    def make() -> socket.socket:
        return socket.socket(FAMILIES[family], KINDS[protocol])

    return inside(namespace, make) if namespace else make()


@contextmanager
def serving(make: Callable[[int, str], socket.socket], port: int, *families: int) -> Iterator[None]:
    """Answer every TCP connection and UDP datagram at ``port`` with the address that asked; ``make(family, protocol)`` opens sockets."""
    with Server() as server:
        for family in families or (4,):
            for protocol in KINDS:
                server.listen(make(family, protocol), port)
        yield


class Server:
    """Threads that answer with the peer's address, until it is left."""

    def __init__(self) -> None:
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._closed = threading.Event()

    def listen(self, sock: socket.socket, port: int) -> None:
        """Serve on a socket."""
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("::" if sock.family == socket.AF_INET6 else "0.0.0.0", port))
        stream = sock.type == socket.SOCK_STREAM
        if stream:
            sock.listen(16)
        sock.settimeout(0.1)
        self._sockets.append(sock)
        thread = threading.Thread(target=self._work, args=(_accept if stream else _receive, sock), daemon=True)
        thread.start()
        self._threads.append(thread)

    def _work(self, answer: Callable[[socket.socket], None], sock: socket.socket) -> None:
        while not self._closed.is_set():
            try:
                answer(sock)
            except TimeoutError:
                continue
            except OSError:  # the client or the network went away in the middle
                continue

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        for thread in self._threads:
            thread.join(5)
        for sock in self._sockets:
            sock.close()


def _accept(sock: socket.socket) -> None:
    connection, peer = sock.accept()
    with connection:
        connection.sendall(peer[0].encode())


def _receive(sock: socket.socket) -> None:
    _, peer = sock.recvfrom(100)
    sock.sendto(peer[0].encode(), peer)


def asks(
    make: Callable[[int, str], socket.socket],
    address: object,
    port: int,
    protocol: str = "tcp",
    *,
    within: float = PATIENCE,
) -> str | None:
    """Return the address that a server at ``address``:``port`` saw, or ``None`` if nobody answered."""
    target = ip_address(str(address))
    with make(target.version, protocol) as sock:
        sock.settimeout(within)
        try:
            sock.connect((str(target), port))
            if protocol == "udp":
                sock.send(b"?")
            answer = sock.recv(100).decode()
        except OSError:
            return None
    return answer or None


def of(sandbox: Sandbox) -> Callable[[int, str], socket.socket]:
    """Sockets of a sandbox, made by the library."""
    return lambda family, protocol: sandbox.socket(FAMILIES[family], KINDS[protocol])


def at(namespace: str) -> Callable[[int, str], socket.socket]:
    """Sockets of a namespace, made without the library."""
    return lambda family, protocol: socket_in(namespace, family, protocol)


# Other processes


def python(
    program: str, *arguments: object, timeout: float = 120, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run a Python program in a process of its own and return it finished."""
    with started(program, *arguments) as process:
        try:
            out, err = process.communicate(timeout=timeout)
        except BaseException:
            process.kill()
            raise
    assert not check or process.returncode == 0, f"status {process.returncode}\n{out}{err}"
    return subprocess.CompletedProcess(program, process.returncode, out, err)


def started(program: str, *arguments: object) -> subprocess.Popen[str]:
    """Start a Python program in a process of its own, its three streams piped."""
    argv = [sys.executable, "-c", program, *map(str, arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe, text=True, cwd=Path(__file__).parents[2])


def sleeper(namespace: str) -> subprocess.Popen[bytes]:
    """A process in a namespace that does nothing, for a minute at most."""
    argv = [*world.entering(namespace), "sleep", "60"]
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL)
    own = os.stat(namespace).st_ino  # noqa: PTH116 (a namespace is a path of text)
    machine.wait_until(lambda: os.stat(f"/proc/{process.pid}/ns/net").st_ino == own, "the process to be inside")  # noqa: PTH116
    return process


@contextmanager
def failing_disk() -> Iterator[None]:
    """Every commit after the first fails: an operation's intent is kept, its end is not."""
    commits: list[str] = []

    def fail(label: str) -> None:
        commits.append(label)
        if label == "before commit" and len(commits) > 2:
            raise sqlite3.OperationalError("disk I/O error")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite, "checkpoint", fail)
        yield
