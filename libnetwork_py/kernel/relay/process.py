"""What the relay carries, and the lines of those who say so.

It is told, as JSON, one message each:

* ``{"set": [[protocol, host address, first port, count, address, port, first, sockets], …]}``: carry runs of ports to as many of
  another address from ``port`` on. Listening sockets come along as descriptors, in order: so many of a run, for its ports from the
  ``first``-th on. A run that is known keeps those that it has.
* ``{"drop": [[protocol, host address, first port], …]}``: close their sockets and every connection that came by them. Answered.
* ``{"list": 0}``: answered with all runs and where they go.

It ends when the last line is closed, unless it was started with ``stay`` and still has something to carry.

May import: loop, doors, listeners, streams, datagrams.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from .datagrams import IDLE, Datagrams
from .doors import Doors
from .listeners import DATAGRAM, MAPPED, PROTOCOLS, Run
from .loop import Loop
from .streams import Streams

ANSWER = 1000
"""Runs in one message of an answer."""
MESSAGE_MAX, DESCRIPTORS_MAX = 1 << 18, 253

Key = tuple[str, str, int]


class Relay:
    """What is carried, and the lines of those who say so."""

    def __init__(self, *, stay: bool) -> None:
        self.loop, self.doors = Loop(), Doors()
        self.runs: dict[Key, Run] = {}
        self.lines: dict[int, socket.socket] = {}
        self.stay = stay
        self.begun = False
        self.door = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, fileno=0)
        self.door.setblocking(False)
        self.loop.add(0, self.enter)

    def serve(self) -> None:
        """Go on until nobody is left who needs it."""
        swept = time.monotonic()
        while self.lines or not self.begun or (self.stay and self.runs):
            self.loop.turn(10.0)
            if time.monotonic() - swept > IDLE / 9:
                swept = time.monotonic()
                self.expire(swept - IDLE)

    def expire(self, before: float) -> None:
        """Forget clients of datagrams who were last heard before this moment."""
        for run in self.runs.values():
            if run.protocol == "udp":
                for each in run.ports.values():
                    assert isinstance(each, Datagrams)
                    each.expire(before)

    def enter(self, events: int) -> None:
        """Take a new line."""
        with suppress(OSError):
            line, _ = self.door.accept()
            self.begun = True
            self.lines[line.fileno()] = line
            self.loop.add(line.fileno(), lambda _: self.hear(line))

    def hear(self, line: socket.socket) -> None:
        """Do what a line says, or take note of its end."""
        fds: list[int] = []
        try:
            message, fds, _, _ = socket.recv_fds(line, MESSAGE_MAX, DESCRIPTORS_MAX)
            if message:
                self.obey(line, json.loads(message), fds)
                return
        except BlockingIOError:
            return
        except (OSError, ValueError, KeyError):  # who says what nobody understands is hung up on
            pass
        self.loop.remove(line.fileno())
        del self.lines[line.fileno()]
        line.close()

    def obey(self, line: socket.socket, told: Any, fds: Sequence[int]) -> None:
        """Do what is told.

        Raises:
            ValueError: it makes no sense.
        """
        match told:
            case {"set": [*runs]}:
                coming = iter(fds)
                for protocol, address, port, count, to, at, first, sockets in runs:
                    run = self.run((protocol, address, port), count)
                    run.address, run.port = to, at
                    for number in range(first, first + sockets):
                        self.listen(run, number, next(coming))
            case {"drop": [*runs]}:
                for protocol, address, port in runs:
                    self.drop((protocol, address, port))
                line.send(b"{}")
            case {"list": _}:
                self.list(line)
            case _:
                raise ValueError(told)

    def run(self, key: Key, count: int) -> Run:
        """Return a run, known or new."""
        run = self.runs.get(key)
        if run is None or run.count != count:
            if run is not None:
                run.close()
            run = self.runs[key] = Run(key[0], count, mapped=key[1].startswith(MAPPED))
        return run

    def drop(self, key: Key) -> None:
        """Carry a run no longer."""
        run = self.runs.pop(key, None)
        if run is not None:
            run.close()

    def listen(self, run: Run, number: int, fd: int) -> None:
        """Serve a run's port with this number by a descriptor that listens."""
        if number in run.ports:
            run.ports.pop(number).close()
        kind, protocol = PROTOCOLS[run.protocol]
        sock = socket.socket(socket.AF_INET6, kind, protocol, fileno=fd)
        sock.setblocking(False)
        run.ports[number] = (Datagrams if kind == DATAGRAM else Streams)(self.loop, self.doors, run, number, sock)

    def list(self, line: socket.socket) -> None:
        """Answer with what is carried."""
        found = [
            [protocol, address, port, run.count, run.address, run.port, len(run.ports)]
            for (protocol, address, port), run in self.runs.items()
        ]
        for start in range(0, len(found) or 1, ANSWER):
            some = {"runs": found[start : start + ANSWER], "more": start + ANSWER < len(found)}
            line.send(json.dumps(some).encode())


def main(arguments: Sequence[str]) -> None:
    """Be nobody's child, and serve."""
    if os.fork():
        os._exit(0)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    Relay(stay="stay" in arguments).serve()
