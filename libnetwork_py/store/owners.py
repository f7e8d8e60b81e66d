"""Whose files are as good as our own: ours, and those of the machine's root, however a user namespace shows it.

May import: nothing.
"""

from __future__ import annotations

import os
from pathlib import Path

_MAP, _OVERFLOW = Path("/proc/self/uid_map"), Path("/proc/sys/kernel/overflowuid")


def is_trusted(uid: int) -> bool:
    """Return whether the owner of a file, as `os.stat` shows it, is this process's user or the machine's root.

    In a user namespace (``unshare --map-root-user``) whoever has no number there is shown by one, root among them
    (user_namespaces(7)): the kernel does not tell who it is, and it counts as root.
    """
    return uid in {0, os.geteuid()} or _is_nobody_here(uid)


def is_root(path: str) -> bool:
    """Return whether this process is root where ``path`` is root's: not so in a user namespace that has its user alone."""
    try:
        return os.geteuid() == 0 and Path(path).stat().st_uid == 0
    except OSError:
        return os.geteuid() == 0


def _is_nobody_here(uid: int) -> bool:
    try:
        if uid != int(_OVERFLOW.read_text(encoding="ascii")):
            return False
        ranges = [tuple(map(int, line.split())) for line in _MAP.read_text(encoding="ascii").splitlines()]
    except (OSError, ValueError):
        return False
    return not any(first <= uid < first + count for first, _, count in ranges)
