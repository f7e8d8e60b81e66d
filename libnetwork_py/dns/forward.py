"""Questions about other people's names: asked of the servers behind the service, one after the other, by the reference's rules.

At most three servers, four seconds each, by the client's own transport; SERVFAIL, REFUSED and silence lead to the next, NXDOMAIN is an
answer. Every question goes out by a socket of its own, so by a port of its own, with a number of its own, both random, to one address,
and an answer counts only if it comes from there with that number and that question: nobody off the path can slip one in. Equal questions
are asked once. So many of one sandbox are out at a time, and of all together; as many more wait, and who waited too long or finds no room
is refused. Runs in the service's own process.

Division of labour: `Forwarder` counts, waits and answers; `Question` is one that is out; `inside` opens sockets in sandboxes.

May import: cache, inside, log, streams, wire.
"""

from __future__ import annotations

import errno
import random
import resource
import select
import socket
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterator
from typing import NamedTuple, TypeAlias

from . import inside, wire
from .cache import Cache, lifetime
from .log import Log
from .streams import Poller
from .wire import Malformed, Query

SERVERS, TIMEOUT = 3, 4.0
"""How many servers are asked, and for how many seconds each may be silent."""
AT_ONCE, AT_ONCE_IN_ALL = 1024, 4096
"""How many questions of one sandbox are out at a time, and of all, where the process may have that many files; as many more wait."""
SHARING, STRAYS = 2048, 64
"""How many clients share one question; how many wrong answers one question endures."""
PORT = 53

Answer: TypeAlias = Callable[[bytes], object]
Server: TypeAlias = tuple[str, bool]
_random = random.SystemRandom()


class Behind(NamedTuple):
    """Who is asked for a sandbox, and whose answers it shares.

    Attributes:
        who: The sandbox.
        servers: Addresses, and whether from the host's namespace.
        scope: What its answers are shared with; empty: it asks from the host alone, like many.
        near: A socket of its own: what is not asked from the host is asked from there.
        where: Its network namespace's path.
    """

    who: str
    servers: tuple[Server, ...]
    scope: str
    near: socket.socket
    where: str


class Share:
    """What of one sandbox is out, and what waits."""

    def __init__(self) -> None:
        self.out = 0
        self.waiting: deque[Question] = deque()


class Question:
    """A question that is out, or waits to be."""

    def __init__(self, key: Hashable, query: Query, packet: bytes, behind: Behind, *, stream: bool) -> None:
        self.key = key
        self.query = query
        self.who = behind.who
        self.where = behind.where
        self.inside = bool(behind.scope)
        self.servers = deque(behind.servers[:SERVERS])
        self.stream = stream
        self.clients: list[tuple[Query, Answer]] = []
        self.deadline = time.monotonic() + TIMEOUT
        self.sock: socket.socket | None = None
        self.strays = 0
        self.number = 0
        self.going = b""
        self.coming = bytearray()
        self._packet, self._near = packet, behind.near

    def prepare(self) -> None:
        """Make the message for the next server."""
        self.number = _random.randrange(1 << 16)
        message = self.number.to_bytes(2, "big") + self._packet[2:]
        self.going = len(message).to_bytes(2, "big") + message if self.stream else message
        self.coming = bytearray()
        self.strays = 0
        self.deadline = time.monotonic() + TIMEOUT

    def open(self, server: str, *, from_host: bool) -> socket.socket:
        """Open a socket and lead it to a server."""
        family = socket.AF_INET6 if ":" in server else socket.AF_INET
        kind = socket.SOCK_STREAM if self.stream else socket.SOCK_DGRAM
        sock = socket.socket(family, kind) if from_host else inside.open_socket(self._near, family, kind)
        self.sock = sock
        sock.setblocking(False)
        failed = sock.connect_ex((server, PORT))
        if failed not in {0, errno.EINPROGRESS}:
            raise OSError(failed, "connect")
        return sock

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

    Attributes:
        refused: Sandbox → how many questions found no room.
    """

    def __init__(self, poller: Poller) -> None:
        self.cache = Cache()
        self.refused: dict[str, int] = {}
        self._poller = poller
        self._out: dict[Hashable, Question] = {}
        self._waiting = 0
        self._shares: dict[str, Share] = {}
        self._beginning = False
        self._log = Log()
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._most = min(AT_ONCE_IN_ALL, max(files // 4, 64))

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
        flags = query.flags & (wire.RD | wire.CD)
        key = (behind.scope, behind.servers, query.asked.lower(), flags, edns and edns[:3], stream)
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
        share = self._shares.setdefault(behind.who, Share())
        if found is not None or len(share.waiting) >= AT_ONCE or self._waiting >= self._most:
            self._refuse(question)
            return
        share.waiting.append(question)
        self._waiting += 1
        self._begin()

    def tidy(self) -> float | None:
        """Go on with questions that were out for too long; return when to look again, in seconds."""
        now = time.monotonic()
        for share in list(self._shares.values()):
            while share.waiting and share.waiting[0].deadline <= now:
                self._waiting -= 1
                self._refuse(share.waiting.popleft())
        while self._out and (first := next(iter(self._out.values()))).deadline <= now:
            self._next(first)
        self._begin()
        self._shares = {who: share for who, share in self._shares.items() if share.out or share.waiting}
        times = [next(iter(self._out.values())).deadline] if self._out else []
        times += [share.waiting[0].deadline for share in self._shares.values() if share.waiting]
        return max(min(times) - now, 0.001) if times else None

    def leave(self, who: str) -> None:
        """Give up what a sandbox asked its own servers: sockets inside keep its namespace alive."""
        share = self._shares.pop(who, None)
        for question in share.waiting if share else ():
            self._waiting -= 1
            self._say(question, wire.SERVFAIL)
        for question in [each for each in self._out.values() if each.who == who and each.inside]:
            self._end(question, None, wire.SERVFAIL)

    def sockets(self) -> list[socket.socket]:
        """Return the sockets of what is out."""
        return [each.sock for each in self._out.values() if each.sock is not None]

    def _begin(self) -> None:
        """Send what waits, as many as may be out, the sandboxes in turn; what ends meanwhile makes room in this very turn."""
        if self._beginning or not self._waiting:
            return
        self._beginning = True
        try:
            while len(self._out) < self._most and (ready := list(self._ready())):
                for share in ready[: self._most - len(self._out)]:
                    self._send_first(share)
        finally:
            self._beginning = False

    def _ready(self) -> Iterator[Share]:
        """The sandboxes one question more of which may go out."""
        return (each for each in self._shares.values() if each.waiting and each.out < AT_ONCE)

    def _send_first(self, share: Share) -> None:
        question = share.waiting.popleft()
        self._waiting -= 1
        if question.key in self._out:
            self._out[question.key].clients += question.clients
            return
        share.out += 1
        self._out[question.key] = question
        self._next(question)

    def _next(self, question: Question, code: int = wire.SERVFAIL) -> None:
        """Ask the next server; with none left, say so."""
        self._release(question)
        while question.servers:
            server, from_host = question.servers.popleft()
            question.prepare()
            self._out[question.key] = self._out.pop(question.key)  # they are in the order of their deadlines
            try:
                self._send(question, question.open(server, from_host=from_host))
            except OSError:
                self._release(question)
            else:
                return
        self._end(question, None, code)

    def _send(self, question: Question, sock: socket.socket) -> None:
        events = select.EPOLLOUT if question.stream else select.EPOLLIN
        self._poller.watch(sock, events, lambda events: self._ready_at(question, sock, events))
        if not question.stream:
            sock.send(question.going)

    def _ready_at(self, question: Question, sock: socket.socket, events: int) -> None:
        try:
            if question.stream:
                self._stream(question, sock, events)
            else:
                self._datagrams(question, sock)
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
        del self._out[question.key]
        share = self._shares.get(question.who)
        if share is not None:
            share.out -= 1
        if message is None:
            self._say(question, code)
        else:
            for query, answer in question.clients:
                answer(self._as_asked(message, query))
        self._begin()

    def _refuse(self, question: Question) -> None:
        """Say that there is no room for it."""
        self.refused[question.who] = self.refused.get(question.who, 0) + len(question.clients)
        self._log.refused(question.where)
        self._say(question, wire.REFUSED)

    @staticmethod
    def _say(question: Question, code: int) -> None:
        """Answer with a code alone."""
        for query, answer in question.clients:
            answer(wire.response(query, code, [], [], wire.STREAM_MAX, ours=False))

    def _release(self, question: Question) -> None:
        sock, question.sock = question.sock, None
        if sock is not None:
            self._poller.forget(sock)
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
