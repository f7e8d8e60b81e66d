"""Questions about other people's names: asked of the servers behind the service, one after the other, by the reference's rules.

At most three servers, four seconds each, by the client's own transport; SERVFAIL, REFUSED and silence lead to the next, NXDOMAIN is an
answer. Every question goes out by a port of its own with a number of its own, both random, to one address, and an answer counts
only if it comes from there with that number and that question: nobody off the path can slip one in. Equal questions are asked once. So
many are asked at a time, as many more wait, and who waited too long or finds no room is refused. Runs in the service's own process.

May import: cache, streams, wire.
"""

from __future__ import annotations

import errno
import random
import select
import socket
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple, TypeAlias

from . import wire
from .cache import Cache, lifetime
from .streams import Poller
from .wire import Malformed, Query

SERVERS, TIMEOUT = 3, 4.0
"""How many servers are asked, and for how many seconds each may be silent."""
AT_ONCE, WAITING, WAITING_INSIDE = 1024, 1024, 128
"""How many questions are out at a time, how many more wait for their turn, and how many of one sandbox for its own sockets."""
SHARING, STRAYS = 64, 64
"""How many clients share one question; how many wrong answers one question endures."""
PORT = 53

Answer: TypeAlias = Callable[[bytes], object]
Server: TypeAlias = tuple[str, bool]
_random = random.SystemRandom()


class Ways:
    """Sockets inside one sandbox to ask its own servers by; they are used again, each time from another port."""

    def __init__(self, sockets: Sequence[socket.socket]) -> None:
        self._free = {
            kind: [each for each in sockets if each.type == kind] for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM)
        }
        self._kinds = {kind for kind, found in self._free.items() if found}

    def are_in_use(self, kind: socket.SocketKind) -> bool:
        """Whether there are some, and none is free now."""
        return kind in self._kinds and not self._free[kind]

    def take(self, kind: socket.SocketKind) -> socket.socket | None:
        """Return a free one."""
        return self._free[kind].pop() if self._free[kind] else None

    def give_back(self, sock: socket.socket) -> None:
        """Undo its connection, which also gives back its port, and keep it for the next."""
        if sock.fileno() >= 0:
            _disconnect(sock)
            self._free[sock.type].append(sock)


def _disconnect(sock: socket.socket) -> None:
    import ctypes  # noqa: PLC0415 (10 ms, which few services ever need)

    unspecified = ctypes.create_string_buffer(16)  # struct sockaddr of family AF_UNSPEC, see connect(2)
    ctypes.CDLL(None).connect(sock.fileno(), unspecified, 16)


class Behind(NamedTuple):
    """Who is asked for a sandbox: addresses, and whether from the host's namespace; what its answers are shared with; its own sockets."""

    servers: tuple[Server, ...]
    scope: str
    ways: Ways


class Question:
    """A question that is out, or waits to be."""

    def __init__(self, key: Hashable, query: Query, packet: bytes, behind: Behind, *, stream: bool) -> None:
        self.key = key
        self.query = query
        self.servers = deque(behind.servers[:SERVERS])
        self.ways = behind.ways
        self.stream = stream
        self.clients: list[tuple[Query, Answer]] = []
        self.deadline = time.monotonic() + TIMEOUT
        self.sock: socket.socket | None = None
        self.borrowed = False
        self.strays = 0
        self.number = 0
        self.going = b""
        self.coming = bytearray()
        self._packet = packet

    def prepare(self) -> None:
        """Make the message for the next server."""
        self.number = _random.randrange(1 << 16)
        message = self.number.to_bytes(2, "big") + self._packet[2:]
        self.going = len(message).to_bytes(2, "big") + message if self.stream else message
        self.coming = bytearray()
        self.strays = 0
        self.deadline = time.monotonic() + TIMEOUT

    @property
    def kind(self) -> socket.SocketKind:
        """The kind of socket that it goes out by."""
        return socket.SOCK_STREAM if self.stream else socket.SOCK_DGRAM

    @property
    def must_wait(self) -> bool:
        """Whether its next server is asked from a sandbox all of whose sockets are in use, by other questions of its own."""
        return bool(self.servers) and not self.servers[0][1] and self.ways.are_in_use(self.kind)

    def is_answer(self, message: bytes) -> bool:
        """Whether a message is one to this question."""
        asked = self.query.asked
        return (
            len(message) >= wire.HEADER.size + len(asked)
            and message[:2] == self.number.to_bytes(2, "big")
            and message[2] & 0x80 != 0
            and message[4:6] == b"\0\1"
            and message[12 : 12 + len(asked)].lower() == asked.lower()
        )


class Forwarder:
    """Asks servers for the clients of all sandboxes.

    Args:
        poller: Who waits for sockets.
    """

    def __init__(self, poller: Poller) -> None:
        self.cache = Cache()
        self.refused = 0
        self._poller = poller
        self._out: dict[Hashable, Question] = {}
        self._waiting: deque[Question] = deque()
        self._beginning = False

    def ask(self, query: Query, packet: bytes, behind: Behind, answer: Answer, *, stream: bool) -> None:
        """Answer a question out of the cache, or ask.

        Args:
            query: The question.
            packet: Its message.
            behind: Who is asked.
            answer: Called with the answer, now or later.
            stream: The client came by TCP.
        """
        edns = query.edns
        key = (
            behind.scope,
            behind.servers,
            query.asked.lower(),
            query.flags & (wire.RD | wire.CD),
            edns and edns[:3],
            stream,
        )
        kept = self.cache.get(key[:-1], time.monotonic())
        if kept is not None:
            answer(self._fit(kept, query, stream=stream))
            return
        found = self._out.get(key)
        if found is not None and len(found.clients) < SHARING:
            found.clients.append((query, answer))
            return
        question = Question(key, query, packet, behind, stream=stream)
        question.clients.append((query, answer))
        if found is not None or self._is_full(question):
            self._end(question, None, wire.REFUSED)
            return
        self._waiting.append(question)
        self._begin()

    def _is_full(self, question: Question) -> bool:
        """Whether there is no room for one more: of all sandboxes, or of one that waits for its own sockets."""
        if question.must_wait and sum(each.ways is question.ways for each in self._waiting) >= WAITING_INSIDE:
            return True
        return len(self._out) + len(self._waiting) >= AT_ONCE + WAITING

    def tidy(self) -> float | None:
        """Go on with questions that were out for too long; return when to look again, in seconds."""
        now = time.monotonic()
        for question in [each for each in self._waiting if each.deadline <= now]:
            self._waiting.remove(question)
            self._end(question, None, wire.REFUSED)
        for question in [each for each in self._out.values() if each.deadline <= now]:
            self._next(question)
        self._begin()
        first = [each.deadline for each in (*self._out.values(), *self._waiting)] if self._out or self._waiting else []
        return max(min(first) - now, 0.001) if first else None

    def sockets(self) -> list[socket.socket]:
        """Return the sockets of what is out, but for those that belong to a sandbox."""
        return [each.sock for each in self._out.values() if each.sock is not None and not each.borrowed]

    def _begin(self) -> None:
        """Send what waits, as many as may be out; what ends meanwhile makes room in this very turn."""
        if self._beginning or not self._waiting:
            return
        self._beginning = True
        try:
            self._send_waiting()
        finally:
            self._beginning = False

    def _send_waiting(self) -> None:
        for _ in range(len(self._waiting)):
            if len(self._out) >= AT_ONCE:
                return
            question = self._waiting.popleft()
            if question.key in self._out:
                self._out[question.key].clients += question.clients
                continue
            if question.must_wait:
                self._waiting.append(question)
                continue
            self._out[question.key] = question
            self._next(question)

    def _next(self, question: Question, code: int = wire.SERVFAIL) -> None:
        """Ask the next server; with none left, say so."""
        self._release(question)
        while question.servers:
            if question.must_wait:
                self._wait(question)
                return
            server, from_host = question.servers.popleft()
            question.prepare()
            try:
                if self._send(question, server, from_host=from_host):
                    return
            except OSError:
                self._release(question)
        self._end(question, None, code)

    def _wait(self, question: Question) -> None:
        """Let a question that was out wait for a socket of its sandbox."""
        self._out.pop(question.key, None)
        question.deadline = time.monotonic() + TIMEOUT
        self._waiting.append(question)

    def _send(self, question: Question, server: str, *, from_host: bool) -> bool:
        if from_host or question.ways is None:
            sock = socket.socket(socket.AF_INET6 if ":" in server else socket.AF_INET, question.kind)
            sock.setblocking(False)
            question.borrowed = False
        else:
            taken = question.ways.take(question.kind)
            if taken is None:
                return False
            sock, question.borrowed = taken, True
        question.sock = sock
        if sock.family == socket.AF_INET6 and ":" not in server:
            server = f"::ffff:{server}"
        failed = sock.connect_ex((server, PORT))
        if failed not in {0, errno.EINPROGRESS}:
            raise OSError(failed, "connect")
        events = select.EPOLLOUT if question.stream else select.EPOLLIN
        self._poller.watch(sock, events, lambda events: self._ready(question, events))
        if not question.stream:
            sock.send(question.going)
        return True

    def _ready(self, question: Question, events: int) -> None:
        assert question.sock is not None
        try:
            if question.stream:
                self._stream(question, question.sock, events)
            else:
                self._datagrams(question, question.sock)
        except BlockingIOError:
            pass
        except OSError:
            self._next(question)

    def _datagrams(self, question: Question, sock: socket.socket) -> None:
        while question.sock is sock:
            message = sock.recv(wire.STREAM_MAX)
            if question.is_answer(message):
                self._heard(question, message)
                return
            question.strays += 1
            if question.strays > STRAYS:
                self._next(question)

    def _stream(self, question: Question, sock: socket.socket, events: int) -> None:
        if events & select.EPOLLOUT and question.going:
            question.going = question.going[sock.send(question.going) :]
            if not question.going:
                self._poller.change(sock, select.EPOLLIN)
            return
        data = sock.recv(wire.STREAM_MAX + 2)
        if not data:
            raise ConnectionResetError(errno.ECONNRESET, "hung up")
        question.coming += data
        size = int.from_bytes(question.coming[:2], "big")
        if len(question.coming) >= 2 + size and len(question.coming) >= 2:
            message = bytes(question.coming[2 : 2 + size])
            if not question.is_answer(message):
                raise ConnectionResetError(errno.EPROTO, "an answer to something else")
            self._heard(question, message)

    def _heard(self, question: Question, message: bytes) -> None:
        code = message[3] & 0xF
        try:
            lifetime(message)
        except Malformed:
            self._next(question)
            return
        if code in {wire.SERVFAIL, wire.REFUSED}:
            self._next(question)
            return
        assert isinstance(question.key, tuple)
        self.cache.put(question.key[:-1], message, time.monotonic())
        self._end(question, message, code)

    def _end(self, question: Question, message: bytes | None, code: int) -> None:
        self._release(question)
        if self._out.get(question.key) is question:
            del self._out[question.key]
        self.refused += code == wire.REFUSED and message is None
        for query, answer in question.clients:
            if message is None:
                answer(wire.response(query, code, [], [], wire.STREAM_MAX, ours=False))
            else:
                answer(self._as_asked(message, query))
        self._begin()

    def _release(self, question: Question) -> None:
        sock, question.sock = question.sock, None
        if sock is None:
            return
        self._poller.forget(sock)
        if question.borrowed and question.ways is not None:
            question.ways.give_back(sock)
        else:
            sock.close()

    def _fit(self, message: bytes, query: Query, *, stream: bool) -> bytes:
        """Return a kept message for a client: one that came by TCP may be too long for UDP."""
        limit = wire.limit_of(query, stream=stream)
        if len(message) <= limit:
            return self._as_asked(message, query)
        short = bytearray(wire.response(query, message[3] & 0xF, [], [], limit, ours=False))
        short[2] |= wire.TC >> 8
        return bytes(short)

    @staticmethod
    def _as_asked(message: bytes, query: Query) -> bytes:
        """Give an answer the number of a client's question, and its letters as they were."""
        head = query.number.to_bytes(2, "big") + message[2:12]
        return head + query.asked + message[12 + len(query.asked) :]
