"""The processes of a program: which they are, whether somebody has stopped them, and their end.

A stopped process (``SIGSTOP``, a terminal, a debugger that was left) takes connections and answers nobody: its death would be better.

May import: nothing of this package.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path


class Processes:
    """Processes of this user that have certain words in their command line.

    Args:
        words: The words: enough of them to be nobody else's.
    """

    def __init__(self, words: Iterable[str]) -> None:
        self._words = {os.fsencode(each) for each in words}
        self._known: list[int] = []

    def are_stopped(self) -> bool:
        """Whether there are any and all of them are stopped."""
        states = {_state(each) for each in self._known}
        if not states or "" in states:
            self._known = list(self._find())
            states = {_state(each) for each in self._known}
        return states == {"T"}

    def kill_if_stopped(self) -> bool:
        """Kill them if they are all stopped; whether they were."""
        self._known = []
        stopped = self.are_stopped()
        for each in self._known if stopped else ():
            with suppress(OSError):
                os.kill(each, signal.SIGKILL)
        return stopped

    def _find(self) -> Iterator[int]:
        for entry in os.scandir("/proc"):
            if entry.name.isdigit():
                with suppress(OSError):
                    if entry.stat().st_uid == os.geteuid() and self._words <= _command(entry.path):
                        yield int(entry.name)


def _command(place: str) -> set[bytes]:
    return set(Path(place, "cmdline").read_bytes().split(b"\0"))


def _state(pid: int) -> str:
    """Return a process' state as ``ps`` shows it; empty: it has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[0]
    except OSError:
        return ""
