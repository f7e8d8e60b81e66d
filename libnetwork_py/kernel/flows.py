"""Forgets the connections of addresses and ports that are gone.

The kernel remembers where each connection was led (conntrack), some of them for minutes. When a container's address or a published
port goes, or goes to another owner, packets of the same connection would still be led to the old one. `Flows` deletes what is
remembered of them and nothing else: for an address, connections from it, to it, or translated to it; for a port that went, those
that came through it; for a port that came, UDP ones to the host itself that are led elsewhere (each datagram counts as the same
connection, so the new owner would get none of them).

Division of labour: the caller says what is gone, when it is, and does not wait: a thread looks a little later, for several operations
at once. It lets the kernel filter where it can (``CTA_FILTER``, Linux 5.8; older kernels answer with all), looks into nothing else, and
deletes the right ones one by one, so a table with a hundred thousand others costs the caller nothing. Only who brings something back
that is still to be forgotten waits for it.

May import: api, stack, transport, desired, types, errors.
"""

from __future__ import annotations

import os
import re
import socket
import struct
import threading
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress

from attrs import field, frozen, mutable

from ..desired import HOST, Address, Change, Element
from ..errors import LibnetworkError
from ..types import IPAddress
from .api import PortFlow
from .stack import Sockets
from .transport import NETLINK_NETFILTER, NLM_F_ACK, Transport

PAUSE = 0.05
"""Seconds before a look: a dropped namespace is gone after about 15 ms, and what else is to be forgotten comes along."""
FEW = 8
"""Up to so many addresses the kernel is asked for each; for more, once for everything."""

_COUNT = "netfilter/nf_conntrack_count"
_SMALL = 5000
"""Up to so many connections it is quickest to ask for all at once: each question takes the kernel through its whole table, 8 ms."""
_FEW_MARKS = 16
"""To look for more byte strings at once takes longer than to read."""

_GET, _DELETE = 0x101, 0x102
_REQUEST, _DUMP = 0x1, 0x300
_ORIGINAL, _REPLY, _ID, _ZONE, _FILTER = 1, 2, 12, 18, 25
_NESTED = 0x8000
_SOURCE, _DESTINATION = 1, 2
_PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132}
_UDP = 17
_FAMILIES = {0: socket.AF_UNSPEC, 4: socket.AF_INET, 6: socket.AF_INET6}
_GETROUTE, _LOCAL = 26, 2

Tuple = tuple[bytes, bytes, int, int, int]
"""Source, destination, protocol, source port, destination port."""


@frozen
class _Flow:
    """A connection as the kernel remembers it: how it began, whose answers it awaits, and what names it in a deletion."""

    original: Tuple
    reply: Tuple
    name: bytes


@mutable
class _Pending:
    """What is to be forgotten: addresses, ports that went, ports that came."""

    addresses: set[IPAddress] = field(factory=set)
    closed: set[PortFlow] = field(factory=set)
    opened: set[PortFlow] = field(factory=set)

    def __bool__(self) -> bool:
        return bool(self.addresses or self.closed or self.opened)

    def concerns(self, change: Change) -> bool:
        """Whether a change brings back an address that went."""
        return any(isinstance(word, Address) and word.address.ip in self.addresses for word in change.make)

    def keep(self, change: Change) -> None:
        """Leave alone the ports that lead again where they led."""
        if self.closed:
            elements = (single for word in change.make if isinstance(word, Element) for single in word.singles)
            ways = {(word.fields[-2:], word.value) for word in elements}
            self.closed = {port for port in self.closed if not _led(port, ways)}


def _led(port: PortFlow, ways: Collection[object]) -> bool:
    protocol = port.binding.protocol
    return all(((protocol, outer), (port.address, inner)) in ways for outer, inner in port.ways)


class Flows:
    """Forgets connections of the host's namespace.

    Args:
        sockets: Opens one of its own, in the host's namespace.
    """

    def __init__(self, sockets: Sockets) -> None:
        self._sockets = sockets
        self._fresh()

    def _fresh(self) -> None:
        self._pid = os.getpid()
        self._pending, self._working = _Pending(), _Pending()
        self._changed = threading.Condition()
        self._hurry = self._closing = False
        self._thread: threading.Thread | None = None

    def forget(
        self, addresses: Iterable[IPAddress], closed: Iterable[PortFlow] = (), opened: Iterable[PortFlow] = ()
    ) -> None:
        """Forget connections soon; see `Kernel.forget_flows`."""
        if self._pid != os.getpid():
            self._fresh()
        with self._changed:
            awake = bool(self._pending)
            self._pending.addresses.update(addresses)
            self._pending.closed.update(closed)
            self._pending.opened.update(opened)
            if awake or not self._pending:
                return
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="libnetwork_py flows", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def settle(self, change: Change) -> None:
        """Return when no address that a change brings back is still to be forgotten."""
        if self._pid != os.getpid():
            self._fresh()
        if not self._pending and not self._working:
            return
        with self._changed:
            self._pending.keep(change)
            if self._pending.concerns(change) or self._working.concerns(change):
                self._drain()

    def keep(self, addresses: Iterable[IPAddress]) -> None:
        """Forget nothing of addresses whose owner has them again; see `Kernel.keep_flows`."""
        if self._pending.addresses and self._pid == os.getpid():
            with self._changed:
                self._pending.addresses.difference_update(addresses)
                self._working.addresses = self._working.addresses.difference(addresses)

    def close(self) -> None:
        """Forget what is still to be forgotten, and end the thread."""
        if self._pid != os.getpid():
            self._fresh()
        with self._changed:
            self._drain()
            self._closing, thread = True, self._thread
            self._changed.notify_all()
        if thread is not None:
            thread.join()

    def _drain(self) -> None:
        while self._pending or self._working:
            self._hurry = True
            self._changed.notify_all()
            self._changed.wait()
        self._hurry = False

    def _run(self) -> None:
        try:
            transport: Transport | None = self._sockets.inside(HOST, NETLINK_NETFILTER)
        except LibnetworkError:  # the host's namespace is gone, or this kernel remembers nothing
            transport = None
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._pending or self._closing)
                if not self._pending:
                    break
                self._changed.wait_for(lambda: self._hurry or self._closing, PAUSE)
                self._working, self._pending = self._pending, _Pending()
            if transport is not None:
                with suppress(Exception):  # whatever it is, those who wait for it must go on
                    self._work(transport, self._working)
            with self._changed:
                self._working = _Pending()
                self._changed.notify_all()
        if transport is not None:
            transport.close()

    def _work(self, transport: Transport, work: _Pending) -> None:
        (count,) = self._sockets.opener.read(HOST, [_COUNT])
        if count == "0":
            return
        ask_all = count is None or int(count) <= _SMALL
        names = {flow.name: None for flow in _of_addresses(transport, work.addresses, ask_all=ask_all)}
        names |= {flow.name: None for flow in _of_closed(transport, work.closed, ask_all=ask_all)}
        names |= {flow.name: None for flow in self._of_opened(transport, work.opened)}
        # a refusal means that it is gone meanwhile, which is as good
        transport.send([_message(_DELETE, NLM_F_ACK, name[0], name[1:]) for name in names])

    def _of_opened(self, transport: Transport, ports: Iterable[PortFlow]) -> Iterator[_Flow]:
        """UDP flows to one of the host's own addresses and a port that is led elsewhere since."""
        wanted = {
            (port.address.version, outer): (port, inner)
            for port in ports
            if port.binding.protocol == "udp"
            for outer, inner in port.ways
        }
        for version in {version for version, _ in wanted}:
            ports_there = {_attribute(3, struct.pack(">H", outer))[:6] for each, outer in wanted if each == version}
            for flow in _dump(transport, version, _UDP_ONLY, ports_there):
                original, reply = flow.original, flow.reply
                port, inner = wanted.get((version, original[4]), (None, 0))
                if original[2] != _UDP or port is None or (reply[0], reply[3]) == (port.address.packed, inner):
                    continue
                if _binds(port, original[1]) and self._is_local(original[1]):
                    yield flow

    def _is_local(self, address: bytes) -> bool:
        """Whether an address is one of the host's own, as its routing says."""
        family = socket.AF_INET if len(address) == 4 else socket.AF_INET6
        destination = struct.pack("=HH", 4 + len(address), 1) + address
        body = struct.pack("=BBBBBBBBI", family, len(address) * 8, 0, 0, 0, 0, 0, 0, 0) + destination
        opener = self._sockets.opener
        with suppress(LibnetworkError, OSError), opener.socket(HOST, socket.AF_NETLINK, socket.SOCK_RAW) as ask:
            ask.send(struct.pack("=IHHII", 16 + len(body), _GETROUTE, _REQUEST, 1, 0) + body)
            answer = ask.recv(1 << 14)
            return len(answer) > 24 and answer[16] == family and answer[23] == _LOCAL
        return False


def _of_addresses(transport: Transport, addresses: set[IPAddress], *, ask_all: bool) -> Iterator[_Flow]:
    """Flows from an address, to it, or translated to it."""
    packed = {address.packed for address in addresses}
    ends = ((_ORIGINAL, _SOURCE), (_ORIGINAL, _DESTINATION), (_REPLY, _SOURCE))
    for version, wanted in _questions(addresses, ends, ask_all=ask_all):
        for flow in _dump(transport, version, wanted, packed):
            if packed & {*flow.original[:2], flow.reply[0]}:
                yield flow


def _questions(
    addresses: set[IPAddress], ends: Iterable[tuple[int, int]], *, ask_all: bool
) -> Iterator[tuple[int, bytes]]:
    """What to ask for: a family and a filter. IPv6 is asked for whole: up to Linux 6.18 its filters let through the others."""
    if ask_all:
        if addresses:
            yield 0, b""
        return
    few = [address for address in addresses if address.version == 4]
    if len(few) <= FEW:
        yield from ((4, _filter(address, *end)) for address in few for end in ends)
    elif few:
        yield 4, b""
    if len(few) < len(addresses):
        yield 6, b""


def _of_closed(transport: Transport, ports: set[PortFlow], *, ask_all: bool) -> Iterator[_Flow]:
    """Flows through a port of the host to a container's."""
    addresses = {port.address for port in ports}
    packed = {address.packed for address in addresses}
    ways = {
        (port.address.packed, _PROTOCOLS[port.binding.protocol], inner, outer)
        for port in ports
        for outer, inner in port.ways
    }
    for version, wanted in _questions(addresses, [(_REPLY, _SOURCE)], ask_all=ask_all):
        for flow in _dump(transport, version, wanted, packed):
            if (flow.reply[0], flow.reply[2], flow.reply[3], flow.original[4]) in ways:
                yield flow


def _binds(port: PortFlow, address: bytes) -> bool:
    """Whether a port is published at this address of the host."""
    host_ip = port.binding.host_ip
    return host_ip is None or host_ip.is_unspecified or host_ip.packed == address


def _dump(transport: Transport, version: int, wanted: bytes, marks: Collection[bytes]) -> Iterator[_Flow]:
    """The flows of a family that a filter lets through and in which one of some byte strings occurs: few are worth reading."""
    family = _FAMILIES[version]
    look = re.compile(b"|".join(map(re.escape, sorted(marks))) if len(marks) <= _FEW_MARKS else b"").search

    def among(data: bytes) -> bool:
        return look(data) is not None

    for _, payload in transport.dump(_message(_GET, _DUMP, family, wanted), "read the connections", among):
        flow = _read(payload) if look(payload) else None
        if flow is not None:
            yield flow


def _message(kind: int, flags: int, family: int, body: bytes) -> bytes:
    return struct.pack("=IHHIIBBH", 20 + len(body), kind, flags | _REQUEST, 0, 0, family, 0, 0) + body


def _filter(address: IPAddress, direction: int, end: int) -> bytes:
    """The attributes that let through flows with an address at one end of the original or reply direction."""
    number = end if address.version == 4 else end + 2
    inside = _attribute(1 | _NESTED, _attribute(number, address.packed))
    flags = _attribute(direction, struct.pack("=I", 1 << (end - 1)))
    return _attribute(direction | _NESTED, inside) + _attribute(_FILTER | _NESTED, flags)


def _attribute(number: int, payload: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(payload), number) + payload + bytes(-len(payload) % 4)


_UDP_ONLY = _attribute(_ORIGINAL | _NESTED, _attribute(2 | _NESTED, _attribute(1, bytes((_UDP,))))) + _attribute(
    _FILTER | _NESTED, _attribute(_ORIGINAL, struct.pack("=I", 1 << 3))
)
"""The attributes that let through UDP."""


def _read(payload: bytes) -> _Flow | None:
    """A flow out of what the kernel says of it (``ctnetlink_fill_info`` in nf_conntrack_netlink.c)."""
    parts: dict[int, bytes] = dict(_attributes(payload[4:]))
    original, reply = _tuple(parts.get(_ORIGINAL, b"")), _tuple(parts.get(_REPLY, b""))
    if original is None or reply is None:
        return None
    name = _attribute(_ORIGINAL | _NESTED, parts[_ORIGINAL])
    name += b"".join(_attribute(number, parts[number]) for number in (_ID, _ZONE) if number in parts)
    return _Flow(original, reply, payload[:1] + name)


def _tuple(data: bytes) -> Tuple | None:
    parts = dict(_attributes(data))
    ends = [each for _, each in _attributes(parts.get(1, b""))]
    protocol = dict(_attributes(parts.get(2, b"")))
    if len(ends) != 2 or 1 not in protocol:
        return None
    ports = [int.from_bytes(protocol.get(each, b""), "big") for each in (2, 3)]
    return ends[0], ends[1], protocol[1][0], ports[0], ports[1]


def _attributes(data: bytes) -> Sequence[tuple[int, bytes]]:
    found: list[tuple[int, bytes]] = []
    offset = 0
    while offset + 4 <= len(data):
        length, number = struct.unpack_from("=HH", data, offset)
        if length < 4:
            break
        found.append((number & 0x3FFF, data[offset + 4 : offset + length]))
        offset += (length + 3) & ~3
    return found
