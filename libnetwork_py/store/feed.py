"""A watch's thread and queue: what every engine's watch has alike.

May import: store.cluster, errors.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from ..errors import LibnetworkError
from .cluster import Update

PAUSE = (0.05, 1.0)
"""Seconds between attempts to reach an engine again: the first, and the longest."""


class Feed:
    """Updates from a thread of its own. ``follow(feed)`` puts them and returns or raises when its connection ends; it is called again.

    Args:
        follow: Puts updates with `put`; an error of ours means that the engine cannot be reached now.
        interrupt: Called at the end, to wake ``follow`` where it waits.
        patience: Seconds to wait for the thread's end; one that cannot be woken ends when it wakes.

    Attributes:
        told: How many updates were put.
    """

    def __init__(
        self, follow: Callable[[Feed], None], interrupt: Callable[[], None] = lambda: None, patience: float = 5.0
    ) -> None:
        self.told = 0
        self._follow = follow
        self._patience = patience
        self._interrupt = interrupt
        self._queue: queue.Queue[Update | None] = queue.Queue()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="libnetwork_py watch", daemon=True)
        self._thread.start()

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._over.is_set()

    def put(self, update: Update) -> None:
        """Hand an update to the reader."""
        self.told += 1
        self._queue.put(update)

    def next(self, timeout: float) -> Update | None:
        """Return the next update; see `Watch.next`."""
        if self.closed:
            return None
        try:
            return self._queue.get(timeout=max(timeout, 0)) if timeout > 0 else self._queue.get_nowait()
        except queue.Empty:
            return None

    def close(self) -> None:
        """End the thread; repeatable."""
        if not self._over.is_set():
            self._over.set()
            self._queue.put(None)
            self._interrupt()
        if self._thread is not threading.current_thread():
            self._thread.join(timeout=self._patience)

    def _run(self) -> None:
        pause = PAUSE[0]
        while not self.closed:
            began = time.monotonic()
            with suppress(LibnetworkError):  # the engine is away: whoever changes something hears of it there
                self._follow(self)
            pause = PAUSE[0] if time.monotonic() - began > PAUSE[1] else min(pause * 2, PAUSE[1])
            self._over.wait(pause)
