"""The machine that root tests have for an ordinary user: a process in a user namespace of its own, with a ``/run/netns`` of its own.

For root it is the machine itself, and nothing here does anything.

Division of labour: this module says how a program or a function gets inside; `machine` says which.
"""

from __future__ import annotations

import atexit
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

ROOT = os.geteuid() == 0
_START = "mount -t tmpfs -o mode=755 tmpfs /run && mkdir /run/netns && ip link set lo up && echo ready && exec cat >/dev/null"
_NAMED = re.compile(r"/proc/(\d+)/(root/|ns/net$)")


def _begin() -> int:
    """Start the process and return its number; it ends when nobody holds the other end of its input any more, so with this one."""
    argv = ["unshare", "--user", "--map-root-user", "--mount", "--net", "--kill-child", "--fork", "sh", "-c", _START]
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    atexit.register(_end, process)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n", "no user namespace for the tests"
    (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return int(child)


def _end(process: subprocess.Popen[str]) -> None:
    with process:
        process.kill()


PID = 0 if ROOT else _begin()
NAMES = "/run/netns"
NAMESPACES = Path(NAMES) if ROOT else Path(f"/proc/{PID}/root{NAMES}")
_reaches: list[Callable[[str], str]] = []


@contextmanager
def seen_through(reach: Callable[[str], str]) -> Iterator[None]:
    """Have namespaces found where a kernel layer has its names meanwhile; ``reach``: from a path there to ours."""
    _reaches.append(reach)
    try:
        yield
    finally:
        _reaches.remove(reach)


def place(path: str) -> str:
    """Return where a namespace is to be found that somebody knows as ``/run/netns/NAME``; other paths as they are."""
    if ROOT or not path.startswith(NAMES):
        return path
    found = (reach(path) for reach in reversed(_reaches))
    return next(filter(os.path.exists, found), f"/proc/{PID}/root{path}")


def entering(namespace: str) -> list[str]:
    """Return the words before a program that is to run in the network namespace at a path (empty: the caller's own)."""
    if not namespace:
        return []
    if ROOT:
        return ["nsenter", f"--net={namespace}"]
    namespace = place(namespace)
    found = _NAMED.match(namespace)
    owner = int(found[1]) if found else PID
    names = [f"--mount=/proc/{PID}/ns/mnt"] if owner == PID else []
    return ["nsenter", f"--user=/proc/{owner}/ns/user", *names, f"--net={namespace}", "--preserve-credentials"]


def entering_names(path: str = "") -> list[str]:
    """Return the words before ``ip netns``, so that it works on the names where that of ``path`` is; by default on those here.

    The network namespace is then that of the host there.
    """
    found = _NAMED.match(place(path))
    owner = int(found[1]) if found else PID
    places = [
        f"--{kind}=/proc/{owner}/ns/{file}" for kind, file in (("user", "user"), ("net", "net"), ("mount", "mnt"))
    ]
    return [] if ROOT else ["nsenter", *places, "--preserve-credentials"]


def inside(namespace: str, function: Callable[[], T]) -> T:
    """Call a function inside, for who is not root; what it returns is what `Sandbox.call` can carry."""
    from libnetwork_py.kernel.visiting import visit

    namespace = place(namespace)
    found = _NAMED.match(namespace)
    with Path(f"/proc/{found[1] if found else PID}/ns/user").open("rb") as user, Path(namespace).open("rb") as network:
        return visit(user.fileno(), network.fileno(), function)
