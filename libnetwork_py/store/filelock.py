"""A lock on a file that the operating system frees when its holder dies.

Division of labour: `FileLock` excludes threads and processes; what the lock is for is its owner's business.

``flock(2)`` belongs to the open file, and a forked child shares its parent's open files: without care a child would keep the lock
of a dead parent. So the descriptor is close-on-exec (Python's default), and a child made by ``os.fork`` closes its copy as the first
thing it does.

May import: errors.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from contextlib import suppress
from pathlib import Path
from weakref import WeakSet

from ..errors import Unavailable

_LONGEST_PAUSE = 0.02
_locks: WeakSet[FileLock] = WeakSet()


class FileLock:
    """An exclusive lock on ``path``; the file is created on first use and holds the last holder's process id."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._thread = threading.Lock()
        self._file: int | None = None
        self._held = False
        _locks.add(self)

    def acquire(self, timeout: float) -> None:
        """Take the lock, waiting for at most ``timeout`` seconds. A thread that holds it must not take it again.

        Raises:
            Unavailable: ``locked``: another holder kept it; the message names its process. ``store_unwritable``: no such file can be.
        """
        deadline = time.monotonic() + timeout
        if not self._thread.acquire(timeout=min(max(timeout, 0), threading.TIMEOUT_MAX)):
            raise self._locked(timeout)
        try:
            pause = 0.0005
            while not self._take():
                if time.monotonic() >= deadline:
                    raise self._locked(timeout)
                time.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
        except BaseException:
            self._thread.release()
            raise

    def try_acquire(self) -> bool:
        """Take the lock if it is free.

        Raises:
            Unavailable: ``store_unwritable``, as `acquire`.
        """
        if not self._thread.acquire(blocking=False):
            return False
        taken = False
        try:
            taken = self._take()
        finally:
            if not taken:
                self._thread.release()
        return taken

    @property
    def held(self) -> bool:
        """Whether this object holds the lock; false in a forked child."""
        return self._held

    def release(self) -> None:
        """Free the lock; in a child that was forked while its parent held it, do nothing."""
        if self._held and self._file is not None:
            self._held = False
            fcntl.flock(self._file, fcntl.LOCK_UN)
            self._thread.release()

    def close(self) -> None:
        """Free the lock and close the file."""
        self.release()
        self._forget()

    def _take(self) -> bool:
        try:
            while True:
                if self._file is None:
                    self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(self._file).st_nlink:
                    break
                self._forget()  # somebody removed the file: others lock the one that took its place
        except BlockingIOError:
            return False
        except OSError as error:
            raise Unavailable(
                f"cannot lock {self.path}: {error.strerror}; the directory must exist, be writable and on a file system with locks",
                code="store_unwritable", path=str(self.path),
            ) from error  # fmt: skip
        self._held = True
        with suppress(OSError):  # a full disk: the number is only for messages
            os.pwrite(self._file, b"%-10d\n" % os.getpid(), 0)
        return True

    def _locked(self, timeout: float) -> Unavailable:
        pid = self._holder()
        who = "another thread of this process" if pid == os.getpid() else f"process {pid}" if pid else "another process"
        return Unavailable(
            f"{self.path.parent} is being changed by {who}, and still was after {timeout:g} s: wait for it or end it, then try again",
            code="locked", path=str(self.path), holder=pid, timeout=timeout,
        )  # fmt: skip

    def _holder(self) -> int | None:
        try:
            return int(self.path.read_bytes())
        except (OSError, ValueError):
            return None

    def _forget(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            os.close(file)

    def _after_fork(self) -> None:
        self._forget()
        self._held = False
        self._thread = threading.Lock()


def _after_fork() -> None:
    for lock in _locks:
        lock._after_fork()  # noqa: SLF001 (its own module)


os.register_at_fork(after_in_child=_after_fork)
