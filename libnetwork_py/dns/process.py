"""The service's process, and its keeper: two processes that hold the same, so that either can be killed and nothing is lost.

The keeper started the one that answers, holds copies of its sockets and of all it was told, and starts another one when it dies: no
question finds a closed port meanwhile, it waits in the socket. When the keeper dies, the one that answers makes another keeper.
One that hangs is killed by the other within two seconds, see `partner`. They end together, when there is nobody left to serve.

Started with the standard library alone, as package ``dns``: Python needs 15 ms for that. Descriptor 0 is the socket where
controllers come to.

May import: the rest of this room that runs here.
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
from typing import Any, NoReturn

from . import holdings
from .holdings import Doors, Holdings
from .partner import Partner
from .service import LOOK, Service

PATIENCE = 10.0
"""Seconds for a first controller to come, or to come back when the process that answered has died."""
_TICK, _TICKS = LOOK / 2, 3
"""The keeper looks so often, in seconds, whether the one that answers is well; so many looks without a word are a silence."""
_BREATH = 0.2
"""Seconds before another one is started, if the last did not live for as long."""


class Process:
    """Both processes.

    Args:
        place: Path of the socket where controllers come to: without it nobody can come any more.
        lasting: Names go on while no controller is there.
        ttl: Seconds that clients may keep an answer.
    """

    def __init__(self, place: str, *, lasting: bool, ttl: int) -> None:
        self._place = place
        self._lasting = lasting
        self._ttl = ttl
        self._listener = socket.socket(fileno=0)
        self._listener.setblocking(False)
        self._inode = self._find()
        self._looked = time.monotonic()

    def keep(self, held: Holdings, other: Partner | None = None) -> NoReturn:
        """Be the keeper: hold what the other process holds, start another one whenever it dies."""
        _call_itself("names-keeper")
        while True:
            since = time.monotonic()
            with suppress(OSError):  # no process to be had: again, soon
                self._hold(held, other or self._start(held))
            other = None
            if time.monotonic() - since < _BREATH:
                time.sleep(_BREATH)

    def _start(self, held: Holdings) -> Partner:
        held.forget_halves()
        mine, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        keeper = os.getpid()
        pid = os.fork()
        if pid == 0:
            mine.close()
            self._answer(held, Partner(its, keeper, look=LOOK, looks=1))
        its.close()
        return Partner(mine, pid, look=_TICK, looks=_TICKS)

    def _hold(self, held: Holdings, other: Partner) -> None:
        """Take in what the other process is told until it dies, or hangs."""
        with other.line:
            while True:
                if not other.speaks(_TICK):
                    if other.hangs():
                        other.kill()
                        return
                    continue
                other.heard()
                try:
                    message, descriptors, _ = holdings.receive(other.line)
                    if message is None:
                        return
                    self._take(held, other.line, message, descriptors)
                except ConnectionResetError:  # it ended without having read all; what it said before comes next
                    continue
                except OSError:
                    return

    @staticmethod
    def _take(held: Holdings, line: socket.socket, message: dict[str, Any], descriptors: Sequence[int]) -> None:
        """Do as the other process was told."""
        gone: dict[str, Doors] = {}
        if "end" in message:
            os._exit(0)
        elif "echo" in message:
            with suppress(OSError):  # it does not listen any more: how that came is what it says next
                line.send(json.dumps(message).encode(), socket.MSG_DONTWAIT)
        elif "controllers" in message:
            held.controllers = message["controllers"]
        elif "lost" in message:
            gone = held.lose(message["lost"])
        else:
            change = held.take(message, descriptors)
            gone = change.gone if change else {}
        for doors in gone.values():
            doors.close()

    def _answer(self, held: Holdings, keeper: Partner) -> NoReturn:
        """Be the one that answers, until nobody needs it."""
        _call_itself("names")
        service = Service(held, self._listener, keeper, self._ttl)
        service.on_keeper_lost = lambda: self._another_keeper(service)
        service.on_look = lambda: self._is_needed(service)
        service.run()
        service.end()
        os._exit(0)

    def _another_keeper(self, service: Service) -> Partner:
        mine, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        answering = os.getpid()
        pid = os.fork()
        if pid == 0:
            mine.close()
            service.let_go()
            self.keep(service.held, Partner(its, answering, look=_TICK, looks=_TICKS))
        its.close()
        return Partner(mine, pid, look=LOOK, looks=1)

    def _is_needed(self, service: Service) -> bool:
        """Whether there is somebody to serve, or somebody may come."""
        if service.lines:
            return self._can_be_found()
        if not service.met and time.monotonic() < service.since + PATIENCE:
            return True
        return self._lasting and bool(service.held.doors) and self._can_be_found()

    def _can_be_found(self) -> bool:
        now = time.monotonic()
        if now - self._looked < LOOK:
            return True
        self._looked = now
        return self._find() == self._inode

    def _find(self) -> int:
        with suppress(OSError):
            return os.stat(self._place).st_ino  # noqa: PTH116 (pathlib takes 5 ms to load)
        return 0


def _call_itself(name: str) -> None:
    """Say in ``ps`` which of the two it is."""
    with suppress(OSError), open("/proc/self/comm", "w", encoding="ascii") as comm:  # noqa: PTH123 (pathlib takes 5 ms to load)
        comm.write(name)


def main(arguments: Sequence[str]) -> None:
    """Run the service: arguments are the place, ``lasting`` or ``temporary``, and the seconds that answers may be kept.

    The calling process ends at once: it is waited for, while the service is nobody's child.
    """
    if os.fork():
        os._exit(0)
    place, how, ttl = arguments
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # the caller may block signals, but one says that something was said
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # two sockets a sandbox, or more
    Process(place, lasting=how == "lasting", ttl=int(ttl)).keep(Holdings())
