"""Waits for descriptors, and calls whoever is behind one that is ready.

May import: nothing of this library.
"""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Callable
from contextlib import suppress

READ, WRITE = select.EPOLLIN, select.EPOLLOUT


class Loop:
    """Calls whoever waits for a descriptor."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._waiting: dict[int, Callable[[int], None]] = {}
        self._spare = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)

    def add(self, fd: int, call: Callable[[int], None], events: int = READ) -> None:
        """Call with what is ready, from now on."""
        self._waiting[fd] = call
        self._epoll.register(fd, events)

    def change(self, fd: int, events: int) -> None:
        """Wait for something else."""
        self._epoll.modify(fd, events)

    def remove(self, fd: int) -> None:
        """Wait no longer; before the descriptor is closed."""
        if self._waiting.pop(fd, None):
            self._epoll.unregister(fd)

    def turn(self, seconds: float) -> None:
        """Wait, and call whoever has something to do."""
        for fd, events in self._epoll.poll(seconds):
            call = self._waiting.get(fd)
            if call is not None:  # else it was closed in this very turn
                call(events)

    def refuse(self, listener: socket.socket) -> None:
        """Take a connection that there is no descriptor for and close it, by giving up one that was kept for that."""
        os.close(self._spare)
        try:
            with suppress(OSError):
                listener.accept()[0].close()
        finally:
            self._spare = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
