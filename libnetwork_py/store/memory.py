"""The store for examples and tests: in this process's memory, shared by its threads, gone with it.

May import: store.api, store.checks, errors.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Generator, Sequence
from contextlib import contextmanager

from ..errors import Unavailable
from .api import Changes, Item, Write
from .checks import check_distinct, check_expected

EVENTS_KEPT = 10_000
COMMITS_KEPT = 4096


class MemoryStore:
    """Documents in memory."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._exclusive = threading.Lock()
        self._items: dict[str, Item] = {}
        self._revision = 0
        self._log: deque[tuple[int, tuple[str, ...]]] = deque(maxlen=COMMITS_KEPT)
        self._events: deque[tuple[int, bytes]] = deque(maxlen=EVENTS_KEPT)
        self._event = 0
        self._closed = False

    @contextmanager
    def exclusive(self, timeout: float) -> Generator[None]:
        """Hold the store against other threads; see `Store.exclusive`. A thread that holds it must not ask again.

        Raises:
            Unavailable: ``locked``.
        """
        if not self._exclusive.acquire(timeout=min(max(timeout, 0), threading.TIMEOUT_MAX)):
            raise Unavailable(
                f"the store is being changed by another thread, and still was after {timeout:g} s: try again",
                code="locked", holder=None, timeout=timeout,
            )  # fmt: skip
        try:
            yield
        finally:
            self._exclusive.release()

    def commit(self, writes: Sequence[Write], events: Sequence[bytes] = ()) -> int:
        """Make all ``writes`` and append ``events``, or nothing; see `Store.commit`.

        Raises:
            Conflict: ``revision``. InvalidParameter: ``duplicate_key``. Unavailable: ``store_closed``.
        """
        check_distinct(writes)
        with self._open():
            for write in writes:
                held = self._items.get(write.key)
                check_expected(write, held.revision if held else 0)
            if writes or events:
                self._write(writes, events)
            return self._revision

    def items(self, prefix: str = "") -> tuple[Item, ...]:
        """Return every item whose key starts with ``prefix``, by key."""
        with self._open():
            return tuple([self._items[key] for key in sorted(self._items) if key.startswith(prefix)])

    def revision(self) -> int:
        """Return the newest revision."""
        with self._open():
            return self._revision

    def changes(self, since: int) -> Changes:
        """Return what was committed after revision ``since``."""
        with self._open():
            oldest = self._log[0][0] if self._log else 1
            if not oldest - 1 <= since <= self._revision:
                return Changes(self._revision, (), (), complete=False)
            keys = sorted({key for revision, each in self._log if revision > since for key in each})
            items = tuple([self._items[key] for key in keys if key in self._items])
            return Changes(self._revision, items, tuple([key for key in keys if key not in self._items]))

    def events(self, since: int, limit: int = 1000) -> tuple[tuple[int, bytes], ...]:
        """Return up to ``limit`` events with a number above ``since``; the last 10,000 are kept."""
        with self._open():
            first = self._event - len(self._events)  # they are numbered without gaps
            start = max(since - first, 0)
            return tuple([self._events[at] for at in range(start, min(start + limit, len(self._events)))])

    def close(self) -> None:
        """Refuse every later call; repeatable."""
        self._closed = True

    @contextmanager
    def _open(self) -> Generator[None]:
        with self._guard:
            if self._closed:
                raise Unavailable("the store was closed: make another one", code="store_closed")
            yield

    def _write(self, writes: Sequence[Write], events: Sequence[bytes]) -> None:
        self._revision += 1
        self._log.append((self._revision, tuple([write.key for write in writes])))
        for write in writes:
            if write.document is None:
                self._items.pop(write.key, None)
            else:
                self._items[write.key] = Item(write.key, write.document, self._revision)
        for event in events:
            self._event += 1
            self._events.append((self._event, event))
