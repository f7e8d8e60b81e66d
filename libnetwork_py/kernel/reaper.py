"""Ends veth pairs that outlive the namespace they reached into.

A dropped namespace is taken apart by the kernel some milliseconds later, and the pairs into it go with it. Unless somebody is still
inside: a process, an open socket. Then the namespace lives on without a name, and its interface would go on answering for an address
that the next sandbox gets. So the outer ends are watched after each drop, and those that stay are deleted. Names are watched: who
makes a link of such a name anew, because a deletion is undone or an endpoint moved, tells `spare` before.

The oldest goes first, so a look ends at the first that is still there: of a thousand that wait their turn one is asked for.

May import: workers, stack, messages, room, desired, errors.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

from ..desired import HOST, Change, Namespace, Veth
from ..errors import LibnetworkError
from . import messages
from .room import delete_together
from .stack import Sockets

PAUSE = 0.02
"""Seconds between looks; a single namespace is gone after about 15 ms."""
STALL = 0.15
"""Seconds without any pair going after which those that are left are taken to be held."""


class Reaper:
    """Watches outer ends in the host's namespace.

    Args:
        sockets: The host's sockets, used on the library's own worker only.
        run: Runs a function on that worker and returns its result.
    """

    def __init__(self, sockets: Sockets, run: Callable[[Callable[[], list[str]]], list[str]]) -> None:
        self._sockets = sockets
        self._run = run
        sockets.hurry = self.hurry
        self._names: dict[str, None] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._pid = os.getpid()

    def watch(self, change: Change) -> None:
        """Watch the pairs that go with the namespaces which a change dropped."""
        dropped = {word.path for word in change.remove if isinstance(word, Namespace)}
        if not dropped:
            return
        made = _made(change)
        held = (word.name for word in change.remove if isinstance(word, Veth) and _held_by(word, dropped))
        names = dict.fromkeys(name for name in held if name not in made)
        self._forget_after_fork()
        with self._lock:
            self._names |= names
            if self._names and self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="libnetwork_py reaper", daemon=True)
                self._thread.start()

    def spare(self, change: Change) -> None:
        """Watch no longer what a change makes; call it before, and let no look of the reaper's come between."""
        if self._names:
            self._forget_after_fork()
            made = _made(change)
            with self._lock:
                self._unwatch(made)

    def _unwatch(self, names: Iterable[str]) -> None:
        for name in names:
            self._names.pop(name, None)

    def hurry(self) -> bool:
        """Delete what is watched, now, and return whether there was any. Who calls has the turn on the host's sockets."""
        self._forget_after_fork()
        with self._lock:
            names, self._names = list(self._names), {}
        if names:
            delete_together(self._sockets.host(), names)
        return bool(names)

    def drain(self) -> None:
        """Return when every pair that is watched is gone."""
        self._forget_after_fork()
        thread = self._thread
        if thread is not None:
            thread.join()

    def _forget_after_fork(self) -> None:
        if self._pid != os.getpid():
            self._pid, self._thread, self._names, self._lock = os.getpid(), None, {}, threading.Lock()

    def _watch(self) -> None:
        since, count = time.monotonic(), -1
        while True:
            time.sleep(PAUSE)
            with self._lock:
                watched = list(self._names)
            stalled = time.monotonic() - since > STALL
            left = self._left(watched, each=stalled)
            if len(left) != count:
                since, count = time.monotonic(), len(left)
            elif stalled:
                self._end(left)
                left = []
            with self._lock:
                self._unwatch(set(watched).difference(left))
                if not self._names:
                    self._thread = None
                    return

    def _left(self, names: Sequence[str], *, each: bool) -> list[str]:
        """Which of the interfaces may still be there, or with ``each`` are; none where the host's namespace cannot be asked any more."""

        def look() -> list[str]:
            transport = self._sockets.host()
            found: list[str] = []
            for number, name in enumerate(names):
                with suppress(LibnetworkError):
                    transport.index(name)
                    if not each:
                        return [*names[number:]]
                    found.append(name)
            return found

        try:
            return self._run(look)
        except LibnetworkError:
            return []

    def _end(self, names: Iterable[str]) -> None:
        def delete() -> list[str]:
            with self._lock:
                still = [name for name in names if name in self._names]
            for name in still:
                self._sockets.host().send([messages.delete_link(name)])  # gone meanwhile is as good
            return []

        with suppress(LibnetworkError):
            self._run(delete)


def _made(change: Change) -> set[str]:
    return {word.name for word in change.make if isinstance(word, Veth) and word.namespace == HOST}


def _held_by(word: Veth, dropped: set[str]) -> bool:
    return word.namespace == HOST and word.peer_namespace in dropped
