"""Makes room on a bridge that is full of ports which are about to go.

A deleted sandbox's port stays until the kernel has taken the sandbox's namespace apart, a while after it was dropped; those of one change
are dropped at its end. Who deletes hundreds of sandboxes of a full bridge and makes as many anew would be told that the bridge is full.
So whoever is refused a port asks here: first the pairs that the same change takes away with their namespaces are deleted, then those
that earlier changes left to the kernel, then whatever goes by itself is waited for: another process's.

May import: stack, messages, desired, errors.
"""

from __future__ import annotations

import errno
import secrets
import time
from collections.abc import Callable, Sequence
from typing import TypeAlias

from . import messages
from .stack import Stack
from .transport import Refusal, Transport

PAUSE = 0.02
"""Seconds between looks at a bridge whose ports may be going."""
STALL = 0.3
"""Seconds without any port going after which a bridge is taken to be full."""

Ahead: TypeAlias = Callable[[str, str], bool]
"""Deletes what goes with its namespace and is a port of a bridge, by the bridge's namespace and name; returns whether there was any."""


def nothing_ahead(_namespace: str, _master: str) -> bool:
    """Delete nothing: nothing goes in the same change."""
    return False


class Room:
    """Room on full bridges, for one change.

    Args:
        ahead: Deletes what the same change takes away.
        left: Deletes on the host what earlier changes left to the kernel; returns whether there was any.
    """

    def __init__(self, ahead: Ahead, left: Callable[[], bool]) -> None:
        self._ahead, self._left = ahead, left

    def made(self, stack: Stack, master: str, refusals: Sequence[Refusal]) -> bool:
        """Return whether a bridge that refused a port may have room now."""
        if not master or refusals[0].errno != errno.EXFULL:
            return False
        return self._ahead(stack.path, master) or self._left() or _fallen(stack.transport, stack.index(master))


def delete_together(transport: Transport, names: Sequence[str]) -> None:
    """Delete links at once, for which the kernel waits only once; those that are gone are passed over."""
    group = secrets.randbits(31) | 1
    transport.send([*(messages.regroup(name, group) for name in names), messages.delete_group(group)])


def _fallen(transport: Transport, bridge: int) -> bool:
    """Whether a bridge loses a port within a while."""
    ports = _ports(transport, bridge)
    end = time.monotonic() + STALL
    while time.monotonic() < end:
        time.sleep(PAUSE)
        if _ports(transport, bridge) < ports:
            return True
    return False


def _ports(transport: Transport, bridge: int) -> int:
    return len(transport.dump(messages.dump_ports(bridge), "count the ports of a bridge"))
