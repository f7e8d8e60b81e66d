"""Each of the service's two processes has the other for a partner: one that hangs is killed, and replaced as if it had died.

Both say a word once a second. Who is silent for more than a second and stopped, or waits for something else, hangs; who wants a processor
or a page of memory may only be slow and has twenty seconds. Silence is counted in looks, not in seconds: when the machine slept,
nobody is to blame. Runs in the service's own process.

May import: the standard library.
"""

from __future__ import annotations

import os
import select
import signal
import socket
from collections.abc import Sequence
from contextlib import suppress

BUSY = 20.0
"""Seconds of silence that a process may have good reason for."""
_ROOM = 1.0
"""Seconds for the partner to make room for a message."""


class Partner:
    """The other process, and the line to it.

    Args:
        line: The line; it is closed with this.
        pid: The process.
        look: Seconds between two looks.
        looks: So many looks in a row without a word are a silence.
    """

    def __init__(self, line: socket.socket, pid: int, *, look: float, looks: int) -> None:
        self.line = line
        self._pid = pid
        self._look = look
        self._looks = looks
        self._silent = 0

    def say(self, message: bytes, descriptors: Sequence[int] = ()) -> None:
        """Send a message; the partner gets copies of the descriptors.

        Raises:
            TimeoutError: it does not read.
            OSError: it is dead.
        """
        poll = select.poll()
        poll.register(self.line, select.POLLOUT)
        if not poll.poll(_ROOM * 1000):
            raise TimeoutError("it does not read")
        socket.send_fds(self.line, [message], descriptors)

    def speaks(self, seconds: float) -> bool:
        """Wait for a word, or for the end; whether there is one."""
        poll = select.poll()
        poll.register(self.line, select.POLLIN)
        return bool(poll.poll(seconds * 1000))

    def heard(self) -> None:
        """Take note of a word."""
        self._silent = 0

    def hangs(self) -> bool:
        """Take note of a look without a word; whether it is to be given up."""
        self._silent += 1
        if self._silent < self._looks:
            return False
        patient = _state(self._pid) in "RD" and self._silent * self._look < BUSY
        return not patient and not self.speaks(0)

    def kill(self) -> None:
        """End it, stopped or not. Only one whose line is open: another process may have the number else."""
        with suppress(OSError):
            os.kill(self._pid, signal.SIGKILL)


def _state(pid: int) -> str:
    """Return a process' state as ``ps`` shows it; ``Z`` for one that has ended."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:  # noqa: PTH123 (pathlib takes 5 ms to load)
            return file.read().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"
