"""Ctrl-C waits while an operation is under way, and arrives right after.

Python raises ``KeyboardInterrupt`` between any two of its instructions: between taking a lock and the ``try`` that gives it back,
between the kernel's change and the record of it. So an operation, a few milliseconds, is not interrupted at all: it is finished or
not begun. The body of a batch is the caller's and may be interrupted, but not the steps in it nor its end. A wait for somebody else
asks `check` between its parts.

May import: nothing of this package.
"""

from __future__ import annotations

import importlib
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, TypeAlias

Handler: TypeAlias = Callable[[int, FrameType | None], Any]

_plain: Any = importlib.import_module("_signal")
_get: Callable[[int], Any] = _plain.getsignal
_set: Callable[[int, Handler], Any] = _plain.signal
"""As in `signal`, without its translation into enumerations: that takes 3 µs a call, and an operation makes four."""


class _Hold:
    """SIGINT held back, in the thread that Python gives signals to. ``open``: let through for now."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.open = False
        self.caught: list[tuple[int, FrameType | None]] = []

    def catch(self, number: int, frame: FrameType | None) -> None:
        if not self.open:
            self.caught.append((number, frame))
            return
        self.open = False  # what follows a KeyboardInterrupt is undoing: a second one must not interrupt that
        self.handler(number, frame)
        self.open = True

    def deliver(self) -> None:
        if self.caught:
            last, self.caught = self.caught[-1], []
            self.handler(*last)


_hold: _Hold | None = None


class deferred:  # noqa: N801 (used as a function)
    """Hold SIGINT back while the body runs; one that came arrives at its end. May be nested; does nothing in other threads."""

    __slots__ = ("_hold", "_outermost", "_was_open")

    def __enter__(self) -> None:
        global _hold  # noqa: PLW0603 (a process has one handler)
        self._hold: _Hold | None = None
        if threading.current_thread() is not threading.main_thread():
            return
        self._outermost, self._was_open = _hold is None, _hold is not None and _hold.open
        if _hold is None:
            handler = _get(signal.SIGINT)
            if not callable(handler):
                return
            new = _Hold(handler)
            _set(signal.SIGINT, new.catch)
            _hold = new
        self._hold = _hold
        _hold.open = False

    def __exit__(self, *_: object) -> None:
        global _hold  # noqa: PLW0603
        hold = self._hold
        if hold is None:
            return
        if self._outermost:
            _hold = None
            if _get(signal.SIGINT) == hold.catch:  # else somebody has set another handler meanwhile
                _set(signal.SIGINT, hold.handler)
            hold.deliver()
        elif self._was_open:
            hold.open = True
            hold.deliver()


class allowed:  # noqa: N801 (used as a function)
    """Let SIGINT through while the body runs, inside `deferred`; one that waits arrives at once."""

    __slots__ = ("_hold",)

    def __enter__(self) -> None:
        self._hold = _hold if threading.current_thread() is threading.main_thread() else None
        if self._hold is not None:
            self._hold.deliver()
            self._hold.open = True

    def __exit__(self, *_: object) -> None:
        if self._hold is not None:
            self._hold.open = False


class held:  # noqa: N801 (used as a function)
    """Give back a lock, which is held already, at the end: where Ctrl-C waits, and a generator would take three times as long."""

    __slots__ = ("_lock",)

    def __init__(self, lock: threading.RLock) -> None:
        self._lock = lock

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def check() -> None:
    """Let a SIGINT that waits arrive here, where nothing is half done."""
    if _hold is not None and threading.current_thread() is threading.main_thread():
        _hold.deliver()


def _forget() -> None:
    """In a forked child: the operation under way is the parent's."""
    global _hold
    hold, _hold = _hold, None
    if hold is not None and _get(signal.SIGINT) == hold.catch:
        _set(signal.SIGINT, hold.handler)


os.register_at_fork(after_in_child=_forget)
