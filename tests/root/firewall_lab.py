"""A host with networks, our table on it, an outside, and TCP probes between them that say whose address a server saw.

Division of labour: `Lab` builds places out of ``ip`` and opens sockets in them; which probe must see what is the tests' business.
"""

from __future__ import annotations

import ctypes
import os
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Any, TypeVar

from attrs import field, frozen, mutable

from tests.root import machine, world

T = TypeVar("T")
NETLINK_NETFILTER = 12
_KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
_LIBC = ctypes.CDLL(None, use_errno=True)


def inside(namespace: str, function: Callable[[], T]) -> T:
    """Call a function on a thread of its own inside the namespace at a path; without root, in a child of its own."""
    if not world.ROOT:
        return world.inside(namespace, function)
    results: list[T] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            with Path(namespace).open("rb") as handle:
                if _LIBC.setns(handle.fileno(), 0x40000000):
                    raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
            results.append(function())
        except BaseException as error:  # noqa: BLE001 (raised again on the test's thread)
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    for error in errors:
        raise error
    return results[0]


def netfilter(namespace: str) -> socket.socket:
    """A netlink socket to the packet filter of a namespace."""
    return inside(namespace, lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER))


@frozen
class Probe:
    """``client`` connects to ``address``:``port``; the server sees ``sees``, or nobody answers (``None``).

    UDP: one datagram, no answer. ``source``: from an address that is not the client's own.
    """

    what: str
    client: str
    address: str
    port: int
    sees: str | None
    protocol: str = "tcp"
    source: str = ""


@mutable
class Lab:
    """Places by name, each a namespace; ``host`` forwards between the others."""

    places: dict[str, str] = field(factory=dict)
    servers: list[socket.socket] = field(factory=list)

    def add(self, *names: str) -> None:
        """Make places."""
        for name in names:
            self.places[name] = machine.new_namespace(name)

    def ip(self, place: str, *lines: str) -> None:
        """Run lines of ``ip`` in a place, in one process."""
        done = machine.run_in(self.places[place], ["ip", "-batch", "-"], input="\n".join(lines), check=False)
        assert done.returncode == 0, f"{place}: {done.stderr}"

    def set(self, place: str, **settings: int) -> None:
        """Write settings of a place, by their path below ``/proc/sys/net`` with ``__`` for a slash."""

        def work() -> None:
            for name, value in settings.items():
                Path("/proc/sys/net", name.replace("__", "/")).write_text(str(value), encoding="ascii")

        inside(self.places[place], work)

    def bridge(self, name: str, *gateways: str) -> None:
        """A bridge on the host that lets translated loopback connections through, as the driver makes it."""
        self.ip("host", f"link add {name} type bridge", f"link set {name} up")
        self.ip("host", *(f"addr add {each} dev {name} nodad" for each in gateways))
        self.set("host", **{f"ipv4__conf__{name}__route_localnet": 1})

    def attach(self, place: str, bridge: str, *addresses: str, link: str = "eth0", **port: str) -> None:
        """Join a place to a bridge with a veth pair; ``port`` are settings of the bridge's port (``isolated="on"``)."""
        here, there = f"v{place}{link[-1]}", Path(self.places[place]).name
        options = " ".join(f"{name} {value}" for name, value in {"hairpin": "on", **port}.items())
        self.ip(
            "host",
            f"link add {here} type veth peer name {link} netns {there}",
            f"link set {here} master {bridge} up",
            f"link set {here} type bridge_slave {options}",
        )
        self.ip(place, f"link set {link} up", *(f"addr add {each} dev {link} nodad" for each in addresses))

    def wire(self, place: str, host_link: str, host: tuple[str, ...], there: tuple[str, ...]) -> None:
        """Join a place to the host directly."""
        name = Path(self.places[place]).name
        self.ip("host", f"link add {host_link} type veth peer name eth0 netns {name}", f"link set {host_link} up")
        self.ip("host", *(f"addr add {each} dev {host_link} nodad" for each in host))
        self.ip(place, "link set eth0 up", *(f"addr add {each} dev eth0 nodad" for each in there))

    def serve(self, place: str, *ports: int, families: Iterable[int] = (4, 6), address: str = "") -> None:
        """Listen in a place, TCP and UDP."""

        def listen() -> list[socket.socket]:
            return [_listen(f, kind, p, address) for f in families for p in ports for kind in _KINDS.values()]

        self.servers += inside(self.places[place], listen)

    def run(self, probes: Iterable[Probe], patience: float = 8.0, grace: float = 0.5) -> dict[str, str | None]:
        """Make all probes at once; what a server saw of each. Waits ``grace`` longer for what should not come."""
        wanted = {probe.what: probe for probe in probes}
        seen: dict[str, str | None] = dict.fromkeys(wanted)
        expected = {what for what, probe in wanted.items() if probe.sees}
        with ExitStack() as stack:
            ear = _Ear(self.servers, seen, stack)
            clients = {what: stack.enter_context(self._connect(probe)) for what, probe in wanted.items()}
            end = time.monotonic() + patience
            while time.monotonic() < end:
                if expected <= {what for what, who in seen.items() if who}:
                    end, expected = min(end, time.monotonic() + grace), {""}
                _introduce(clients, seen)
                ear.listen(0.02)
        return seen

    def close(self) -> None:
        """Stop listening and remove the places."""
        for server in self.servers:
            server.close()
        for path in reversed(self.places.values()):
            machine.drop_namespace(path)

    def _connect(self, probe: Probe) -> socket.socket:
        def connect() -> socket.socket:
            client = socket.socket(_FAMILIES[ip_address(probe.address).version], _KINDS[probe.protocol])
            client.setblocking(False)
            if probe.source:
                client.setsockopt(socket.SOL_IP, socket.IP_TRANSPARENT, 1)
                client.bind((probe.source, 0))
            client.connect_ex(socket.getaddrinfo(probe.address, probe.port, flags=socket.AI_NUMERICHOST)[0][4])
            return client

        return inside(self.places[probe.client], connect)


def _introduce(clients: dict[str, socket.socket], seen: dict[str, str | None]) -> None:
    """Let clients that are connected and were not heard yet say who they are."""
    for what, client in clients.items():
        if seen[what] is None:
            with suppress(OSError):  # not connected, or never will be
                client.getpeername()
                client.send(what.encode() + b"\n")


def _listen(family: int, kind: int, port: int, address: str) -> socket.socket:
    server = socket.socket(_FAMILIES[family], kind)
    if family == 6:
        server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    server.bind((address, port))
    if kind == socket.SOCK_STREAM:
        server.listen(256)
    server.setblocking(False)
    return server


class _Ear:
    """Hears all servers and the connections that they accept."""

    def __init__(self, servers: Iterable[socket.socket], seen: dict[str, str | None], stack: ExitStack) -> None:
        self._seen, self._stack = seen, stack
        self._selector = stack.enter_context(selectors.DefaultSelector())
        for server in servers:
            self._selector.register(server, selectors.EVENT_READ)

    def listen(self, seconds: float) -> None:
        """Take what comes within this time."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            for key, _ in self._selector.select(left):
                assert isinstance(key.fileobj, socket.socket)
                self._take(key.fileobj, key.data)

    def _take(self, sock: socket.socket, peer: Sequence[Any] | None) -> None:
        if sock.type == socket.SOCK_DGRAM:
            self._note(*sock.recvfrom(400))
        elif peer is None:
            connection, address = sock.accept()
            connection.setblocking(False)
            self._selector.register(self._stack.enter_context(connection), selectors.EVENT_READ, address)
        else:
            with suppress(OSError):
                self._note(sock.recv(400), peer)
            self._selector.unregister(sock)

    def _note(self, data: bytes, peer: Sequence[Any]) -> None:
        what = data.decode().partition("\n")[0]
        if what in self._seen:
            self._seen[what] = peer[0].partition("%")[0]
