"""Real packets between namespaces, many at a time: servers that answer with the address that asked, clients that ask them all at once.

Division of labour: here are sockets and nothing else; who asks whom, and what must come of it, is said elsewhere. Nothing here uses
the library, so that another program can be asked the same questions.
"""

from __future__ import annotations

import ipaddress
import selectors
import socket
import struct
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import Self

from attrs import frozen, mutable

from tests.root.firewall_lab import inside

FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
_ECHO = {4: (socket.IPPROTO_ICMP, 8, 0), 6: (socket.IPPROTO_ICMPV6, 128, 129)}
"""Protocol, type of a request, type of an answer."""
_PACKET_INFO = {4: (socket.IPPROTO_IP, 8), 6: (socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO)}
"""What makes the kernel tell which address was asked (``IP_PKTINFO``, which Python has no name for)."""
_MARK = b"ask?"
"""In every echo request: those of others are none of ours."""
_AGAIN = 0.25
"""Seconds after which an unanswered datagram is sent again."""


@frozen
class Question:
    """Does ``address`` answer the namespace ``client`` by ``protocol`` (``tcp``, ``udp``, ``icmp``), and as whom does it see it?"""

    name: str
    client: str
    address: str
    protocol: str
    port: int = 0

    @property
    def family(self) -> int:
        """4 or 6."""
        return ipaddress.ip_address(self.address).version


@contextmanager
def servers(places: Mapping[str, Iterable[int]]) -> Iterator[list[socket.socket]]:
    """Listen in namespaces at ports, by both protocols and families, and hear the echo requests that get there."""
    opened: list[socket.socket] = []
    try:
        for namespace, ports in places.items():
            opened += inside(namespace, partial(_listeners, tuple(ports)))
        yield opened
    finally:
        for each in opened:
            each.close()


def ask(
    listening: Iterable[socket.socket],
    questions: Iterable[Question],
    *,
    expected: Iterable[str] = (),
    patience: float = 5.0,
    grace: float = 0.5,
) -> dict[str, str | None]:
    """Ask everything at once; return whom the server saw, or ``None`` where no answer came back.

    Waits for the ``expected`` for ``patience`` seconds at most, and then ``grace`` longer for what should not come.
    """
    asked = list(questions)
    with _Ear(listening) as ear:
        for number, (question, sock) in enumerate(zip(asked, _clients(asked), strict=True)):
            ear.begin(number, question, sock)
        waited, end, all_came = set(expected), time.monotonic() + patience, False
        while time.monotonic() < end:
            if not all_came and waited <= ear.answered():
                all_came, end = True, min(end, time.monotonic() + grace)
            ear.listen(0.02)
        return {question.name: ear.whom(number) for number, question in enumerate(asked)}


def _listeners(ports: tuple[int, ...]) -> list[socket.socket]:
    opened = [_listener(family, protocol, port) for family in FAMILIES for port in ports for protocol in KINDS]
    return opened + [_raw(family) for family in FAMILIES]


def _listener(family: int, protocol: str, port: int) -> socket.socket:
    sock = socket.socket(FAMILIES[family], KINDS[protocol])
    if family == 6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    if protocol == "tcp":
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("", port))
    if protocol == "tcp":
        sock.listen(512)
    else:
        sock.setsockopt(*_PACKET_INFO[family], 1)
    sock.setblocking(False)
    return sock


def _raw(family: int) -> socket.socket:
    sock = socket.socket(FAMILIES[family], socket.SOCK_RAW, _ECHO[family][0])
    sock.setblocking(False)
    return sock


def _clients(questions: list[Question]) -> list[socket.socket]:
    opened: dict[int, socket.socket] = {}
    for namespace in dict.fromkeys(each.client for each in questions):
        mine = [number for number, each in enumerate(questions) if each.client == namespace]
        opened |= inside(namespace, partial(_open_clients, questions, mine))
    return [opened[number] for number in range(len(questions))]


def _client(question: Question) -> socket.socket:
    if question.protocol == "icmp":
        return _raw(question.family)
    sock = socket.socket(FAMILIES[question.family], KINDS[question.protocol])
    sock.setblocking(False)
    return sock


def _open_clients(questions: list[Question], mine: list[int]) -> dict[int, socket.socket]:
    return {number: _client(questions[number]) for number in mine}


@mutable
class _Client:
    number: int
    question: Question
    sock: socket.socket
    sent: float = 0.0


class _Ear:
    """Hears servers and clients on one thread. ``seen``: number of a question → whom its server saw, once the answer is back."""

    def __init__(self, listening: Iterable[socket.socket]) -> None:
        self.seen: dict[int, str] = {}
        self._echoes: dict[int, str] = {}
        self._waiting: dict[int, _Client] = {}
        self._names: dict[int, str] = {}
        self._accepted: list[socket.socket] = []
        self._clients: list[socket.socket] = []
        self._selector = selectors.DefaultSelector()
        for sock in listening:
            serve: Callable[[socket.socket], None] = {
                socket.SOCK_STREAM: self._accept,
                socket.SOCK_DGRAM: self._answer,
                socket.SOCK_RAW: self._note_echo,
            }[sock.type]
            self._selector.register(sock, selectors.EVENT_READ, serve)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._selector.close()
        for sock in (*self._accepted, *self._clients):
            sock.close()

    def answered(self) -> set[str]:
        """The names of the questions that were answered."""
        return {self._names[number] for number in self.seen}

    def whom(self, number: int) -> str | None:
        """Whom the server of a question saw; ``None`` where no answer came back."""
        return self.seen[number] or self._echoes.get(number, "nobody known") if number in self.seen else None

    def begin(self, number: int, question: Question, sock: socket.socket) -> None:
        """Let a client ask."""
        self._names[number] = question.name
        client = self._waiting[number] = _Client(number, question, sock)
        self._clients.append(sock)
        self._selector.register(sock, selectors.EVENT_READ, lambda _: self._hear(client))
        with suppress(OSError):
            if question.protocol != "icmp":
                sock.connect_ex((question.address, question.port))

    def listen(self, seconds: float) -> None:
        """Take what comes within this time; ask again where nothing came."""
        end = time.monotonic() + seconds
        for client in [each for each in self._waiting.values() if each.sent + _AGAIN < end]:
            client.sent = end
            with suppress(OSError):
                self._send(client)
        while (left := end - time.monotonic()) > 0:
            for key, _ in self._selector.select(left):
                assert isinstance(key.fileobj, socket.socket)
                with suppress(OSError):
                    key.data(key.fileobj)

    def _send(self, client: _Client) -> None:
        question = client.question
        if question.protocol == "udp":
            client.sock.send(b"who am I?")
        elif question.protocol == "icmp":
            client.sock.sendto(_echo(question.family, client.number), (question.address, 0))

    def _accept(self, sock: socket.socket) -> None:
        connection, peer = sock.accept()
        self._accepted.append(connection)
        connection.send(peer[0].encode())

    def _answer(self, sock: socket.socket) -> None:
        _, details, _, peer = sock.recvmsg(100, 200)
        sock.sendmsg([peer[0].encode()], [_from_where_it_came(*each) for each in details], 0, peer)

    def _note_echo(self, sock: socket.socket) -> None:
        data, peer = sock.recvfrom(400)
        number = _echoed(sock, data, answer=False)
        if number is not None:
            self._echoes[number] = peer[0]

    def _hear(self, client: _Client) -> None:
        if client.question.protocol == "icmp":
            if _echoed(client.sock, client.sock.recv(400), answer=True) != client.number:
                return
            text = ""  # the server may be heard later than its answer
        else:
            try:
                text = client.sock.recv(100).decode()
            except OSError:
                self._selector.unregister(client.sock)  # refused: it will not come
                raise
        if client.number not in self.seen:
            self.seen[client.number] = text.partition("%")[0]
            self._waiting.pop(client.number, None)
            self._selector.unregister(client.sock)


def _from_where_it_came(level: int, kind: int, info: bytes) -> tuple[int, int, bytes]:
    """The packet information that makes an answer leave with the address that was asked (ip(7), ipv6(7))."""
    if level == socket.IPPROTO_IPV6:
        return level, kind, info[:16] + bytes(4)
    return level, kind, bytes(4) + info[8:12] + bytes(4)


def _echo(family: int, number: int) -> bytes:
    kind = _ECHO[family][1]
    packet = struct.pack("!BBHHH4s", kind, 0, 0, number, number, _MARK)
    return packet[:2] + struct.pack("!H", _checksum(packet)) + packet[4:]  # the kernel sums up ICMPv6 itself


def _checksum(data: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    return ~((total >> 16) + (total & 0xFFFF)) & 0xFFFF


def _echoed(sock: socket.socket, data: bytes, *, answer: bool) -> int | None:
    family = 4 if sock.family == socket.AF_INET else 6
    if family == 4:
        data = data[(data[0] & 15) * 4 :]
    if len(data) < 12:
        return None
    kind, _, _, _, number, mark = struct.unpack_from("!BBHHH4s", data)  # the identifier may be translated
    return int(number) if (kind, mark) == (_ECHO[family][2 if answer else 1], _MARK) else None
