"""What goes wrong while nobody looks is told the system's log: seldom, with how often it happened since.

Runs in the service's own process.

May import: the standard library.
"""

from __future__ import annotations

import time
from collections.abc import Callable

SELDOM = 2.0
"""Seconds between two lines, as in the reference."""


def to_system(text: str) -> None:
    """Write to the system's log, if there is one."""
    import syslog  # noqa: PLC0415 (needed by few)

    syslog.openlog("libnetwork_py-names", syslog.LOG_PID, syslog.LOG_DAEMON)
    syslog.syslog(syslog.LOG_WARNING, text)


class Log:
    """Tells of questions that were refused.

    Args:
        write: Takes a line.
        clock: Tells seconds.
    """

    def __init__(self, write: Callable[[str], object] = to_system, clock: Callable[[], float] = time.monotonic) -> None:
        self._write, self._clock = write, clock
        self._next = -SELDOM
        self._count = 0

    def refused(self, where: str) -> None:
        """Take note of a question that was refused to a sandbox."""
        self._count += 1
        now = self._clock()
        if now >= self._next:
            self._write(
                f"{self._count} questions refused, the last one of {where}: too many are waiting for other servers"
            )
            self._next, self._count = now + SELDOM, 0
