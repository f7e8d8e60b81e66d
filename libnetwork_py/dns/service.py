"""The process that answers: sockets in, sockets out, and in between a dictionary of answers that are ready.

Division of labour: `Service` waits for sockets and hands over: what was asked before is answered on the spot, out of the dictionary of all
sandboxes that see the same names; `answers` makes the rest, `streams` serves TCP, `forward` asks others. Control comes over
Unix sockets (``lines``) and changes names, never the sockets that are asked: no question is lost meanwhile.

Runs in the service's own process.

May import: the rest of this room that does.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from . import holdings, wire
from .answers import Answers
from .book import Box
from .forward import Behind, Forwarder
from .holdings import Change, Doors, Holdings
from .partner import Partner
from .ready import Ready, View
from .streams import Stream, Streams
from .wire import Query

BATCH = 64
"""Questions of one sandbox that are answered in a row before others have their turn."""
ALONE = 8
"""After so many questions that came alone, only one in so many is followed by a look for more."""
LOOK = 1.0
"""Seconds between two looks: whether anybody still needs the service, whether its namespaces are still there and its keeper well."""
CATCH_UP = 0.5
"""Seconds that controllers have to say again what the process before this one may have died of hearing."""
SOON = 0.02
"""Seconds after which at the latest what came is counted in."""
PLACES = 100
"""Sandboxes in one message to a controller: some 80 bytes each."""
_WELL, _CLOSED = b'{"echo": "well"}', b'{"echo": "closed"}'
"""Said to the keeper, who says it back: that it is there, and that it has done all that it was told before."""


class Part(NamedTuple):
    """A part of what a controller says: the message, its descriptors and its bytes."""

    message: dict[str, Any]
    descriptors: list[int]
    data: bytes


class Open:
    """A sandbox that is served."""

    __slots__ = ("box", "box_id", "doors", "view")

    def __init__(self, box_id: str, box: Box, doors: Doors, view: View) -> None:
        self.box_id, self.box, self.doors, self.view = box_id, box, doors, view


class Service:
    """Answers for every sandbox of one controller.

    Args:
        held: Names and sockets.
        listener: Where controllers come to.
        keeper: The process that holds the same.
        ttl: Seconds that clients may keep an answer.
    """

    def __init__(self, held: Holdings, listener: socket.socket, keeper: Partner, ttl: int) -> None:
        self.held = held
        self.lines: set[socket.socket] = set()
        self._parts: dict[socket.socket, list[Part]] = {}
        self.running = True
        self.met = False
        self.since = time.monotonic()
        self._listener = listener
        self._keeper: Partner | None = None
        self._asked = False
        self._epoll = select.epoll()
        self._handlers: dict[int, Callable[[int], object]] = {}
        self._said = select.poll()
        self._is_told = False
        signal.signal(signal.SIGIO, self._told_something)
        self._answers = Answers(held.book, ttl)
        self._streams = Streams(self, self._ask_by_stream)
        self._forwarder = Forwarder(self)
        self._ready = Ready()
        self._open: dict[str, Open] = {}
        self.on_keeper_lost: Callable[[], Partner] | None = None
        self.on_look: Callable[[], bool] = lambda: True
        self._due = self._looked = self._paused = time.monotonic()
        self.watch(listener, select.EPOLLIN, self._accept)
        self._meet(keeper)
        self._awaited = held.controllers
        self._heard: set[socket.socket] = set()
        held.controllers = 0
        self._catch_up()

    # Waiting

    def watch(self, sock: socket.socket, events: int, handler: Callable[[int], object]) -> None:
        """Call a handler when something happens at a socket."""
        self._handlers[sock.fileno()] = handler
        self._epoll.register(sock.fileno(), events)

    def change(self, sock: socket.socket, events: int) -> None:
        """Wait for something else there."""
        self._epoll.modify(sock.fileno(), events)

    def forget(self, sock: socket.socket) -> None:
        """Wait no more. Before it is closed: others may have it open still."""
        if self._handlers.pop(sock.fileno(), None) is not None:
            self._epoll.unregister(sock.fileno())

    def run(self) -> None:
        """Serve until there is nobody to serve."""
        poll, handlers, clock = self._epoll.poll, self._handlers, time.monotonic
        now = clock()
        while self.running:
            for fd, events in poll(max(self._due - now, 0)):
                handler = handlers.get(fd)
                if handler is not None:
                    handler(events)
            now = clock()
            if now >= self._due:
                self._pause(now)

    def _pause(self, now: float) -> None:
        """Do what is due, and find out when there is something to do again."""
        self._paused = now
        self._due = now + LOOK
        self.running = self.on_look()
        if now >= self._looked + LOOK / 2:
            self._looked = now
            self._look_for_lost()
            self._look_for_keeper()
        times = [each for each in (self._streams.tidy(), self._forwarder.tidy()) if each is not None]
        if self._awaited:
            self._catch_up()
            times.append(CATCH_UP / 10)
        self._due = min([self._due, *(now + each for each in times)])

    def _hurry(self) -> None:
        """Something came that has its time: count it in, but not once for every one of many."""
        self._due = min(self._due, self._paused + SOON)

    def _look_for_lost(self) -> None:
        """Let namespaces go that somebody has removed."""
        lost = self.held.lost()
        if lost:
            self._tell_keeper(json.dumps({"lost": lost}).encode(), [])
            for box_id, doors in self.held.lose(lost).items():
                self._leave(box_id, doors)

    def _catch_up(self) -> None:
        """Serve, once every controller of the process before has spoken: what one of them had said last, that one may not have heard."""
        if len(self._heard) >= self._awaited or time.monotonic() >= self.since + CATCH_UP:
            self._awaited = 0
            for box_id in self.held.doors.keys() - self._open.keys():
                self._serve(box_id, self.held.doors[box_id])

    def end(self) -> None:
        """Tell the keeper that it is over."""
        self._tell_keeper(b'{"end": 1}', [])

    def let_go(self) -> None:
        """Leave to the other process after a fork what is its alone; close nothing that it needs."""
        self._epoll.close()
        for each in (*self._streams.sockets(), *self._forwarder.sockets(), *self.lines):
            each.close()

    # Questions

    def _serve(self, box_id: str, doors: Doors) -> None:
        box = self.held.book.boxes[box_id]
        opened = self._open[box_id] = Open(box_id, box, doors, self._view(box))
        self.watch(doors.udp, select.EPOLLIN, self._datagrams(opened))
        self.watch(doors.tcp, select.EPOLLIN, lambda _: self._accept_stream(box_id, doors.tcp))

    def _accept_stream(self, box_id: str, listener: socket.socket) -> None:
        self._hurry()
        self._streams.accept(box_id, listener)

    def _datagrams(self, opened: Open) -> Callable[[int], None]:
        """Return the handler of a sandbox's datagrams: the one place where a microsecond counts.

        The first question is answered before more are looked for, and where questions have come alone for a while that look is left out
        mostly: the poller says if there are more.
        """
        receive, send = opened.doors.udp.recvfrom, opened.doors.udp.sendto
        slow, number = self._answer, opened.doors.udp.fileno
        alone = 0

        def handle(_: int) -> None:
            nonlocal alone
            looked, asked = False, _come(receive, 1)
            while asked:
                if self._is_told:
                    self._heed()
                    if number() < 0:  # by what was heard
                        return
                ready = opened.view.ready.get
                for packet, client in asked:
                    answer = ready(packet[2:])
                    if answer is None:
                        slow(opened, packet, lambda answer, client=client: _send(send, answer, client))  # type: ignore[misc]
                        continue
                    try:  # costs nothing, which `suppress` does
                        send(packet[:2] + answer, client)
                    except OSError:  # a client that is gone, or whom a rule of the sandbox forbids to answer
                        continue
                if looked or (alone > ALONE and alone % ALONE):
                    break
                looked, asked = True, _come(receive, BATCH)
            alone = 0 if looked and asked else alone + 1

        return handle

    def _told_something(self, *_: object) -> None:
        """Take note that a controller has said something; see `_signals`."""
        self._is_told = True

    def _heed(self) -> None:
        """Hear what was said before the questions were asked that have been read: whoever was told of a name asks for it at once."""
        self._is_told = False  # first: what is said from here on is told again
        for fd, _ in self._said.poll(0):
            handler = self._handlers.get(fd)
            if handler is not None:
                handler(0)

    def _answer(self, opened: Open, packet: bytes, answer: Callable[[bytes], object], *, stream: bool = False) -> bool:
        """Answer, now or later; false: there is nothing to say to that."""
        view, question = opened.view, packet[2:]
        order = view.orders.get(question)
        if order is not None and not stream:
            answer(packet[:2] + next(order))
            return True
        reply = self._answers.reply(opened.box, packet, stream=stream)
        if reply.query is not None:
            self._forward(opened, reply.query, packet, answer, stream=stream)
            return True
        if reply.ready and not stream:
            self._ready.keep(view, question, reply.messages)
        if reply.messages:
            answer(reply.messages[0])
        return bool(reply.messages)

    def _ask_by_stream(self, stream: Stream, packet: bytes) -> bool:
        if self._is_told:
            self._heed()
        opened = self._open.get(stream.box_id)
        return opened is not None and self._answer(
            opened, packet, lambda answer: self._streams.answer(stream, answer), stream=True
        )

    def _forward(
        self, opened: Open, query: Query, packet: bytes, answer: Callable[[bytes], object], *, stream: bool
    ) -> None:
        box = opened.box
        self._hurry()
        scope = "" if all(from_host for _, from_host in box.servers) else opened.box_id
        behind = Behind(opened.box_id, box.servers, scope, opened.doors.udp, box.where)
        self._forwarder.ask(query, packet, behind, answer, stream=stream)

    # Names

    def _view(self, box: Box) -> View:
        return self._ready.view(box, len(self._open), (each.view for each in self._open.values()))

    def _changed(self, change: Change) -> None:
        """Serve who came, leave who went, and forget the answers that other names now make wrong."""
        for box_id, doors in change.gone.items():
            self._leave(box_id, doors)
        self._answers.book = self.held.book
        networks = {note[1] for note in change.notes if note[0] in {"net", "no-net", "end", "no-end"}}
        self._ready.clear(networks)
        for box_id in [note[1] for note in change.notes if note[0] == "box"]:
            opened, box = self._open.get(box_id), self.held.book.boxes.get(box_id)
            if opened is not None and box is not None:
                opened.box, opened.view = box, self._view(box)
        if not self._awaited:
            for box_id in change.opened.keys() & self.held.book.boxes.keys():
                self._serve(box_id, change.opened[box_id])

    def _leave(self, box_id: str, doors: Doors) -> None:
        """Serve a sandbox no more."""
        for sock in (doors.udp, doors.tcp):
            self.forget(sock)
        if self._open.pop(box_id, None) is not None:
            self._streams.leave(box_id)
            self._forwarder.leave(box_id)
        doors.close()

    # Control

    def _accept(self, _: int) -> None:
        try:
            line, _address = self._listener.accept()
        except OSError:
            return
        line.setblocking(False)
        self.met = True
        self.lines.add(line)
        self.watch(line, select.EPOLLIN, lambda _: self._line_ready(line))
        self._said.register(line, select.POLLIN)
        _signals(line)
        self._is_told = True  # something may have been said before
        self._count()

    def _line_ready(self, line: socket.socket) -> None:
        """Take in all that was said, before any question is answered that was asked after it."""
        try:
            while True:
                message, descriptors, data = holdings.receive(line)
                if message is None:
                    break
                answer = self._told(line, message, descriptors, data)
                if answer is not None:
                    line.send(json.dumps(answer).encode())
        except BlockingIOError:
            return
        except (OSError, ValueError, LookupError, TypeError):  # or it says what nobody understands
            self.held.forget_halves()
        self._hang_up(line)

    def _told(
        self, line: socket.socket, message: dict[str, Any], descriptors: list[int], data: bytes
    ) -> dict[str, Any] | None:
        """Do as a controller says. What comes in parts waits for the last: another controller may speak meanwhile."""
        if "hello" in message:
            if message.get("token") == self.held.token:
                self._has_spoken(line)
            return self._tell_what_is_held(line)
        self._parts.setdefault(line, []).append(Part(message, descriptors, data))
        if message.get("more"):
            return None
        if not message.get("whole") and message.get("base") != self.held.token:
            self._drop_parts(line)
            return {"token": self.held.token, "stale": True}
        self._take(self._parts.pop(line))
        self._has_spoken(line)
        return {"token": self.held.token}

    def _has_spoken(self, line: socket.socket) -> None:
        """Take note that a controller has nothing to add."""
        if self._awaited:
            self._heard.add(line)
            self._catch_up()

    def _tell_what_is_held(self, line: socket.socket) -> dict[str, Any]:
        """Say what this process has, in as many messages as it takes, and return the last."""
        places = [(box_id, doors.place) for box_id, doors in self.held.doors.items()]
        while len(places) > PLACES:
            some, places = places[:PLACES], places[PLACES:]
            line.settimeout(1)
            line.send(json.dumps({"doors": dict(some), "more": True}).encode())
            line.setblocking(False)
        return {"token": self.held.token, "doors": dict(places), "refused": self._forwarder.refused}

    def _take(self, parts: Sequence[Part]) -> None:
        """Take in all of a change, and have the keeper do so."""
        changes = [self.held.take(each.message, each.descriptors) for each in parts]
        for each in parts:
            self._tell_keeper(each.data, each.descriptors)
        if (change := changes[-1]) is not None:
            self._changed(change)
            if change.gone:
                self._wait_for_keeper()
        self._need_keeper()

    def _drop_parts(self, line: socket.socket) -> None:
        for each in (fd for part in self._parts.pop(line, ()) for fd in part.descriptors):
            socket.socket(fileno=each).close()

    def _hang_up(self, line: socket.socket) -> None:
        self._said.unregister(line)
        self.forget(line)
        self.lines.discard(line)
        self._drop_parts(line)
        line.close()
        self._count()
        self._due = 0.0  # it may have been the last

    def _count(self) -> None:
        self.held.controllers = len(self.lines)
        self._tell_keeper(json.dumps({"controllers": len(self.lines)}).encode(), [])

    # The keeper

    def _meet(self, keeper: Partner) -> None:
        self._keeper, self._asked = keeper, False
        self.watch(keeper.line, select.EPOLLIN, self._keeper_ready)

    def _tell_keeper(self, data: bytes, descriptors: list[int]) -> None:
        if self._keeper is None:
            return
        try:
            self._keeper.say(data, descriptors)
        except OSError as error:
            self._keeper_lost(alive=isinstance(error, TimeoutError))

    def _wait_for_keeper(self) -> None:
        """Wait until the keeper has closed its copies of doors, so that their namespaces can go."""
        self._tell_keeper(_CLOSED, [])
        while self._keeper is not None:
            if not self._keeper.speaks(1):
                self._keeper_lost(alive=True)
            elif self._hear_keeper() == _CLOSED:
                return

    def _look_for_keeper(self) -> None:
        """Ask the keeper for a word; do without one that hangs."""
        if self._keeper is not None and self._asked and self._keeper.hangs():
            self._keeper_lost(alive=True)
        self._need_keeper()
        self._asked = True
        self._tell_keeper(_WELL, [])

    def _keeper_ready(self, _: int) -> None:
        self._hear_keeper()
        self._need_keeper()

    def _hear_keeper(self) -> bytes:
        """Return what the keeper says; nothing: it said nothing, or is lost."""
        assert self._keeper is not None
        word = b""
        try:
            word = self._keeper.line.recv(64, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return word
        except OSError:
            pass
        if word:
            self._asked = False
            self._keeper.heard()
        else:
            self._keeper_lost(alive=False)
        return word

    def _keeper_lost(self, *, alive: bool) -> None:
        """Give the keeper up; ``alive``: it hangs."""
        assert self._keeper is not None
        if alive:
            self._keeper.kill()
        self.forget(self._keeper.line)
        self._keeper.line.close()
        self._keeper = None

    def _need_keeper(self) -> None:
        """Have a keeper again: it gets what this process holds, so not in the middle of a change."""
        if self._keeper is None and self.on_keeper_lost is not None:
            with suppress(OSError):  # no process to be had: at the next look
                self._meet(self.on_keeper_lost())


def _come(receive: Callable[[int], tuple[bytes, Any]], most: int, size: int = wire.UDP_OURS) -> list[tuple[bytes, Any]]:
    """Return questions that have come, with who asks; none is left, or a rule of the sandbox is in the way."""
    asked: list[tuple[bytes, Any]] = []
    try:
        for _ in range(most):
            asked.append(receive(size))  # noqa: PERF401 (`extend` is slower here)
    except OSError:
        pass
    return asked


def _signals(line: socket.socket) -> None:
    """Have SIGIO sent to this process whenever something is said (fcntl(2), ``O_ASYNC``).

    The kernel does so before whoever said it goes on, and Python calls the handler before the next question is looked up: to ask
    every time whether something was said would take a system call for each question.
    """
    fcntl.fcntl(line, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(line, fcntl.F_SETFL, fcntl.fcntl(line, fcntl.F_GETFL) | os.O_ASYNC)


def _send(send: Callable[[bytes, Any], object], answer: bytes, client: Any) -> None:
    """Send an answer that came later; the sandbox may be gone."""
    with suppress(OSError):
        send(answer, client)
