"""Sockets in sandboxes, opened when a sandbox's own servers are asked: a new one for each question, and so a port of its own.

The process has one thread, and comes home before it does anything else. Runs in the service's own process.

May import: the standard library.
"""

from __future__ import annotations

import fcntl
import os
import socket
import sys

_CLONE_NEWNET = 0x40000000
_SIOCGSKNS = 0x894C
"""Gives the network namespace of a socket, which may have no name here; see ioctl_ns(2) and linux/sockios.h."""
_HERE = "/proc/self/ns/net"


def open_socket(near: socket.socket, family: int, kind: int) -> socket.socket:
    """Open a socket in the namespace of another one.

    Raises:
        OSError: the namespace may not be entered, or there is no descriptor to be had.
    """
    home = os.open(_HERE, os.O_RDONLY | os.O_CLOEXEC)
    try:
        there = fcntl.ioctl(near.fileno(), _SIOCGSKNS)
        try:
            return _opened(there, home, family, kind)
        finally:
            os.close(there)
    finally:
        os.close(home)


def _opened(there: int, home: int, family: int, kind: int) -> socket.socket:
    _enter(there)
    try:
        return socket.socket(family, kind)
    finally:
        try:
            _enter(home)
        except OSError:  # lost: the keeper starts another one at home
            os._exit(1)


if sys.version_info >= (3, 12):

    def _enter(namespace: int) -> None:
        os.setns(namespace, _CLONE_NEWNET)
else:

    def _enter(namespace: int) -> None:
        import ctypes  # noqa: PLC0415 (10 ms, which few services ever need)

        if ctypes.CDLL(None, use_errno=True).setns(namespace, _CLONE_NEWNET) < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
