"""Failover between the servers of an engine that is asked by HTTP.

A request goes to the server that answered last. One that cannot be reached, or that has no leader, sends it on to the next, round and
round until the time is up; if none can be reached at all, nobody waits.

May import: store.api, store.cluster, errors.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from ..errors import Conflict
from .api import Write
from .cluster import Snapshot, unreachable

C = TypeVar("C")
T = TypeVar("T")

PAUSE = 0.1
"""Seconds between two rounds over all servers."""


class Away(Exception):
    """A server did not do what was asked. ``refused``: it was never asked; else it may have done it."""

    def __init__(self, why: object, *, refused: bool) -> None:
        super().__init__(str(why))
        self.refused = refused


class Ring(Generic[C]):
    """The servers of one engine.

    Args:
        servers: A client for each.
        where: Names them in errors.
        timeout: Seconds until the engine counts as unreachable.
    """

    def __init__(self, servers: Sequence[C], where: str, timeout: float) -> None:
        self._servers = tuple(servers)
        self._where = where
        self._timeout = timeout
        self._current = 0
        self._guard = threading.Lock()

    def ask(self, call: Callable[[C], T]) -> T:
        """Return what a server answers to ``call``, which raises `Away` to have the next one asked.

        Raises:
            Unavailable: ``cluster_unreachable``.
        """
        end = time.monotonic() + self._timeout
        while True:
            all_refused, why = True, ""
            for _ in self._servers:
                place, server = self._current, self._servers[self._current]
                try:
                    return call(server)
                except Away as away:
                    why = str(away)
                    all_refused = all_refused and away.refused
                    self._pass_on(place)
                if time.monotonic() >= end:
                    raise unreachable(self._where, why)
            if all_refused:
                raise unreachable(self._where, why)
            time.sleep(PAUSE)

    def commit(
        self, send: Callable[[C], int], writes: Sequence[Write], get: Callable[[Sequence[str]], Snapshot]
    ) -> int:
        """Return the revision of a commit that is sent until it is answered, and counts once even if a server died before its answer.

        A commit that was made without our hearing of it meets its own result when it is sent again: a `Conflict` then means success
        if all is as it was to become.
        """
        unsure: list[bool] = []

        def attempt(server: C) -> int:
            try:
                return send(server)
            except Away as away:
                if not away.refused:
                    unsure.append(True)
                raise

        try:
            return self.ask(attempt)
        except Conflict:
            revision = made(writes, get([write.key for write in writes])) if unsure else None
            if revision is None:
                raise
            return revision

    def _pass_on(self, place: int) -> None:
        with self._guard:
            if self._current == place:
                self._current = (place + 1) % len(self._servers)


def made(writes: Sequence[Write], found: Snapshot) -> int | None:
    """Return the revision at which all is as ``writes`` would have it; ``None`` if something is not."""
    held = {item.key: item for item in found.items}
    for write in writes:
        item = held.get(write.key)
        if (item.document if item else None) != write.document or (item and item.revision == write.expected):
            return None
    return max((item.revision for item in found.items), default=found.revision)
