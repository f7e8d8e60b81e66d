"""A view of ``/proc/sys`` that does not get slower with every namespace.

The kernel keeps what was looked up below ``/proc/sys/net``: one ``ipv6`` for each network namespace, all of one name in one directory,
and so in one chain that every further look-up walks along (``proc_sys_compare`` in fs/proc/proc_sysctl.c). With 3,000 namespaces whose
settings were written, writing the next one's takes longer than all the rest of making it. Each instance of the file system has chains of
its own. So whoever has written many settings goes on in a private instance, mounted nowhere, and takes another one in its place now and
then; with the old one its chain goes.

May import: nothing of this library.
"""

from __future__ import annotations

import ctypes
import os
import threading
from contextlib import suppress

USES = 64
"""Look-ups after which the instance is another one; as many are made in the machine's own ``/proc`` first."""

_FSOPEN, _FSCONFIG, _FSMOUNT = 430, 431, 432
"""The same numbers on every architecture (``scripts/syscall.tbl``), since Linux 5.2."""
_CLOEXEC, _CMD_CREATE = 1, 6

_syscall = ctypes.CDLL(None, use_errno=True).syscall
_lock = threading.Lock()


class Settings:
    """A directory whose ``sys/net`` is that of the calling thread's namespace.

    Attributes:
        directory: Its descriptor; closed with the last who holds the object.
    """

    __slots__ = ("directory", "left")

    def __init__(self, directory: int) -> None:
        self.directory = directory
        self.left = USES

    def __del__(self) -> None:
        with suppress(OSError):
            os.close(self.directory)


_now: Settings | None = None
_works = True


def settings() -> Settings:
    """Return where to look settings up next; hold it while a descriptor is opened by it."""
    global _now  # noqa: PLW0603 (one for the process)
    with _lock:
        if _now is None:
            _now = Settings(os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
        elif not _now.left:
            _now = Settings(_instance())
        _now.left -= 1
        return _now


def _instance() -> int:
    """Return a new instance; where that is not allowed, or the kernel is older, the machine's own."""
    global _works  # noqa: PLW0603
    try:
        if _works:
            return _mounted()
    except OSError:
        _works = False
    return os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def _mounted() -> int:
    context = _called(_FSOPEN, b"proc", _CLOEXEC)
    try:
        _called(_FSCONFIG, context, _CMD_CREATE, None, None, 0)
        return _called(_FSMOUNT, context, _CLOEXEC, 0)
    finally:
        os.close(context)


def _called(number: int, *args: object) -> int:
    result: int = _syscall(number, *args)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


os.register_at_fork(after_in_child=lambda: globals().update(_lock=threading.Lock()))
