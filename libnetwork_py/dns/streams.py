"""Questions by TCP: each message after its length in two bytes (RFC 1035, 4.2.2; RFC 7766).

A client costs at most one connection out of a few, one message of a few thousand bytes and a few seconds: slow or silent ones are hung up
on, the longest silent first when there are too many. Runs in the service's own process.

May import: the standard library.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable
from typing import Protocol

PER_SANDBOX, IN_ALL = 128, 512
"""How many connections there may be."""
QUESTION_MAX = 4096
"""Bytes of a question; the longest sensible one has some hundreds."""
WAITING_MAX = 1 << 18
"""Bytes of answers that a client has not fetched."""
PATIENCE = 5.0
"""Seconds for a whole question to come, and for a silent client."""


class Poller(Protocol):
    """Who waits for sockets."""

    def watch(self, sock: socket.socket, events: int, handler: Callable[[int], object]) -> None: ...
    def change(self, sock: socket.socket, events: int) -> None: ...
    def forget(self, sock: socket.socket) -> None: ...


class Stream:
    """One client's connection.

    Attributes:
        owed: Questions that wait for somebody else's answer: their client is silent with reason.
        ended: It will ask no more, but may wait for answers.
    """

    def __init__(self, sock: socket.socket, box_id: str, ask: Callable[[Stream, bytes], bool]) -> None:
        self.sock = sock
        self.box_id = box_id
        self.since = time.monotonic()
        self.open = True
        self.ended = False
        self.owed = 0
        self._ask = ask
        self._coming = bytearray()
        self._going = bytearray()

    @property
    def waits(self) -> bool:
        """Whether answers wait to be fetched."""
        return bool(self._going)

    def read(self) -> bool:
        """Take what has come and ask what is complete; false: the client is done, or is not worth more."""
        try:
            data = self.sock.recv(QUESTION_MAX + 2)
        except BlockingIOError:
            return True
        except OSError:
            return False
        if not data:
            self.ended = True
            return bool(self.owed or self._going)
        self._coming += data
        while self.open and len(self._coming) >= 2:
            size = self._coming[0] << 8 | self._coming[1]
            if size > QUESTION_MAX:
                return False
            if len(self._coming) < size + 2:
                break
            question = bytes(self._coming[2 : size + 2])
            del self._coming[: size + 2]
            self.since = time.monotonic()
            self.owed += 1
            if not self._ask(self, question):
                self.owed -= 1
        return self.open

    def say(self, answer: bytes) -> bool:
        """Queue an answer and send what goes; false: the client does not fetch its answers, or is gone."""
        self.owed -= 1
        if not self.open:
            return False
        self._going += len(answer).to_bytes(2, "big") + answer
        return self.write()

    def write(self) -> bool:
        """Send what goes; see `say`."""
        try:
            while self._going:
                del self._going[: self.sock.send(self._going)]
        except BlockingIOError:
            return len(self._going) <= WAITING_MAX
        except OSError:
            return False
        return True


class Streams:
    """All connections of all sandboxes, oldest activity first.

    Args:
        poller: Who waits for them.
        ask: Called with a connection and a question; it answers by `Streams.answer`, now or later, or returns that it will not.
    """

    def __init__(self, poller: Poller, ask: Callable[[Stream, bytes], bool]) -> None:
        self._poller = poller
        self._ask = ask
        self._all: dict[Stream, None] = {}
        self._count: dict[str, int] = {}

    def accept(self, box_id: str, listener: socket.socket) -> None:
        """Take the connections that wait."""
        for _ in range(64):
            try:
                sock, _ = listener.accept()
            except OSError:  # none is left, or the process has no descriptor to spare: they wait
                return
            sock.setblocking(False)
            self._make_room(box_id)
            stream = Stream(sock, box_id, self._ask)
            self._all[stream] = None
            self._count[box_id] = self._count.get(box_id, 0) + 1
            self._poller.watch(sock, select.EPOLLIN, lambda events, stream=stream: self._ready(stream, events))  # type: ignore[misc]

    def answer(self, stream: Stream, answer: bytes) -> None:
        """Send an answer; a client that does not fetch it is hung up on."""
        if not stream.say(answer):
            self.hang_up(stream)
        else:
            self._go_on(stream)

    def _go_on(self, stream: Stream) -> None:
        """Wait for what comes next: it is asked no more before it has fetched its answers, and nothing once it has ended."""
        if stream.ended and not stream.owed and not stream.waits:
            self.hang_up(stream)
        elif stream.open:
            self._poller.change(stream.sock, select.EPOLLOUT if stream.waits else 0 if stream.ended else select.EPOLLIN)

    def tidy(self) -> float | None:
        """Hang up on the silent; return when to look again, in seconds."""
        now = time.monotonic()
        for stream in list(self._all):
            if stream.since + PATIENCE > now:
                return stream.since + PATIENCE - now
            if stream.owed:
                self._put_last(stream, now)
            else:
                self.hang_up(stream)
        return PATIENCE if self._all else None

    def _put_last(self, stream: Stream, now: float) -> None:
        """The order is that of the last question, or of the last look at one that is still out."""
        stream.since = now
        del self._all[stream]
        self._all[stream] = None

    def leave(self, box_id: str) -> None:
        """Hang up on a sandbox's clients."""
        for stream in [each for each in self._all if each.box_id == box_id] if box_id in self._count else ():
            self.hang_up(stream)

    def hang_up(self, stream: Stream) -> None:
        """End a connection."""
        if not stream.open:
            return
        stream.open = False
        del self._all[stream]
        self._count[stream.box_id] -= 1
        if not self._count[stream.box_id]:
            del self._count[stream.box_id]
        self._poller.forget(stream.sock)
        stream.sock.close()

    def sockets(self) -> list[socket.socket]:
        """Return the sockets."""
        return [each.sock for each in self._all]

    def _make_room(self, box_id: str) -> None:
        """Hang up on one too many: of this sandbox, else of the one that has most; on one to whom no answer is due, if there is any."""
        if self._count.get(box_id, 0) < PER_SANDBOX:
            if len(self._all) < IN_ALL:
                return
            box_id = max(self._count, key=self._count.__getitem__)
        theirs = [each for each in self._all if each.box_id == box_id]
        self.hang_up(next((each for each in theirs if not each.owed), theirs[0]))

    def _ready(self, stream: Stream, events: int) -> None:
        before = stream.since
        good = stream.write() if events & select.EPOLLOUT else stream.read()
        if not good or events & (select.EPOLLERR | select.EPOLLHUP):
            self.hang_up(stream)
            return
        if stream.since != before:
            self._put_last(stream, stream.since)
        self._go_on(stream)
